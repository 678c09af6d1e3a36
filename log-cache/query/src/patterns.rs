//! Limits the patterns of a query.
//!
//! Regular expressions and patterns of `LIKE` are compiled before they are used. That takes time and memory that
//! DataFusion does not count, and a pattern from a column would be compiled for each of its values. So patterns must be
//! literals, and their number and size are limited.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{BinaryExpr, Like, ScalarFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use regex::RegexBuilder;

use crate::error::QueryError;

/// The greatest number of regular expressions of a query.
const MAX_EXPRESSIONS: usize = 32;

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4 << 10;

/// The largest compiled regular expression, in bytes.
const MAX_COMPILED: usize = 4 << 20;

/// The stage of planning at which a plan is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlanStage {
    /// Before optimisation: constant expressions are not computed yet, so an expression may still become a literal.
    Planned,
    /// After optimisation: an expression that is not a literal depends on rows.
    Optimized,
}

/// Checks all patterns of a plan.
///
/// # Errors
/// If a pattern is not a literal, or a limit is exceeded.
pub(crate) fn check(plan: &LogicalPlan, stage: PlanStage) -> Result<(), QueryError> {
    let mut patterns = Patterns {
        stage,
        expressions: 0,
        refused: None,
    };
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                patterns.visit(expression);
                Ok(if patterns.refused.is_some() {
                    TreeNodeRecursion::Stop
                } else {
                    TreeNodeRecursion::Continue
                })
            })
        })
    })
    .map_err(|error| QueryError::Internal(error.to_string()))?;
    patterns.refused.map_or(Ok(()), Err)
}

struct Patterns {
    stage: PlanStage,
    expressions: usize,
    refused: Option<QueryError>,
}

impl Patterns {
    fn visit(&mut self, expression: &Expr) {
        let checked = match expression {
            Expr::BinaryExpr(BinaryExpr { op, right, .. }) => match op {
                Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                    self.regular(right, &op.to_string())
                }
                Operator::LikeMatch | Operator::ILikeMatch | Operator::NotLikeMatch | Operator::NotILikeMatch => {
                    self.literal(right, &op.to_string()).map(|_| ())
                }
                _ => Ok(()),
            },
            Expr::Like(Like { pattern, .. }) => self.literal(pattern, "LIKE").map(|_| ()),
            Expr::SimilarTo(Like { pattern, .. }) => self.regular(pattern, "SIMILAR TO"),
            Expr::ScalarFunction(function) if function.name().starts_with("regexp_") => self.function(function),
            _ => Ok(()),
        };
        if let Err(error) = checked {
            self.refused.get_or_insert(error);
        }
    }

    /// Checks a function of regular expressions. Its first argument is the text. The third one of `regexp_replace` is
    /// the replacement, which may be any text too.
    fn function(&mut self, function: &ScalarFunction) -> Result<(), QueryError> {
        let name = function.name();
        let mut arguments = function.args.iter().enumerate().skip(1);
        if let Some((_, pattern)) = arguments.next() {
            self.regular(pattern, name)?;
        }
        arguments
            .filter(|(index, _)| !(name == "regexp_replace" && *index == 2))
            .try_for_each(|(_, option)| self.literal(option, name).map(|_| ()))
    }

    fn regular(&mut self, pattern: &Expr, of: &str) -> Result<(), QueryError> {
        self.expressions += 1;
        if self.expressions > MAX_EXPRESSIONS {
            return Err(QueryError::TooComplex {
                what: "a number of regular expressions",
                found: self.expressions,
                allowed: MAX_EXPRESSIONS,
            });
        }
        // A malformed pattern is reported when it is used, with the position of the fault.
        let too_large = self.literal(pattern, of)?.is_some_and(|pattern| {
            let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
            matches!(compiled, Err(regex::Error::CompiledTooBig(_)))
        });
        if too_large {
            return Err(QueryError::Invalid {
                message: format!("a pattern of `{of}` takes more than `{MAX_COMPILED}` bytes when it is compiled"),
                hint: Some(
                    "repeat less: `{1000}` stands for a thousand copies, and `\\w` for all letters there are"
                        .to_owned(),
                ),
            });
        }
        Ok(())
    }

    /// Returns the text of a pattern; `None` if it is null or not known yet.
    fn literal<'a>(&self, pattern: &'a Expr, of: &str) -> Result<Option<&'a str>, QueryError> {
        let Expr::Literal(value, _) = pattern else {
            return match self.stage {
                PlanStage::Planned => Ok(None),
                PlanStage::Optimized => Err(QueryError::Invalid {
                    message: format!("the pattern of `{of}` is not a literal"),
                    hint: Some(
                        "write it out: `body ~ 'error'`; for the text of a column there is `strpos(body, name) > 0`"
                            .to_owned(),
                    ),
                }),
            };
        };
        let text = text(value);
        match text.map(str::len) {
            Some(found) if found > MAX_PATTERN => Err(QueryError::TooComplex {
                what: "a pattern of bytes",
                found,
                allowed: MAX_PATTERN,
            }),
            _ => Ok(text),
        }
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}
