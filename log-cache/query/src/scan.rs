//! The operator that reads a table of the store: the leaf of every plan, where a caller's visibility is enforced.
//!
//! Rows of sources that the caller may not read are left out before anything else is done with a row. So no expression,
//! error or statistic of the query is ever computed from them.
//!
//! The scan reads only what the conditions leave ([`hints`]). It skips chunks outside their time range, and sources and
//! tag sets that do not meet them. Below `ORDER BY timestamp DESC LIMIT n` it also skips chunks that are older than the
//! rows found so far.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use weir_log_cache_store::table::{Batches, Table};

use crate::visibility::Visible;

mod hints;

use hints::{Hints, is_exact};

/// Reads a table of the store.
#[derive(Debug)]
pub(crate) struct ScanExec {
    table: Table,
    visible: Arc<Visible>,
    /// The positions of the columns in the table's schema.
    columns: Vec<usize>,
    /// The conditions that every wanted row meets, on the projected columns.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScanExec {
    pub(crate) fn new(table: Table, visible: Arc<Visible>, columns: Vec<usize>, partitions: usize) -> Result<Self> {
        let schema = Arc::new(table.schema().project(&columns)?);
        // The number of partitions does not depend on that of chunks. A caller can see it in the plan, and chunks
        // depend on how much other sources write.
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            table,
            visible,
            columns,
            filters: Vec::new(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    fn with_filters(&self, more: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>) -> Self {
        Self {
            table: self.table,
            visible: Arc::clone(&self.visible),
            columns: self.columns.clone(),
            filters: self.filters.iter().cloned().chain(more).collect(),
            properties: Arc::clone(&self.properties),
            metrics: self.metrics.clone(),
        }
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.table.schema();
        let columns: Vec<&str> = self
            .columns
            .iter()
            .map(|column| schema.field(*column).name().as_str())
            .collect();
        write!(
            f,
            "StoreScan: table={}, columns=[{}]",
            self.table.name(),
            columns.join(", ")
        )?;
        if !self.filters.is_empty() {
            let filters: Vec<String> = self.filters.iter().map(ToString::to_string).collect();
            write!(f, ", where=[{}]", filters.join(" AND "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "StoreScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        // Operators that produce dynamic conditions search here for operators that use them.
        for filter in &self.filters {
            if visit(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let partitions = self.properties.partitioning.partition_count();
        // Newest chunks first, because most queries ask for the newest rows.
        let chunks = self
            .visible
            .snapshot
            .chunks()
            .iter()
            .rev()
            // Chunks are dealt out in turn, so that every partition starts with new ones.
            .skip(partition)
            .step_by(partitions)
            .cloned()
            .collect::<Vec<_>>();
        let hints = Hints::new(self.table, &self.columns, self.filters.clone())?;
        let visible = Arc::clone(&self.visible);
        let (table, columns) = (self.table, self.columns.clone());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = chunks
            .into_iter()
            .flat_map(move |chunk| -> Box<dyn Iterator<Item = _> + Send> {
                match hints.select(&chunk, &visible) {
                    Ok(selection) => {
                        let batches = Batches::new(table, Arc::clone(chunk.rows()), selection, &columns);
                        Box::new(
                            batches
                                .with_batch_rows(batch_rows)
                                .map(|batch| batch.map_err(DataFusionError::from)),
                        )
                    }
                    Err(error) => Box::new(std::iter::once(Err(error))),
                }
            });
        let batches = batches.inspect(move |batch: &Result<RecordBatch>| {
            if let Ok(batch) = batch {
                metrics.record_output(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            futures::stream::iter(batches),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        offered: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // The scan uses all conditions. Those that it meets exactly need not be applied again above it.
        let filters: Vec<_> = offered.parent_filters.into_iter().map(|offer| offer.filter).collect();
        let exact = |filter| {
            if is_exact(self.table, &self.columns, filter) {
                PushedDown::Yes
            } else {
                PushedDown::No
            }
        };
        let answers = filters.iter().map(exact).collect();
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(answers);
        if filters.is_empty() {
            return Ok(answer);
        }
        Ok(answer.with_updated_node(Arc::new(self.with_filters(filters))))
    }
}
