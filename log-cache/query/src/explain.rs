//! What `EXPLAIN ANALYZE` shows to whom.
//!
//! A plan that was run tells more than its rows do: how long that took, how many rows were read before a limit was met,
//! from which time on a sort looked at no more of them. All of it follows from the chunks in which the caller's rows lie
//! beside everybody's, and so from how much others write: that is for callers who see everything. Others are shown the
//! plan as `EXPLAIN` shows it, and it is not run: what did not happen leaves no trace, whatever the plan is made of.

use datafusion::logical_expr::{Analyze, Explain, LogicalPlan, PlanType, ToStringifiedPlan};

use weir_log_cache_store::Visibility;

/// `plan`, or the `EXPLAIN` of the same if it is an `EXPLAIN ANALYZE` for somebody who does not see everything.
pub(crate) fn conceal(plan: LogicalPlan, visibility: &Visibility) -> LogicalPlan {
    match plan {
        LogicalPlan::Analyze(analyze) if *visibility != Visibility::All => LogicalPlan::Explain(planned(analyze)),
        plan => plan,
    }
}

/// What the planner makes of the statement without `ANALYZE`.
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
