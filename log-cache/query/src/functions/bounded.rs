//! Bounds the results of functions that can make large values of small ones.
//!
//! The size of a call's result is estimated from its arguments, and never too low. If the estimate for a batch exceeds
//! the limit, the batch is evaluated in halves. If the estimate for a single row exceeds it, or if the results of all
//! parts together do, the call fails.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::LimitError;

/// The bytes that a call may make for each row that a batch may have. The size of batches depends on the plan.
const PER_ROW: usize = 2 << 10;

/// The bytes that a call may make in any case, and no more if all of its arguments are constants.
const AT_LEAST: usize = 256 << 10;

/// Returns the most bytes that a call may make.
pub(super) fn limit(arguments: &ScalarFunctionArgs) -> usize {
    let constant = arguments
        .args
        .iter()
        .all(|value| matches!(value, ColumnarValue::Scalar(_)));
    let rows = if constant {
        0
    } else {
        arguments.config_options.execution.batch_size.get()
    };
    rows.saturating_mul(PER_ROW).max(AT_LEAST)
}

/// How the size of a result depends on the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// The result has the size of all arguments together.
    Sum,
    /// The result repeats the first argument as often as the second says.
    Times,
    /// The result has as many characters as the second argument says.
    Length,
    /// The third argument replaces parts of the first one.
    Replace,
}

/// Returns the function with its results bounded to [`limit`] if it can make large values, and otherwise unchanged.
pub(super) fn wrap(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let growth = match function.name() {
        "repeat" => Growth::Times,
        "lpad" | "rpad" => Growth::Length,
        "replace" | "regexp_replace" => Growth::Replace,
        "array_append" | "array_concat" | "array_except" | "array_intersect" | "array_prepend" | "array_to_string"
        | "array_union" | "concat" | "concat_ws" | "encode" | "flatten" | "make_array" | "overlay"
        | "string_to_array" | "to_hex" | "translate" => Growth::Sum,
        _ => return function,
    };
    Arc::new(ScalarUDF::from(Bounded { function, growth }))
}

/// A function whose results are bounded to [`limit`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    pub(super) function: Arc<ScalarUDF>,
    pub(super) growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.function.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(arguments)
    }

    fn short_circuits(&self) -> bool {
        self.function.short_circuits()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }

    // `simplify` is not forwarded, because it may replace this function by the unbounded one.

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // With constant arguments there is one value for all rows.
        let rows = if arguments
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)))
        {
            1
        } else {
            arguments.number_rows
        };
        let limit = limit(&arguments);
        if self.estimate(&arguments, 0, rows) <= limit {
            let result = self.function.invoke_with_args(arguments)?;
            self.check(size(&result), limit)?;
            return Ok(result);
        }
        let mut parts = Vec::new();
        let mut left = limit;
        self.in_halves(&arguments, 0, rows, &mut left, &mut parts)?;
        let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part as &dyn Array).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

impl Bounded {
    /// Evaluates rows in halves, until the estimate of each part is within the limit. `left` is the rest of the limit
    /// for all parts together.
    fn in_halves(
        &self,
        arguments: &ScalarFunctionArgs,
        start: usize,
        rows: usize,
        left: &mut usize,
        parts: &mut Vec<ArrayRef>,
    ) -> Result<()> {
        let limit = limit(arguments);
        if self.estimate(arguments, start, rows) > limit {
            if rows <= 1 {
                // A single row cannot be divided further. Its estimate may be too high, but computing it may exceed the
                // memory.
                return self.check(usize::MAX, limit);
            }
            let half = rows / 2;
            self.in_halves(arguments, start, half, left, parts)?;
            return self.in_halves(arguments, start + half, rows - half, left, parts);
        }
        let slice = |value: &ColumnarValue| match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(start, rows)),
            scalar @ ColumnarValue::Scalar(_) => scalar.clone(),
        };
        let part = ScalarFunctionArgs {
            args: arguments.args.iter().map(slice).collect(),
            arg_fields: arguments.arg_fields.clone(),
            number_rows: rows,
            return_field: Arc::clone(&arguments.return_field),
            config_options: Arc::clone(&arguments.config_options),
        };
        let part = self.function.invoke_with_args(part)?;
        let made = size(&part);
        self.check(made, *left)?;
        *left -= made;
        parts.push(part.into_array(rows)?);
        Ok(())
    }

    fn check(&self, made: usize, limit: usize) -> Result<()> {
        if made > limit {
            return Err(LimitError::Value {
                function: self.name().to_owned(),
                limit,
            }
            .into());
        }
        Ok(())
    }

    /// Returns the most bytes that the result for a range of rows can have.
    fn estimate(&self, arguments: &ScalarFunctionArgs, start: usize, rows: usize) -> usize {
        let all = || {
            arguments
                .args
                .iter()
                .map(|value| bytes(value, start, rows))
                .fold(0, usize::saturating_add)
        };
        let counts = || arguments.args.get(1).map_or(0, |value| sum(value, start, rows));
        match (self.growth, arguments.args.first()) {
            (_, None) => 0,
            // Twice, because `encode` and `to_hex` make two characters of a byte.
            (Growth::Sum, _) => all().saturating_mul(2),
            // The length is in characters, of up to 4 bytes in UTF-8.
            (Growth::Length, Some(text)) => bytes(text, start, rows).saturating_add(counts().saturating_mul(4)),
            (Growth::Times, Some(text)) => largest(text, start, rows).saturating_mul(counts()),
            (Growth::Replace, Some(text)) => {
                // One more for each row: an empty pattern also matches behind the last character.
                let text_bytes = bytes(text, start, rows).saturating_add(rows);
                let with = arguments.args.get(2).map_or(0, |with| largest(with, start, rows));
                // The replacement may refer to parts of the match, any number of times.
                let parts = if with > 1 && self.name() != "replace" {
                    largest(text, start, rows)
                } else {
                    1
                };
                text_bytes
                    .saturating_mul(with.saturating_add(1))
                    .saturating_mul(parts.max(1))
            }
        }
    }
}

