//! Derives from the conditions of a query which rows have to be read.
//!
//! Some conditions the scan meets exactly ([`is_exact`]): comparisons with constants of the timestamp, and of texts
//! that all rows of an identity share. All others are hints, which the plan above the scan applies again. A hint that
//! is not understood, or that fails, has no effect.

use std::sync::Arc;

use arrow::array::AsArray;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNullExpr, Literal,
};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use weir_log_cache_store::table::Table;
use weir_log_cache_store::{Chunk, Selection, TimeRange};

use crate::visibility::Visible;

/// The name of the column with the timestamp.
const TIMESTAMP: &str = "timestamp";

/// The empty time range.
const NEVER: TimeRange = TimeRange {
    first: i64::MAX,
    last: i64::MIN,
};

/// The conditions of a scan.
#[derive(Debug)]
pub(super) struct Hints {
    table: Table,
    /// All conditions. The time range is computed from them for each chunk, because dynamic conditions change while the
    /// query runs.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// The conditions on columns that all rows of an identity share, rewritten for `shared_columns`.
    shared: Vec<SharedCondition>,
    /// The positions of the shared columns in the table's schema.
    shared_columns: Vec<usize>,
}

/// A condition on shared columns.
#[derive(Debug)]
struct SharedCondition {
    filter: Arc<dyn PhysicalExpr>,
    exact: bool,
}

impl Hints {
    /// Returns the hints of `filters`, which are on the projection `columns` of the table.
    pub(super) fn new(table: Table, columns: &[usize], filters: Vec<Arc<dyn PhysicalExpr>>) -> Result<Self> {
        let shared_columns: Vec<usize> = columns
            .iter()
            .copied()
            .filter(|column| table.is_shared(*column))
            .collect();
        let schema = table.schema().project(&shared_columns)?;
        let mut shared = Vec::new();
        for filter in filters.iter().filter(|filter| is_on_shared(table, columns, filter)) {
            let exact = is_exact(table, columns, filter);
            shared.push(SharedCondition {
                filter: reassign_expr_columns(Arc::clone(filter), &schema)?,
                exact,
            });
        }
        Ok(Self {
            table,
            filters,
            shared,
            shared_columns,
        })
    }

    /// Returns the rows of `chunk` that are `visible` and may meet the conditions.
    pub(super) fn select(&self, chunk: &Chunk, visible: &Visible) -> Result<Selection> {
        let time = self
            .filters
            .iter()
            .fold(TimeRange::ALL, |time, filter| both(time, times(filter)));
        let (oldest, newest) = chunk.time_range();
        if newest < time.first || oldest > time.last {
            return Ok(Selection::default());
        }
        let rows = chunk.rows();
        let Some(wanted) = self.wanted_identities(chunk, visible)? else {
            let selection = visible.snapshot.select(chunk, |source| visible.shows(source), &time);
            return Ok(self.table.restrict(rows, selection));
        };
        // A run has all identities of its source. If some of them are not wanted, its rows have to be checked one by
        // one.
        let identities = rows.identities().iter().zip(&wanted);
        let mut sources: Vec<&str> = identities
            .filter(|(_, wanted)| **wanted)
            .map(|(identity, _)| identity.source().id())
            .collect();
        sources.sort_unstable();
        sources.dedup();
        let found = visible
            .snapshot
            .select(chunk, |source| sources.binary_search(&source.id()).is_ok(), &time);
        let mut selection = Selection::default();
        for row in found.ranges().iter().cloned().flatten() {
            if wanted[rows.identity_index(row)] {
                selection.push(row..row + 1);
            }
        }
        Ok(self.table.restrict(rows, selection))
    }

