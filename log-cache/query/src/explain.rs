//! Limits what `EXPLAIN ANALYZE` reveals.
//!
//! The measurements of a plan that was run reveal more than its rows do: how long it took, how many rows were read
//! before a limit was reached, and from which time on a sort read no more of them. All of these depend on the chunks,
//! in which the caller's rows lie together with those of others, and so on how much other sources write. Only callers
//! that may read all sources get them. For others, the statement becomes an `EXPLAIN`, and the plan is not run.

use datafusion::logical_expr::{Analyze, Explain, LogicalPlan, PlanType, ToStringifiedPlan};

use weir_log_cache_store::Visibility;

/// Returns `plan`, in which an `EXPLAIN ANALYZE` of a caller that may not read all sources has become an `EXPLAIN`.
pub(crate) fn conceal(plan: LogicalPlan, visibility: &Visibility) -> LogicalPlan {
    match plan {
        LogicalPlan::Analyze(analyze) if *visibility != Visibility::All => LogicalPlan::Explain(planned(analyze)),
        plan => plan,
    }
}

/// Returns the `EXPLAIN` that the planner makes of the statement without `ANALYZE`.
fn planned(analyze: Analyze) -> Explain {
    let Analyze {
        verbose,
        format,
        input,
        schema,
        ..
    } = analyze;
    Explain {
        verbose,
        explain_format: format,
        stringified_plans: vec![input.to_stringified(PlanType::InitialLogicalPlan)],
        plan: input,
        schema,
        logical_optimization_succeeded: false,
        show_statistics: None,
    }
}