/// Returns the size of an argument in a range of rows, in bytes.
fn bytes(value: &ColumnarValue, start: usize, rows: usize) -> usize {
    match value {
        ColumnarValue::Array(array) => slice_bytes(&array.slice(start, rows)),
        ColumnarValue::Scalar(scalar) => scalar_bytes(scalar).saturating_mul(rows),
    }
}

/// Returns the size of the largest value of an argument in a range of rows, in bytes.
fn largest(value: &ColumnarValue, start: usize, rows: usize) -> usize {
    match value {
        ColumnarValue::Array(array) => {
            let array = array.slice(start, rows);
            match array.data_type() {
                DataType::Utf8 => array
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .map(str::len)
                    .max()
                    .unwrap_or(0),
                DataType::LargeUtf8 => array
                    .as_string::<i64>()
                    .iter()
                    .flatten()
                    .map(str::len)
                    .max()
                    .unwrap_or(0),
                DataType::Utf8View => array.as_string_view().iter().flatten().map(str::len).max().unwrap_or(0),
                _ => slice_bytes(&array),
            }
        }
        ColumnarValue::Scalar(scalar) => scalar_bytes(scalar),
    }
}

/// Returns the sum of an argument's positive numbers in a range of rows.
fn sum(value: &ColumnarValue, start: usize, rows: usize) -> usize {
    let positive = |number: i64| usize::try_from(number).unwrap_or(0);
    match value {
        ColumnarValue::Array(array) => {
            // Numbers that cannot be read are estimated as too large, so that the call is refused.
            let Ok(numbers) = cast(&array.slice(start, rows), &DataType::Int64) else {
                return usize::MAX;
            };
            let numbers: &Int64Array = numbers.as_primitive::<Int64Type>();
            numbers.iter().flatten().map(positive).fold(0, usize::saturating_add)
        }
        ColumnarValue::Scalar(scalar) => match scalar.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(number)) => positive(number.unwrap_or(0)).saturating_mul(rows),
            _ => usize::MAX,
        },
    }
}

fn scalar_bytes(scalar: &ScalarValue) -> usize {
    match scalar {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            text.as_ref().map_or(0, String::len)
        }
        other => other.size(),
    }
}

/// Returns the size of an array's values in bytes, without other parts of the buffers that it shares.
fn slice_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => array
            .as_string_view()
            .iter()
            .map(|text| 16 + text.map_or(0, str::len))
            .sum(),
        DataType::BinaryView => array
            .as_binary_view()
            .iter()
            .map(|bytes| 16 + bytes.map_or(0, <[u8]>::len))
            .sum(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            let within = |offset: i32| usize::try_from(offset).unwrap_or(0);
            slice_bytes(&list.values().slice(within(start), within(end - start))) + list.len() * 4
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX),
    }
}

fn size(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Array(array) => slice_bytes(array),
        ColumnarValue::Scalar(scalar) => scalar_bytes(scalar),
    }
}
