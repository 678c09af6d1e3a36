//! The function `tag(tags, 'key')`, which returns the value of a tag, or null if there is none, as `tags['key']` does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// The function `tag(tags, 'key')`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    signature: Signature,
}

impl Tag {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Tag {
    fn name(&self) -> &'static str {
        "tag"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [tags @ DataType::Map(..), _] => Ok(vec![tags.clone(), DataType::Utf8]),
            _ => plan_err!("`tag` takes the column tags and a key: tag(tags, 'app_name')"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [tags, key] = <[ColumnarValue; 2]>::try_from(arguments.args)
            .map_err(|_| DataFusionError::Execution("`tag` takes two arguments".to_owned()))?;
        let tags = tags.into_array(arguments.number_rows)?;
        let keys = key.into_array(arguments.number_rows)?;
        Ok(ColumnarValue::Array(values(&tags, &keys)?))
    }
}

fn values(tags: &ArrayRef, keys: &ArrayRef) -> Result<ArrayRef> {
    let (Some(tags), Some(keys)) = (tags.as_map_opt(), keys.as_string_opt::<i32>()) else {
        return exec_err!("`tag` takes the column tags and a key");
    };
    let (Some(names), Some(texts)) = (tags.keys().as_string_opt::<i32>(), tags.values().as_string_opt::<i32>()) else {
        return exec_err!("`tag` takes a map of texts");
    };
    let mut values = StringBuilder::with_capacity(tags.len(), tags.len() * 16);
    for (row, key) in keys.iter().enumerate() {
        let (start, end) = (tags.value_offsets()[row], tags.value_offsets()[row + 1]);
        let found = key.filter(|_| tags.is_valid(row)).and_then(|key| {
            let mut entries = (start..end).filter_map(|entry| usize::try_from(entry).ok());
            entries
                .find(|entry| names.value(*entry) == key)
                .filter(|entry| texts.is_valid(*entry))
        });
        values.append_option(found.map(|entry| texts.value(entry)));
    }
    Ok(Arc::new(values.finish()))
}
