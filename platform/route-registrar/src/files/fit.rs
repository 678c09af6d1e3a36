//! Fits a loosely written value to a table of settings: keys that are not known go, and texts may be written as numbers.

use serde_json::{Map, Value};
use weir_config::{Setting, Shape};

/// The words by which a shape says that it is a text.
fn is_text(shape: &Shape) -> bool {
    *shape == String::shape()
}

/// The part of `value` that a `T` has, and the keys that it does not know.
pub(super) fn fit<T: Setting>(value: Value) -> (Value, Vec<String>) {
    let mut unknown = Vec::new();
    let value = part(value, &T::shape(), "", &mut unknown);
    (value, unknown)
}

fn part(value: Value, shape: &Shape, key: &str, unknown: &mut Vec<String>) -> Value {
    let below = |name: &str| match key {
        "" => name.to_owned(),
        _ => format!("{key}.{name}"),
    };
    match (shape, value) {
        (Shape::Table(keys), Value::Object(fields)) => {
            let mut fitted = Map::new();
            for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
                match keys.iter().find(|known| known.name == name) {
                    Some(known) => {
                        let value = part(value, &known.shape, &below(&name), unknown);
                        fitted.insert(name, value);
                    }
                    None => unknown.push(below(&name)),
                }
            }
            Value::Object(fitted)
        }
        (Shape::Map(of), Value::Object(fields)) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            let fitted = fields.map(|(name, value)| {
                let value = part(value, of, &below(&name), unknown);
                (name, value)
            });
            Value::Object(fitted.collect())
        }
        (Shape::List(of), Value::Array(values)) => {
            let fitted = values.into_iter().map(|value| part(value, of, key, unknown));
            Value::Array(fitted.collect())
        }
        // As in the original's YAML, a text may be written without quotes.
        (shape, Value::Number(number)) if is_text(shape) => Value::String(number.to_string()),
        (shape, Value::Bool(value)) if is_text(shape) => Value::String(value.to_string()),
        (_, value) => value,
    }
}
