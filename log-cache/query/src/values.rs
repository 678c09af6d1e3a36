//! Writes values as text that can be read back, where Arrow's writers of JSON and CSV do not.
//!
//! | Value | JSON | CSV |
//! |---|---|---|
//! | null | `null` | nothing |
//! | empty text | `""` | `""` |
//! | `NaN`, `±Infinity` | `"NaN"`, `"Infinity"`, `"-Infinity"`, as in protobuf's JSON | `NaN`, `inf`, `-inf` |
//! | lists, structs, maps | as they are | their JSON |
//! | bytes | hexadecimal digits | hexadecimal digits |
//!
//! Integers have all their digits, also those above 2^53. A point in time that no calendar has is an error, because
//! Arrow would write the text of an error in its place.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, OffsetSizeTrait, PrimitiveArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMillisecondType, DurationSecondType, FieldRef, Float16Type, Float32Type,
    Float64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::QueryError;

/// Returns `batch` if all of its values can be written.
///
/// # Errors
/// If a value cannot be written.
pub(crate) fn readable(batch: RecordBatch) -> Result<RecordBatch, QueryError> {
    let schema = batch.schema();
    let mut columns = schema.fields().iter().zip(batch.columns());
    match columns.find(|(_, column)| !is_readable(column)) {
        None => Ok(batch),
        Some((field, _)) => Err(QueryError::Failed {
            message: format!("column `{}` has a time that no calendar has", field.name()),
        }),
    }
}

/// Whether all values of an array can be written.
fn is_readable(array: &dyn Array) -> bool {
    /// Milliseconds of a day.
    const DAY: i64 = 86_400_000;
    /// Days from 1970 to either end of the calendar, less about a year, so that no time zone leads beyond the ends.
    const DAYS: i64 = 95_000_000;
    match array.data_type() {
        DataType::Date32 => within::<Date32Type>(array, DAYS),
        DataType::Date64 => within::<Date64Type>(array, DAYS * DAY),
        DataType::Timestamp(TimeUnit::Second, _) => within::<TimestampSecondType>(array, DAYS * DAY / 1000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => within::<TimestampMillisecondType>(array, DAYS * DAY),
        DataType::Timestamp(TimeUnit::Microsecond, _) => within::<TimestampMicrosecondType>(array, DAYS * DAY * 1000),
        DataType::Time32(TimeUnit::Second) => of_a_day::<Time32SecondType>(array, DAY / 1000),
        DataType::Time32(_) => of_a_day::<Time32MillisecondType>(array, DAY),
        DataType::Time64(TimeUnit::Microsecond) => of_a_day::<Time64MicrosecondType>(array, DAY * 1000),
        DataType::Time64(_) => of_a_day::<Time64NanosecondType>(array, DAY * 1_000_000),
        // Durations are written from milliseconds in 64 bits, in which longer ones overflow.
        DataType::Duration(TimeUnit::Second) => within::<DurationSecondType>(array, i64::MAX / 1000),
        DataType::Duration(TimeUnit::Millisecond) => within::<DurationMillisecondType>(array, i64::MAX),
        DataType::List(_) => list::<i32>(array),
        DataType::LargeList(_) => list::<i64>(array),
        DataType::Map(..) => array
            .as_map()
            .entries()
            .columns()
            .iter()
            .all(|column| is_readable(column)),
        DataType::Struct(_) => array.as_struct().columns().iter().all(|column| is_readable(column)),
        DataType::Dictionary(..) => is_readable(array.as_any_dictionary().values()),
        // Also nanoseconds: in 64 bits they reach from 1677 to 2262, which is within the calendar.
        _ => true,
    }
}

fn list<O: OffsetSizeTrait>(array: &dyn Array) -> bool {
    is_readable(array.as_list::<O>().values())
}

/// Whether all values lie between `-most` and `most`.
fn within<T>(array: &dyn Array, most: i64) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let (least, greatest) = ends(array.as_primitive::<T>());
    least >= -most && greatest <= most
}

/// Whether all values are at least zero and less than `day`.
fn of_a_day<T>(array: &dyn Array, day: i64) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let (least, greatest) = ends(array.as_primitive::<T>());
    least >= 0 && greatest < day
}

/// Returns the least and the greatest value; zeros if there are none.
fn ends<T>(array: &PrimitiveArray<T>) -> (i64, i64)
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    (min(array).map_or(0, Into::into), max(array).map_or(0, Into::into))
}

/// Writes the floating-point numbers in JSON that Arrow would write as null.
#[derive(Debug)]
pub(crate) struct Numbers;