    /// Returns, for each identity of the chunk, whether its rows are visible and may meet the conditions; `None` if
    /// there is no condition on shared columns.
    ///
    /// Conditions are evaluated on visible identities only, so that not even a failure reveals others.
    fn wanted_identities(&self, chunk: &Chunk, visible: &Visible) -> Result<Option<Vec<bool>>> {
        if self.shared.is_empty() {
            return Ok(None);
        }
        let rows = chunk.rows();
        let seen: Vec<usize> = (0..rows.identities().len())
            .filter(|identity| visible.shows(rows.identities()[*identity].source()))
            .collect();
        let batch = self.table.identities(rows, &seen, &self.shared_columns)?;
        let mut wanted = vec![true; seen.len()];
        for SharedCondition { filter, exact } in &self.shared {
            let result = filter.evaluate(&batch).and_then(|value| value.into_array(seen.len()));
            let result = match result {
                Ok(result) => result,
                // The plan does not apply an exact condition again, so its failure must not be lost.
                Err(error) if *exact => return Err(error),
                // The plan applies the condition again, and fails there if it fails on a wanted row.
                Err(_) => continue,
            };
            let Some(result) = result.as_boolean_opt() else {
                return internal_err!("a condition is not true or false");
            };
            for (wanted, result) in wanted.iter_mut().zip(result.iter()) {
                // A row for which a condition is null does not meet it, as in SQL.
                *wanted &= result == Some(true);
            }
        }
        let mut by_identity = vec![false; rows.identities().len()];
        for (identity, wanted) in seen.into_iter().zip(wanted) {
            by_identity[identity] = wanted;
        }
        Ok(Some(by_identity))
    }
}

/// Whether `filter` uses only columns that all rows of an identity share.
fn is_on_shared(table: Table, columns: &[usize], filter: &Arc<dyn PhysicalExpr>) -> bool {
    let used = collect_columns(filter);
    let is_shared = |column: &Column| {
        columns
            .get(column.index())
            .is_some_and(|position| table.is_shared(*position))
    };
    !used.is_empty() && used.iter().all(is_shared)
}

/// Whether a scan with this condition returns exactly the rows that meet it.
pub(super) fn is_exact(table: Table, columns: &[usize], filter: &Arc<dyn PhysicalExpr>) -> bool {
    let is_constant = |expr: &Arc<dyn PhysicalExpr>| expr.is::<Literal>();
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        // The optimizer has moved constants to the right.
        if !binary.left().is::<Column>() || !is_constant(binary.right()) {
            return false;
        }
        return if is_timestamp(binary.left()) {
            instant(binary.right()).is_some()
                && matches!(
                    binary.op(),
                    Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
                )
        } else {
            is_on_shared(table, columns, filter) && matches!(binary.op(), Operator::Eq | Operator::NotEq)
        };
    }
    filter.downcast_ref::<InListExpr>().is_some_and(|list| {
        list.expr().is::<Column>() && is_on_shared(table, columns, filter) && list.list().iter().all(is_constant)
    })
}

/// Returns the time range of the rows that may meet `filter`.
fn times(filter: &Arc<dyn PhysicalExpr>) -> TimeRange {
    if let Some(dynamic) = filter.downcast_ref::<DynamicFilterPhysicalExpr>() {
        // A dynamic condition narrows while the query runs, as `ORDER BY … LIMIT` finds rows.
        return dynamic.current().map_or(TimeRange::ALL, |current| times(&current));
    }
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::And => both(times(binary.left()), times(binary.right())),
            Operator::Or => either(times(binary.left()), times(binary.right())),
            op => match (is_timestamp(binary.left()), instant(binary.right())) {
                (true, Some(time)) => compared(*op, time),
                _ => match (instant(binary.left()), is_timestamp(binary.right())) {
                    (Some(time), true) => op.swap().map_or(TimeRange::ALL, |op| compared(op, time)),
                    _ => TimeRange::ALL,
                },
            },
        };
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>()
        && !list.negated()
        && is_timestamp(list.expr())
    {
        let at = |time: &Arc<dyn PhysicalExpr>| {
            instant(time).map_or(TimeRange::ALL, |time| TimeRange {
                first: time,
                last: time,
            })
        };
        return list.list().iter().map(at).fold(NEVER, either);
    }
    // Timestamps are never null.
    if filter
        .downcast_ref::<IsNullExpr>()
        .is_some_and(|null| is_timestamp(null.arg()))
    {
        return NEVER;
    }
    match filter.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::Boolean(Some(false) | None)) => NEVER,
        _ => TimeRange::ALL,
    }
}

