//! The table over which a live query is planned.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use parking_lot::Mutex;
use weir_log_cache_store::table::Table;

use crate::provider::{SCHEMA, find, table_names};

/// The slot into which arriving rows are put before the plan is run.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrivalSlot(pub(super) Arc<Mutex<Vec<RecordBatch>>>);

/// The catalogue of a live query: the store's tables, which have only the rows in the slot.
#[derive(Debug)]
pub(super) struct LiveCatalog(pub(super) Arc<LiveSchema>);

impl CatalogProvider for LiveCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::clone(&self.0) as Arc<dyn SchemaProvider>)
    }
}

/// The schema of a live query.
#[derive(Debug)]
pub(super) struct LiveSchema(pub(super) ArrivalSlot);

#[async_trait]
impl SchemaProvider for LiveSchema {
    fn table_names(&self) -> Vec<String> {
        table_names().map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        find(name, |table| {
            Arc::new(LiveTable {
                table,
                slot: self.0.clone(),
            })
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        table_names().any(|table| table == name)
    }
}

/// A table of a live query, which has only the rows in the slot.
#[derive(Debug)]
struct LiveTable {
    table: Table,
    slot: ArrivalSlot,
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.table.schema().fields().len()).collect(),
        };
        let schema = Arc::new(self.table.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Ok(Arc::new(LiveScan {
            table: self.table,
            columns,
            slot: self.slot.clone(),
            properties,
        }))
    }
}

/// The operator that reads the rows in the slot.
#[derive(Debug)]
pub(super) struct LiveScan {
    pub(super) table: Table,
    pub(super) columns: Vec<usize>,
    slot: ArrivalSlot,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for LiveScan {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveScan: table={}", self.table.name())
    }
}

impl ExecutionPlan for LiveScan {
    fn name(&self) -> &'static str {
        "LiveScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        // Taken out, so that no row is evaluated twice and the slot holds no memory between arrivals.
        let batches = std::mem::take(&mut *self.slot.0.lock());
        let batches = futures::stream::iter(batches.into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