impl EncoderFactory for Numbers {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let values: Vec<f64> = match array.data_type() {
            DataType::Float64 => array.as_primitive::<Float64Type>().values().to_vec(),
            DataType::Float32 => array
                .as_primitive::<Float32Type>()
                .values()
                .iter()
                .map(|value| f64::from(*value))
                .collect(),
            DataType::Float16 => array
                .as_primitive::<Float16Type>()
                .values()
                .iter()
                .map(|value| value.to_f64())
                .collect(),
            _ => return Ok(None),
        };
        // Arrow writes finite numbers correctly, and faster.
        if values.iter().all(|value| value.is_finite()) {
            return Ok(None);
        }
        let single = *array.data_type() != DataType::Float64;
        let encoder: Box<dyn Encoder> = Box::new(Floats { values, single });
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Floating-point numbers of which some are not finite.
struct Floats {
    values: Vec<f64>,
    /// Whether the numbers had 32 bits or fewer, and are printed with the digits of such.
    single: bool,
}

impl Encoder for Floats {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values[row];
        let text = if value.is_nan() {
            "\"NaN\"".to_owned()
        } else if value.is_infinite() {
            let infinity = if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" };
            infinity.to_owned()
        } else if self.single {
            #[expect(clippy::cast_possible_truncation, reason = "it was one of 32 bits before")]
            let single = value as f32;
            // `Debug` writes the fewest digits from which the number can be read back, here as one of 32 bits.
            format!("{single:?}")
        } else {
            format!("{value:?}")
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Returns the options with which JSON is written.
pub(crate) fn json_options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Numbers))
}

/// Writes rows as CSV (RFC 4180), with a line of names before them if `header` is set.
///
/// Null is written as nothing, and an empty text as `""`.
///
/// # Errors
/// If a type cannot be written, which is a fault of this crate.
pub(crate) fn write_csv(batch: &RecordBatch, header: bool, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let schema = batch.schema();
    if header {
        line(out, schema.fields().iter(), |field, out| {
            quoted(field.name(), out);
            Ok(())
        })?;
    }
    let options = FormatOptions::new().with_display_error(false);
    let json = json_options();
    let columns = schema.fields().iter().zip(batch.columns());
    let mut cells = columns
        .map(|(field, column)| ColumnCells::new(field, column, &options, &json))
        .collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        line(out, cells.iter_mut(), |cells, out| cells.write(row, out))?;
    }
    Ok(())
}

/// Writes the cells of a line, with commas between them and a newline at the end.
fn line<C>(
    out: &mut Vec<u8>,
    cells: impl Iterator<Item = C>,
    mut write: impl FnMut(C, &mut Vec<u8>) -> Result<(), ArrowError>,
) -> Result<(), ArrowError> {
    for (position, cell) in cells.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(cell, out)?;
    }
    out.push(b'\n');
    Ok(())
}

/// Writes the cells of one column.
struct ColumnCells<'a> {
    column: &'a ArrayRef,
    form: Form<'a>,
    text: String,
}

enum Form<'a> {
    Plain(ArrayFormatter<'a>),
    Nested(NullableEncoder<'a>),
}

impl<'a> ColumnCells<'a> {
    fn new(
        field: &'a FieldRef,
        column: &'a ArrayRef,
        options: &'a FormatOptions<'a>,
        json: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let form = if column.data_type().is_nested() {
            Form::Nested(make_encoder(field, column, json)?)
        } else {
            Form::Plain(ArrayFormatter::try_new(column, options)?)
        };
        Ok(Self {
            column,
            form,
            text: String::new(),
        })
    }

    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if self.column.is_null(row) || *self.column.data_type() == DataType::Null {
            return Ok(());
        }
        self.text.clear();
        match &mut self.form {
            Form::Plain(formatter) => write!(self.text, "{}", formatter.value(row))
                .map_err(|_| ArrowError::CsvError("a value cannot be written".to_owned()))?,
            Form::Nested(encoder) => {
                // The encoder writes bytes. The buffer of the text is reused for them, for all cells of the column.
                let mut json = std::mem::take(&mut self.text).into_bytes();
                encoder.encode(row, &mut json);
                self.text = String::from_utf8(json).map_err(|error| ArrowError::CsvError(error.to_string()))?;
            }
        }
        quoted(&self.text, out);
        Ok(())
    }
}

/// Writes a text, in quotes if it could be misread without them.
fn quoted(text: &str, out: &mut Vec<u8>) {
    // An empty text gets quotes too, which tell it from null.
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for (position, part) in text.split('"').enumerate() {
        if position > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}
