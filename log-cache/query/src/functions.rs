//! The SQL functions that queries may use.
//!
//! They are DataFusion's functions with four changes:
//! - Functions that can make large values of small ones (`repeat`, `replace`, `||`, …) are wrapped, so that the result
//!   of one call is bounded ([`bounded`]). The query's memory pool would notice such values too late.
//! - Some functions are left out: those that nest types (`struct`, `map`), because a few lines of SQL could make a type
//!   that takes very long to plan with; those that take any size as an argument (`arrow_cast`); and those that can take
//!   any time (`levenshtein`).
//! - Integers do not wrap around ([`checked`], [`sum`]).
//! - There is a function `tag(tags, 'key')`.

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF, lit};

mod bounded;
mod checked;
mod concat;
mod sum;
mod tag;

pub(crate) use checked::CheckedRewrite;
pub(crate) use concat::ConcatRewrite;

/// The names of DataFusion's functions that are left out.
const LEFT_OUT: [&str; 19] = [
    "array_repeat",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_resize",
    "arrays_zip",
    "arrow_cast",
    "arrow_try_cast",
    "cast_to_type",
    "generate_series",
    "input_file_name",
    "levenshtein",
    "map",
    "named_struct",
    "range",
    "struct",
    "try_cast_to_type",
    "union_tag",
    "with_metadata",
];

/// Returns the expression `tag(tags, 'key')`.
pub(crate) fn tag(tags: Expr, key: &str) -> Expr {
    ScalarUDF::from(tag::Tag::new()).call(vec![tags, lit(key)])
}

/// Returns the scalar functions of a session.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| !LEFT_OUT.contains(&function.name()))
        .map(bounded::wrap)
        .chain([Arc::new(ScalarUDF::from(tag::Tag::new()))])
        .collect()
}

/// Returns the aggregate functions of a session.
pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let checked = |function: Arc<AggregateUDF>| match function.name() {
        "sum" => sum::checked(&function),
        _ => function,
    };
    let functions = SessionStateDefaults::default_aggregate_functions().into_iter();
    functions.map(checked).collect()
}
