//! The catalogue in which DataFusion finds the store's tables, with one snapshot of each kind for a whole query.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use weir_log_cache_store::table::Table;
use weir_log_cache_store::{Store, Visibility};

use crate::drain_status::{self, DRAIN_STATUS};
use crate::router_requests::{self, ROUTER_REQUESTS};
use crate::scan::ScanExec;
use crate::visibility::Visible;

/// The name of the catalogue.
pub(crate) const CATALOG: &str = "weir";
/// The name of the schema in the catalogue.
pub(crate) const SCHEMA: &str = "public";

/// Returns the names of all tables and views, in the order in which they are listed.
pub(crate) fn table_names() -> impl Iterator<Item = &'static str> {
    Table::ALL
        .into_iter()
        .map(Table::name)
        .chain([DRAIN_STATUS, ROUTER_REQUESTS])
}

/// Returns the table or view of a name; `table` makes the provider of a table of the store.
pub(crate) fn find(
    name: &str,
    table: impl Fn(Table) -> Arc<dyn TableProvider>,
) -> Result<Option<Arc<dyn TableProvider>>> {
    Ok(match name {
        DRAIN_STATUS => Some(Arc::new(drain_status::view(table(Table::Gauges))?)),
        ROUTER_REQUESTS => Some(Arc::new(router_requests::view(table(Table::Timers))?)),
        _ => Table::ALL.into_iter().find(|table| table.name() == name).map(table),
    })
}

/// The part of the store that one query can read.
#[derive(Debug)]
pub(crate) struct View {
    store: Store,
    visibility: Visibility,
    /// The snapshot of each kind, which is taken when the query's plan first needs it.
    visible: [OnceLock<Arc<Visible>>; KINDS],
}

const KINDS: usize = weir_envelope::batch::Kind::ALL.len();

impl View {
    pub(crate) fn new(store: Store, visibility: Visibility) -> Arc<Self> {
        Arc::new(Self {
            store,
            visibility,
            visible: Default::default(),
        })
    }

    fn visible(&self, table: Table) -> Arc<Visible> {
        let kind = table.kind();
        let take = || Arc::new(Visible::new(self.visibility.clone(), self.store.snapshot(kind)));
        Arc::clone(self.visible[kind.index()].get_or_init(take))
    }
}

/// The catalogue, which has one schema.
#[derive(Debug)]
pub(crate) struct Catalog(pub(crate) Arc<Schema>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::clone(&self.0) as Arc<dyn SchemaProvider>)
    }
}

/// The schema, which has the store's tables and the views over them. No table can be added.
#[derive(Debug)]
pub(crate) struct Schema(pub(crate) Arc<View>);

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        table_names().map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        find(name, |table| {
            Arc::new(StoreTable {
                table,
                view: Arc::clone(&self.0),
            })
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        table_names().any(|table| table == name)
    }
}

/// A table of the store.
#[derive(Debug)]
struct StoreTable {
    table: Table,
    view: Arc<View>,
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Conditions are pushed down later, in the physical plan, because some of them appear only while the query
        // runs. Limits need not be pushed down: a scan makes batches on demand, newest chunks first.
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.table.schema().fields().len()).collect(),
        };
        let partitions = state.config().target_partitions();
        let scan = ScanExec::new(self.table, self.view.visible(self.table), columns, partitions)?;
        Ok(Arc::new(scan))
    }
}
