//! Sessions: the configuration with which DataFusion plans and runs a query.
//!
//! A session has no file system and no network: no object store is registered, temporary files are disabled, and no
//! table function reads anything. It has one catalogue, which is read-only, and a memory pool for one query.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::config::Dialect;
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

use crate::functions;
use crate::interrupt::{Interrupt, Interruptible};
use crate::meter::MeterWindows;
use crate::provider::{CATALOG, Catalog, SCHEMA, Schema, View};
use crate::stoppable;

/// Builds the session from which all others are copied, because building one takes long.
pub(crate) fn template(partitions: usize) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(true);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.execution.planning_concurrency = 1;
    // Without this, a join can turn one row into a batch of millions of rows.
    options.execution.enforce_batch_size_in_joins = true;
    // Sorts reserve this memory for spilling to files, which are disabled.
    options.execution.sort_spill_reservation_bytes = 0;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime(usize::MAX)?)
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(functions::scalar())
        .with_aggregate_functions(functions::aggregate())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_function_list(SessionStateDefaults::default_table_functions())
        .with_physical_optimizer_rule(Arc::new(MeterWindows))
        .build();
    state.register_function_rewrite(Arc::new(functions::ConcatRewrite::new()))?;
    state.register_function_rewrite(Arc::new(functions::CheckedRewrite))?;
    Ok(state)
}

/// Returns a session for one query over `view`, with `memory` bytes, which `interrupt` ends.
pub(crate) fn session(
    template: &SessionState,
    view: Arc<View>,
    memory: usize,
    interrupt: Interrupt,
) -> Result<SessionState> {
    session_over(template, Arc::new(Catalog(Arc::new(Schema(view)))), memory, interrupt)
}

/// Returns a session for one query over `catalog`, with `memory` bytes, which `interrupt` ends.
pub(crate) fn session_over(
    template: &SessionState,
    catalog: Arc<dyn CatalogProvider>,
    memory: usize,
    interrupt: Interrupt,
) -> Result<SessionState> {
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), catalog);
    let mut state = SessionStateBuilder::new_from_existing(template.clone())
        .with_runtime_env(runtime(memory)?)
        .with_catalog_list(Arc::new(catalogs))
        .with_optimizer_rules(stoppable::logical(template.optimizers(), &interrupt))
        .with_physical_optimizer_rules(stoppable::physical(template.physical_optimizers(), &interrupt))
        .with_physical_optimizer_rule(Arc::new(Interruptible(interrupt)))
        .build();
    // Sets the time that `now()` returns.
    state.mark_start_execution();
    Ok(state)
}

/// Returns a runtime with a memory pool, and without files or object stores.
fn runtime(memory: usize) -> Result<Arc<RuntimeEnv>> {
    let consumers = NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(memory), consumers);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    // DataFusion registers the local file system by default.
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    Ok(runtime)
}
