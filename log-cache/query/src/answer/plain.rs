//! Converts answers to arrays of plain types that own their values and keep no other memory alive.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, MutableArrayData, RecordBatch, RecordBatchOptions, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

/// The memory that an array may keep alive beside twice its values before it is copied, in bytes.
const KEPT: usize = 4 << 10;

/// Returns the plain type for a type: views become texts and bytes, and dictionaries become their values.
///
/// Some Arrow readers do not know views. Views would also carry whole buffers along, with values of rows that are not
/// in the answer.
fn plain_type(data_type: &DataType) -> DataType {
    let plain_field = |field: &Arc<Field>| {
        let data_type = plain_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field)),
        DataType::Map(field, sorted) => DataType::Map(plain_field(field), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Dictionary(_, values) => plain_type(values),
        other => other.clone(),
    }
}

/// Returns the schema with plain types.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| field.as_ref().clone().with_data_type(plain_type(field.data_type()));
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// Converts a batch to `schema`, which is its own schema with plain types.
pub(super) fn plain(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| Ok(owned(cast(column, field.data_type())?)));
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns.collect::<Result<Vec<_>, ArrowError>>()?,
        &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}

/// Returns the array, or a copy of it if the buffers that it keeps alive are much larger than its values.
fn owned(array: ArrayRef) -> ArrayRef {
    let data = array.to_data();
    let kept = data.get_buffer_memory_size();
    match data.get_slice_memory_size() {
        Ok(shown) if kept > 2 * shown + KEPT => {
            let mut copy = MutableArrayData::new(vec![&data], false, data.len());
            match copy.try_extend(0, 0, data.len()) {
                Ok(()) => make_array(copy.freeze()),
                Err(_) => array,
            }
        }
        _ => array,
    }
}
