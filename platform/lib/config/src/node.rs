//! The merged configuration before it has types: a tree whose every value knows where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a file, at a line (from 1).
    File(Arc<str>, usize),
    /// In an environment variable.
    Environment(Arc<str>),
    /// In a flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, line) => write!(formatter, "{name}:{line}"),
            Self::Environment(name) => write!(formatter, "env {name}"),
            Self::Flag => formatter.write_str("flag"),
        }
    }
}

/// A value and where it was given.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// From the environment or a flag: typed by whoever reads it.
    Text(String),
    String(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// A TOML date: we have no use for it but to say that it is wrong.
    Date(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// Was a problem and was reported; reads as if it were not there.
    Dropped,
}

/// One step from the root to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// `ingress.listen`, `peers[2].address`.
pub(crate) fn key(path: &[Step]) -> String {
    let mut key = String::new();
    for step in path {
        match step {
            Step::Key(name) if key.is_empty() => key.push_str(name),
            Step::Key(name) => {
                key.push('.');
                key.push_str(name);
            }
            Step::Index(index) => key.push_str(&format!("[{index}]")),
        }
    }
    key
}

impl Node {
    /// An empty table.
    pub(crate) fn root() -> Self {
        Self {
            origin: Origin::Flag,
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// The value as it was written, if it is a single one.
    pub(crate) fn text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::String(text) | Value::Date(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            Value::Array(_) | Value::Table(_) | Value::Dropped => None,
        }
    }

    /// Puts `node` at `path`, making tables on the way and replacing what is there.
    pub(crate) fn insert(&mut self, path: &[&str], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::Table(BTreeMap::new());
        }
        if let Value::Table(table) = &mut self.value {
            let origin = node.origin.clone();
            table
                .entry((*first).to_owned())
                .or_insert_with(|| Self {
                    origin,
                    value: Value::Table(BTreeMap::new()),
                })
                .insert(rest, node);
        }
    }

    /// The node at `path`, or the last one on the way to it.
    pub(crate) fn nearest(&mut self, path: &[Step]) -> &mut Self {
        let mut node = self;
        for step in path {
            let descends = match (&node.value, step) {
                (Value::Table(table), Step::Key(name)) => table.contains_key(name),
                (Value::Array(items), Step::Index(index)) => *index < items.len(),
                _ => false,
            };
            if !descends {
                break;
            }
            node = match (&mut node.value, step) {
                (Value::Table(table), Step::Key(name)) => table.get_mut(name).expect("it was just seen"),
                (Value::Array(items), Step::Index(index)) => &mut items[*index],
                _ => unreachable!("only tables and arrays descend"),
            };
        }
        node
    }
}

/// Reads a TOML document. `name` is what origins call it.
pub(crate) fn parse(name: &str, text: &str) -> Result<Node, toml::de::Error> {
    let table = DeTable::parse(text)?;
    let document = Document {
        name: name.into(),
        text,
    };
    Ok(document.node(table.span().start, Value::Table(document.table(table.get_ref()))))
}

/// The line (from 1) of a byte offset.
pub(crate) fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

struct Document<'t> {
    name: Arc<str>,
    text: &'t str,
}

impl Document<'_> {
    fn node(&self, offset: usize, value: Value) -> Node {
        Node {
            origin: Origin::File(Arc::clone(&self.name), line(self.text, offset)),
            value,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> BTreeMap<String, Node> {
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            (name.clone().into_owned(), self.value(value))
        };
        table.iter().map(entry).collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let converted = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                // Too large for anything that reads it: it fails there, with its key.
                Err(_) => Value::String(number.to_string()),
            },
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or(Value::String(number.to_string()), Value::Float),
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        self.node(value.span().start, converted)
    }
}
