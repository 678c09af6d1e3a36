//! What `EXPLAIN ANALYZE` shows to whom.
//!
//! Rows that operators hand on are the caller's own. How long that took, how the rows were spread over batches and
//! partitions, and what their buffers take follows from the chunks in which they lie beside everybody's: that is for
//! callers who see everything.

use datafusion::common::format::{ExplainAnalyzeCategories, MetricCategory, MetricType};
use datafusion::logical_expr::LogicalPlan;

use crate::visibility::Visibility;

/// `plan`, which may be an `EXPLAIN ANALYZE`, with what it may show.
pub(crate) fn conceal(mut plan: LogicalPlan, visibility: &Visibility) -> LogicalPlan {
    if let LogicalPlan::Analyze(analyze) = &mut plan
        && *visibility != Visibility::All
    {
        analyze.verbose = false;
        analyze.analyze_level = Some(MetricType::Summary);
        analyze.analyze_categories = Some(ExplainAnalyzeCategories::Only(vec![MetricCategory::Rows]));
    }
    plan
}
