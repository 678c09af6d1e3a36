//! Sessions: what DataFusion is given to plan and run a query with, and what it is not.
//!
//! There is no file system and no network: no object store is registered, temporary files are off, and no table function
//! reads anything. There is one catalogue, which is read only. Memory comes from a pool of the query's own.

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

/// Makes the session that all others are made from: building it takes a while.
pub(crate) fn template(partitions: usize) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(true);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.execution.planning_concurrency = 1;
    // What a join makes out of a batch is split up again, or one row could become millions at once.
    options.execution.enforce_batch_size_in_joins = true;
    // Sorts within a small memory must not set aside most of it for files that they cannot write.
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

/// A session with `memory` bytes over what `view` shows, ended by `interrupt`.
pub(crate) fn session(
    template: &SessionState,
    view: Arc<View>,
    memory: usize,
    interrupt: Interrupt,
) -> Result<SessionState> {
    session_over(template, Arc::new(Catalog(Arc::new(Schema(view)))), memory, interrupt)
}

/// The same over any catalogue.
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
    // From here on it is "now".
    state.mark_start_execution();
    Ok(state)
}

fn runtime(memory: usize) -> Result<Arc<RuntimeEnv>> {
    let consumers = NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(memory), consumers);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    // The local file system is there by default.
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    Ok(runtime)
}