/// Returns the time range of the timestamps for which `timestamp op time` is true.
fn compared(op: Operator, time: i64) -> TimeRange {
    match op {
        Operator::Eq => TimeRange {
            first: time,
            last: time,
        },
        Operator::Gt => time
            .checked_add(1)
            .map_or(NEVER, |first| TimeRange { first, last: i64::MAX }),
        Operator::GtEq => TimeRange {
            first: time,
            last: i64::MAX,
        },
        Operator::Lt => time
            .checked_sub(1)
            .map_or(NEVER, |last| TimeRange { first: i64::MIN, last }),
        Operator::LtEq => TimeRange {
            first: i64::MIN,
            last: time,
        },
        _ => TimeRange::ALL,
    }
}

fn is_timestamp(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Column>()
        .is_some_and(|column| column.name() == TIMESTAMP)
}

/// Returns the value of a constant point in time.
fn instant(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::TimestampNanosecond(time, _) => *time,
        _ => None,
    }
}

/// Returns the intersection of two time ranges.
fn both(left: TimeRange, right: TimeRange) -> TimeRange {
    TimeRange {
        first: left.first.max(right.first),
        last: left.last.min(right.last),
    }
}

/// Returns the smallest time range that covers both.
fn either(left: TimeRange, right: TimeRange) -> TimeRange {
    match (left.first > left.last, right.first > right.last) {
        (true, _) => right,
        (_, true) => left,
        _ => TimeRange {
            first: left.first.min(right.first),
            last: left.last.max(right.last),
        },
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::physical_expr::expressions::{binary, col, in_list, is_null, lit};

    use super::*;

    fn schema() -> Schema {
        let instant = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        Schema::new(vec![
            Field::new("seq", DataType::UInt64, false),
            Field::new("timestamp", instant, false),
        ])
    }

    fn at(time: i64) -> Arc<dyn PhysicalExpr> {
        lit(ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into())))
    }

    fn compare(op: Operator, time: i64) -> Arc<dyn PhysicalExpr> {
        binary(col("timestamp", &schema()).expect("a column"), op, at(time), &schema()).expect("typed")
    }

    fn join(left: Arc<dyn PhysicalExpr>, op: Operator, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        binary(left, op, right, &schema()).expect("typed")
    }

    fn range(first: i64, last: i64) -> TimeRange {
        TimeRange { first, last }
    }

    /// Comparisons, in both directions, and what AND and OR make of them.
    #[test]
    fn conditions_on_time_are_understood() {
        let between = join(compare(Operator::GtEq, 10), Operator::And, compare(Operator::Lt, 20));
        assert_eq!(times(&between), range(10, 19));
        let later = join(at(30), Operator::Lt, col("timestamp", &schema()).expect("a column"));
        assert_eq!(times(&later), range(31, i64::MAX));
        assert_eq!(
            times(&join(Arc::clone(&between), Operator::Or, later)),
            range(10, i64::MAX)
        );
        assert_eq!(times(&join(between, Operator::Or, lit(false))), range(10, 19));
        let column = || col("timestamp", &schema()).expect("a column");
        let listed = in_list(column(), vec![at(5), at(9)], &false, &schema()).expect("typed");
        assert_eq!(times(&listed), range(5, 9));
        assert_eq!(times(&is_null(column()).expect("typed")), NEVER);
        assert_eq!(times(&compare(Operator::Gt, i64::MAX)), NEVER);
    }

    /// A condition that is not about the timestamp does not limit the time range.
    #[test]
    fn other_conditions_say_nothing() {
        let seq = || col("seq", &schema()).expect("a column");
        let other = join(seq(), Operator::Eq, lit(5u64));
        assert_eq!(times(&other), TimeRange::ALL);
        assert_eq!(
            times(&join(other, Operator::Or, compare(Operator::Lt, 3))),
            TimeRange::ALL
        );
        assert_eq!(times(&compare(Operator::NotEq, 3)), TimeRange::ALL);
    }
}
