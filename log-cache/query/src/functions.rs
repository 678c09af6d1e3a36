//! The functions that queries may use.
//!
//! DataFusion's, with four changes. Those that can make much out of little (`repeat`, `replace`, `||`, …) are wrapped so
//! that one call never makes more than its share ([`bounded`]): such values are made before the query's memory pool could
//! object. Left out are functions that nest types into each other (`struct`, `map`: a few lines of SQL could make a type
//! that takes for ever to plan with), that take any size as an argument (`arrow_cast`), or any time (`levenshtein`). Integers do not wrap around
//! ([`checked`], [`sum`]). And there is `tag(tags, 'key')`.

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

/// Functions that are left out.
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

/// `tag(tags, 'key')`.
pub(crate) fn tag(tags: Expr, key: &str) -> Expr {
    ScalarUDF::from(tag::Tag::new()).call(vec![tags, lit(key)])
}

/// Every scalar function of a session.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| !LEFT_OUT.contains(&function.name()))
        .map(bounded::wrap)
        .chain([Arc::new(ScalarUDF::from(tag::Tag::new()))])
        .collect()
}

/// Every aggregate function of a session.
pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let checked = |function: Arc<AggregateUDF>| match function.name() {
        "sum" => sum::checked(&function),
        _ => function,
    };
    let functions = SessionStateDefaults::default_aggregate_functions().into_iter();
    functions.map(checked).collect()
}
