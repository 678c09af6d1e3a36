//! The merged configuration before it is read into types: a tree in which each value has its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The place where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The value is in a file, at a line that is counted from 1.
    File(Arc<str>, usize),
    /// The value is that of an environment variable.
    Environment(Arc<str>),
    /// The value was given by a flag.
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

/// A value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// A value before it is read into a type.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A text from the environment or a flag. It takes the type of the setting that it is read into.
    Text(String),
    String(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// A date, which TOML has and no setting accepts. It is kept for the error.
    Date(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// A value whose problem was reported. It is read as if it were absent.
    Dropped,
}

/// One step on the path from the root to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Writes a path as a key: `ingress.listen`, `peers[2].address`.
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

    /// The value as it was written, unless it is a list or a table.
    pub(crate) fn text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::String(text) | Value::Date(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            Value::Array(_) | Value::Table(_) | Value::Dropped => None,
        }
    }

    /// Puts `node` at `path`. Missing tables on the path are made, and the value at the path is replaced.
    pub(crate) fn insert(&mut self, path: &[&str], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        // A stronger source has given a table where a weaker one has a value.
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

    /// The node at `path`, or the last node on the path that exists.
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
                (Value::Table(table), Step::Key(name)) => table.get_mut(name).expect("the table contains the key"),
                (Value::Array(items), Step::Index(index)) => &mut items[*index],
                _ => unreachable!("only tables and arrays descend"),
            };
        }
        node
    }
}

/// Reads a TOML document. `name` is the name of the file in origins.
pub(crate) fn parse(name: &str, text: &str) -> Result<Node, toml::de::Error> {
    let table = DeTable::parse(text)?;
    let document = Document {
        name: name.into(),
        text,
    };
    Ok(document.node(table.span().start, Value::Table(document.table(table.get_ref()))))
}

/// The line of a byte offset, counted from 1.
pub(crate) fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// A TOML document that is converted to nodes.
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
                // No setting accepts a number of this size. As text it fails there, and the error names the key.
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
