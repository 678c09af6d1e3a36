//! Ends queries whose caller has gone.
//!
//! Dropping the stream of a query ends it, but a stream can be dropped only between two batches. A join can run long
//! without producing one, because it compares all pairs of rows before the first that matches. So the condition of a
//! join also checks whether the query was interrupted, and joins take part in DataFusion's cooperative scheduling.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};

use crate::error::LimitError;

/// A flag that a query is to end. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Interrupts the query.
    pub(crate) fn set(&self) {
        // Relaxed, because no other data depends on the flag.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns an error once the query is interrupted.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(LimitError::Interrupted.into())
        } else {
            Ok(())
        }
    }
}

/// An optimizer rule that makes the joins of a plan interruptible.
#[derive(Debug)]
pub(crate) struct Interruptible(pub(crate) Interrupt);

impl PhysicalOptimizerRule for Interruptible {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let join: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
                let filter = join.filter().map(|filter| self.guard(filter));
                Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
            } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
                match join.filter() {
                    Some(filter) => join.builder().with_filter(Some(self.guard(filter))).build_exec()?,
                    None => plan,
                }
            } else if plan.is::<CrossJoinExec>() {
                plan
            } else {
                return Ok(Transformed::no(plan));
            };
            Ok(Transformed::yes(
                Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>
            ))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "interruptible"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl Interruptible {
    fn guard(&self, filter: &JoinFilter) -> JoinFilter {
        let condition = Guarded {
            condition: Arc::clone(filter.expression()),
            interrupt: self.0.clone(),
        };
        JoinFilter::new(
            Arc::new(condition),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    }
}

/// A condition that fails once the query is interrupted.
#[derive(Debug)]
struct Guarded {
    condition: Arc<dyn PhysicalExpr>,
    interrupt: Interrupt,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl PhysicalExpr for Guarded {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.condition.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.condition.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.interrupt.check()?;
        self.condition.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(match children.pop() {
            Some(condition) => Arc::new(Self {
                condition,
                interrupt: self.interrupt.clone(),
            }),
            None => self,
        })
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
