//! Ends planning when the caller of a query has gone: between two rules of the optimizers, and within a rule between
//! two operators of the plan. [`crate::guard`] bounds the time from one of these points to the next.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::interrupt::Interrupt;

/// Returns logical optimizer rules that fail once the query is interrupted.
pub(crate) fn logical(
    rules: &[Arc<dyn OptimizerRule + Send + Sync>],
    interrupt: &Interrupt,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let stoppable = |rule: &Arc<dyn OptimizerRule + Send + Sync>| {
        Arc::new(Logical {
            rule: Arc::clone(rule),
            interrupt: interrupt.clone(),
        }) as Arc<dyn OptimizerRule + Send + Sync>
    };
    rules.iter().map(stoppable).collect()
}

/// Returns physical optimizer rules that fail once the query is interrupted.
pub(crate) fn physical(
    rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>],
    interrupt: &Interrupt,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let stoppable = |rule: &Arc<dyn PhysicalOptimizerRule + Send + Sync>| {
        Arc::new(Physical {
            rule: Arc::clone(rule),
            interrupt: interrupt.clone(),
        }) as Arc<dyn PhysicalOptimizerRule + Send + Sync>
    };
    rules.iter().map(stoppable).collect()
}

/// A logical optimizer rule that can be interrupted.
#[derive(Debug)]
struct Logical {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    interrupt: Interrupt,
}

impl OptimizerRule for Logical {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        self.interrupt.check()?;
        self.rule.rewrite(plan, config)
    }
}

#[derive(Debug)]
struct Physical {
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
    interrupt: Interrupt,
}

impl PhysicalOptimizerRule for Physical {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        self.interrupt.check()?;
        self.rule.optimize(plan, config)
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn datafusion::physical_optimizer::PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.interrupt.check()?;
        self.rule.optimize_with_context(plan, context)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}
