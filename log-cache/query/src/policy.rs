//! Checks what a plan does, and chooses the number of rows of its batches.
//!
//! DataFusion's memory pool counts the memory that operators keep. It does not count the memory of one batch while
//! expressions are evaluated on it: a literal becomes a column of copies, and a join repeats one row beside many. So
//! the number of rows of a batch depends on the plan: the more expressions it has and the larger its literals are, the
//! fewer rows. Operations that could repeat a value of any size beside many rows are refused.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use crate::error::QueryError;
use crate::guard::MAX_TERMS;

/// The number of rows of a batch of a plain query.
const ROWS: usize = 8192;

/// The greatest number of rows of a batch if the plan has a join, which repeats values.
const JOIN_ROWS: usize = 256;

/// The number of expressions up to which batches have their full size.
const FREE_EXPRESSIONS: usize = 16;

/// The greatest number of expressions of an optimised plan.
const MAX_EXPRESSIONS: usize = 2 * MAX_TERMS;

/// The greatest memory of a plan's literals when each is copied for every row of a batch, in bytes.
const LITERAL_BYTES: usize = 16 << 20;

/// The aggregates whose state and result grow with the number of rows.
const COLLECTING: [&str; 2] = ["array_agg", "string_agg"];

/// The aggregates that are updated row by row over a moving window. Others are computed from the start for each row.
const MOVING: [&str; 7] = ["avg", "count", "first_value", "last_value", "max", "min", "sum"];

/// The properties of a plan that determine the size of its batches.
#[derive(Debug, Default)]
struct Survey {
    expressions: usize,
    literal_bytes: usize,
    joins: bool,
    collects: bool,
    refused: Option<&'static str>,
}

/// Checks an optimised plan, and returns the number of rows that a batch may have.
///
/// # Errors
/// If the plan does something that is refused, or has too many expressions.
pub(crate) fn batch_rows(plan: &LogicalPlan) -> Result<usize, QueryError> {
    let mut survey = Survey::default();
    plan.apply_with_subqueries(|node| {
        survey.visit(node);
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                survey.visit_expression(expression);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(|error| QueryError::Internal(error.to_string()))?;
    if survey.collects && survey.joins {
        survey.refused = Some("`array_agg` and `string_agg` cannot be combined with a join or a subquery");
    }
    if let Some(message) = survey.refused {
        return Err(QueryError::Invalid {
            message: message.to_owned(),
            hint: None,
        });
    }
    if survey.expressions > MAX_EXPRESSIONS {
        return Err(QueryError::TooComplex {
            what: "terms of all expressions",
            found: survey.expressions,
            allowed: MAX_EXPRESSIONS,
        });
    }
    let rows = ROWS * FREE_EXPRESSIONS / survey.expressions.max(FREE_EXPRESSIONS);
    let rows = if survey.joins { rows.min(JOIN_ROWS) } else { rows };
    Ok(rows.min(LITERAL_BYTES / survey.literal_bytes.max(1)).max(1))
}

impl Survey {
    fn visit(&mut self, node: &LogicalPlan) {
        match node {
            LogicalPlan::Join(_) | LogicalPlan::Subquery(_) => self.joins = true,
            LogicalPlan::Unnest(_) => self.refused = Some("`unnest` is not supported"),
            _ => {}
        }
    }

    fn visit_expression(&mut self, expression: &Expr) {
        self.expressions += 1;
        match expression {
            Expr::Literal(value, _) => self.literal_bytes += value.size(),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => self.joins = true,
            Expr::Unnest(_) => self.refused = Some("`unnest` is not supported"),
            Expr::AggregateFunction(function) => self.visit_aggregate(function),
            Expr::WindowFunction(function) => self.visit_window(function),
            _ => {}
        }
    }

    fn visit_aggregate(&mut self, function: &AggregateFunction) {
        let name = function.func.name();
        self.collects |= COLLECTING.contains(&name);
        // The last argument is the size of a buffer that is allocated at once.
        let sized = match name {
            "approx_percentile_cont" => function.params.args.len() > 2,
            "approx_percentile_cont_with_weight" => function.params.args.len() > 3,
            _ => false,
        };
        if sized {
            self.refused = Some("the number of centroids cannot be chosen");
        }
    }

    fn visit_window(&mut self, function: &WindowFunction) {
        if let WindowFunctionDefinition::AggregateUDF(aggregate) = &function.fun
            && (function.params.distinct || !MOVING.contains(&aggregate.name()))
        {
            self.refused = Some(
                "as window functions only avg, count, first_value, last_value, max, min and sum are supported, without DISTINCT",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    /// Plans with large literals or many expressions get small batches.
    #[test]
    fn the_batch_size_depends_on_the_plan() {
        let rows = |columns: Vec<Expr>| {
            let plan = LogicalPlanBuilder::empty(true)
                .project(columns)
                .expect("a plan")
                .build()
                .expect("a plan");
            batch_rows(&plan).expect("allowed")
        };
        assert_eq!(rows(vec![lit(1)]), 8192);
        let many = |count: i32| {
            (0..count)
                .map(|value| lit(value).alias(value.to_string()))
                .collect::<Vec<_>>()
        };
        assert!((150..600).contains(&rows(many(256))), "{}", rows(many(256)));
        assert_eq!(rows(vec![lit("x".repeat(1 << 20))]), 15);
        assert_eq!(rows(vec![lit("x".repeat(64 << 20))]), 1);
    }
}
