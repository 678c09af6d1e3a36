//! Counts the memory of window operators, which DataFusion does not count.
//!
//! DataFusion's window operators keep the rows of a partition without reserving memory from the query's pool. A
//! [`MeterExec`] below such an operator reserves the memory of every batch that passes, and keeps it until the operator
//! is done. It counts rather too much than too little.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt, ready};

use crate::answer::collect::row_bytes;

/// An optimizer rule that puts a [`MeterExec`] below each window operator.
#[derive(Debug)]
pub(crate) struct MeterWindows;

impl PhysicalOptimizerRule for MeterWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            if !plan.is::<WindowAggExec>() && !plan.is::<BoundedWindowAggExec>() {
                return Ok(Transformed::no(plan));
            }
            let metered = plan
                .children()
                .into_iter()
                .map(|child| MeterExec::below(Arc::clone(child)))
                .collect();
            let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            plan.replace_children(metered, keep).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "meter_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// An operator that passes batches on and reserves their memory.
#[derive(Debug)]
struct MeterExec {
    input: Arc<dyn ExecutionPlan>,
}

impl MeterExec {
    fn below(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input })
    }
}

impl DisplayAs for MeterExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

impl ExecutionPlan for MeterExec {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(children
            .pop()
            .map_or_else(|| Arc::clone(&self) as Arc<dyn ExecutionPlan>, Self::below))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reservation = MemoryConsumer::new(format!("Meter[{partition}]")).register(context.memory_pool());
        Ok(Box::pin(Metered {
            input: self.input.execute(partition, context)?,
            reservation,
        }))
    }
}

struct Metered {
    input: SendableRecordBatchStream,
    reservation: MemoryReservation,
}

impl Stream for Metered {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.input.poll_next_unpin(context));
        Poll::Ready(next.map(|batch| {
            let batch = batch?;
            self.reservation.try_grow(slice_bytes(&batch))?;
            Ok(batch)
        }))
    }
}

impl RecordBatchStream for Metered {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

/// Returns the size of a batch's values in bytes, without other parts of the buffers that it shares.
fn slice_bytes(batch: &RecordBatch) -> usize {
    // The 64 bytes stand for the batch itself, so that batches without values count too.
    row_bytes(batch).iter().sum::<usize>() + 64
}
