//! The keys of a job file, taken one by one: what is left at the end has no effect.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::JobError;

/// A table of a job file.
#[derive(Debug)]
pub(super) struct Keys {
    table: BTreeMap<String, Value>,
}

impl Keys {
    /// The keys of a table.
    pub(super) const fn new(table: BTreeMap<String, Value>) -> Self {
        Self { table }
    }

    /// Takes the value of a key, in which dots separate the names of nested tables; `None` if it is absent or `null`.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, JobError> {
        let Some(value) = self.take(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        serde_json::from_value(value).map(Some).map_err(|_| JobError::Value {
            key: key.to_owned(),
            // The value may be a secret.
            reason: "has a value of another kind".to_owned(),
        })
    }

    /// Takes a text; empty if it is absent.
    pub(super) fn text(&mut self, key: &str) -> Result<String, JobError> {
        Ok(self.get(key)?.unwrap_or_default())
    }

    /// Takes a list of tables.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<BTreeMap<String, Value>>, JobError> {
        Ok(self.get(key)?.unwrap_or_default())
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let mut names = key.split('.');
        let (first, mut last) = (names.next()?, None);
        let mut table: Option<&mut serde_json::Map<String, Value>> = None;
        let mut name = first;
        for next in names {
            let value = match table {
                None => self.table.get_mut(name)?,
                Some(table) => table.get_mut(name)?,
            };
            table = Some(value.as_object_mut()?);
            name = next;
            last = Some(name);
        }
        match (table, last) {
            (Some(table), Some(name)) => table.remove(name),
            _ => self.table.remove(name),
        }
    }

    /// The keys that nobody has taken and that say something, with the reason of each.
    pub(super) fn rest(self, reasons: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
        let mut rest = Vec::new();
        for (name, value) in self.table {
            collect(name, &value, reasons, &mut rest);
        }
        rest
    }
}

fn collect(key: String, value: &Value, reasons: &[(&str, &'static str)], rest: &mut Vec<(String, &'static str)>) {
    let reason = reasons.iter().find(|(known, _)| *known == key);
    match (reason, value) {
        (_, Value::Null) => {}
        // All of it was taken.
        (_, Value::Object(table)) if table.is_empty() => {}
        (Some((_, reason)), _) => rest.push((key, *reason)),
        (None, Value::Object(table)) => {
            for (name, value) in table {
                collect(format!("{key}.{name}"), value, reasons, rest);
            }
        }
        (None, _) => rest.push((key, "it has no meaning here")),
    }
}
