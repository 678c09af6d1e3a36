//! The tables of SQL: their columns, and record batches of rows.
//!
//! | Table | Columns beside `timestamp, source_id, instance_id, seq, tags` | Each row is |
//! |---|---|---|
//! | `logs` | `stream, source_type, body, body_bytes` | a log line |
//! | `counters` | `name, delta, total` | a counter |
//! | `gauges` | `name, value, unit` | a metric; an envelope may have several |
//! | `timers` | `name, start, stop` | a timer |
//! | `events` | `title, body` | an event |
//! | `drops` | `component, hop, reason, count` | a report of lost envelopes; its source is the one that lost them |
//!
//! A `body` that is not UTF-8 has U+FFFD in place of the invalid bytes, and `body_bytes` has the original bytes;
//! otherwise `body_bytes` is null. Tags are text. A deprecated tag is among them unless a preferred tag has its key.

use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use weir_envelope::batch::Kind;

use crate::rows::Rows;
use crate::snapshot::Selection;

mod batches;
mod values;

pub use batches::Batches;
use values::UsedValues;

/// The name of the counter that reports losses. Its rows are also the table `drops`.
pub const DROPPED: &str = "weir.dropped";

/// A table of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Log lines.
    Logs,
    /// Counters.
    Counters,
    /// Metrics of gauges.
    Gauges,
    /// Timers.
    Timers,
    /// Events.
    Events,
    /// Reports of lost envelopes.
    Drops,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 6] = [
        Self::Logs,
        Self::Counters,
        Self::Gauges,
        Self::Timers,
        Self::Events,
        Self::Drops,
    ];

    /// The name of the table in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Counters => "counters",
            Self::Gauges => "gauges",
            Self::Timers => "timers",
            Self::Events => "events",
            Self::Drops => "drops",
        }
    }

    /// The kind of envelope from which the rows come.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Logs => Kind::Log,
            Self::Counters | Self::Drops => Kind::Counter,
            Self::Gauges => Kind::Gauge,
            Self::Timers => Kind::Timer,
            Self::Events => Kind::Event,
        }
    }

    /// The columns of the table.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; Table::ALL.len()]> =
            LazyLock::new(|| Table::ALL.map(|table| Arc::new(Schema::new(fields(table)))));
        Arc::clone(&SCHEMAS[self as usize])
    }

    /// Returns the part of `selection` that belongs to this table. For `drops` these are the reports of losses among
    /// the counters, which are rows of `counters` too.
    #[must_use]
    pub fn restrict(self, rows: &Rows, selection: Selection) -> Selection {
        if self != Self::Drops || selection.is_empty() {
            return selection;
        }
        let mut restricted = Selection::default();
        let reports: Vec<bool> = rows.shapes().iter().map(|shape| shape.name() == DROPPED).collect();
        if reports.contains(&true) {
            for row in selection.ranges().iter().cloned().flatten() {
                if reports[rows.shape_index(row)] {
                    restricted.push(row..row + 1);
                }
            }
        }
        restricted
    }
}

impl Table {
    /// Whether the column at position `column` of the schema has one value for all rows of an [`crate::Identity`]. A
    /// condition on such columns need not be evaluated for each row.
    #[must_use]
    pub fn is_shared(self, column: usize) -> bool {
        let found = self.columns().nth(column).map(|(_, column)| column);
        matches!(
            found,
            Some(Column::SourceId | Column::InstanceId | Column::Tags | Column::Tag(_))
        )
    }

    /// Returns columns for which [`Table::is_shared`] is true, with one row for each identity at the positions
    /// `wanted`.
    ///
    /// # Errors
    /// If a column is not shared.
    pub fn identities(self, rows: &Rows, wanted: &[usize], columns: &[usize]) -> Result<RecordBatch, ArrowError> {
        let used = UsedValues::only(rows, wanted);
        let keys = UInt32Array::from_iter_values(wanted.iter().filter_map(|identity| u32::try_from(*identity).ok()));
        let arrays = columns
            .iter()
            .map(|position| match self.columns().nth(*position) {
                Some((_, column)) if self.is_shared(*position) => {
                    let values = used.values(rows, column).expect("shared columns have shared values");
                    take(&values, &keys, None)
                }
                _ => Err(ArrowError::InvalidArgumentError(format!(
                    "column {position} is every row's own"
                ))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(wanted.len()));
        RecordBatch::try_new_with_options(self.schema().project(columns)?.into(), arrays, &options)
    }
}

/// The contents of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Timestamp,
    SourceId,
    InstanceId,
    Seq,
    Tags,
    Stream,
    /// The value of a tag, or null if the row does not have it.
    Tag(&'static str),
    Body,
    BodyBytes,
    Name,
    Unit,
    /// The first number of a row, whose meaning depends on the table.
    First,
    /// The second number of a row, whose meaning depends on the table.
    Second,
    /// The value of a metric of a gauge.
    Value,
    Title,
    EventBody,
}

/// The columns that every table has.
const COMMON: [(&str, Column); 5] = [
    ("timestamp", Column::Timestamp),
    ("source_id", Column::SourceId),
    ("instance_id", Column::InstanceId),
    ("seq", Column::Seq),
    ("tags", Column::Tags),
];

impl Table {
    fn columns(self) -> impl Iterator<Item = (&'static str, Column)> {
        let own: &[(&str, Column)] = match self {
            Self::Logs => &[
                ("stream", Column::Stream),
                ("source_type", Column::Tag("source_type")),
                ("body", Column::Body),
                ("body_bytes", Column::BodyBytes),
            ],
            Self::Counters => &[
                ("name", Column::Name),
                ("delta", Column::First),
                ("total", Column::Second),
            ],
            Self::Gauges => &[("name", Column::Name), ("value", Column::Value), ("unit", Column::Unit)],
            Self::Timers => &[
                ("name", Column::Name),
                ("start", Column::First),
                ("stop", Column::Second),
            ],
            Self::Events => &[("title", Column::Title), ("body", Column::EventBody)],
            Self::Drops => &[
                ("component", Column::Tag("component")),
                ("hop", Column::Tag("hop")),
                ("reason", Column::Tag("reason")),
                ("count", Column::First),
            ],
        };
        COMMON.iter().chain(own).copied()
    }
}

/// The data type of points in time.
#[must_use]
pub fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn entry_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ])
}

fn entries() -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false))
}

fn fields(table: Table) -> Vec<Field> {
    table
        .columns()
        .map(|(name, column)| {
            let (data_type, nullable) = match column {
                Column::Timestamp => (instant(), false),
                Column::SourceId | Column::InstanceId | Column::Stream => (DataType::Utf8View, false),
                Column::Name | Column::Unit | Column::Title | Column::EventBody => (DataType::Utf8View, false),
                Column::Seq => (DataType::UInt64, false),
                Column::Tags => (DataType::Map(entries(), false), false),
                Column::Tag(_) => (DataType::Utf8View, true),
                Column::Body => (DataType::Utf8, false),
                Column::BodyBytes => (DataType::Binary, true),
                Column::First | Column::Second if table == Table::Timers => (instant(), false),
                Column::First | Column::Second => (DataType::UInt64, false),
                Column::Value => (DataType::Float64, false),
            };
            Field::new(name, data_type, nullable)
        })
        .collect()
}
