//! Reads the tree of nodes into serde types. It keeps track of the key, so that an error has its place.
//!
//! A value from TOML must have the type of its setting. A value from the environment or a flag is text, and is parsed
//! as the type of its setting: a list is `a,b,c` or a TOML array, a table is a TOML inline table, and an empty text is
//! `None` for an optional setting.

mod error;

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor};

pub(crate) use error::{DeError, Fault};

use crate::node::{self, Node, Step, Value};
use crate::value::SECRET;

/// A deserializer of one node, with the path to it.
#[derive(Debug)]
pub(crate) struct NodeDeserializer<'n> {
    node: &'n Node,
    path: Vec<Step>,
}

impl<'n> NodeDeserializer<'n> {
    pub(crate) fn root(node: &'n Node) -> Self {
        Self { node, path: Vec::new() }
    }

    /// Reads the node, and adds its place to an error.
    fn run<T>(self, read: impl FnOnce(&'n Node, &[Step]) -> Result<T, DeError>) -> Result<T, DeError> {
        read(self.node, &self.path).map_err(|error| error.at(&self.path))
    }

    // In the following methods, a text that cannot be parsed is given to the visitor as text. Its error then says what
    // the visitor expects.

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.run(|node, path| match &node.value {
            Value::Text(text) => match text.trim().parse() {
                Ok(number) => integer(number, visitor),
                Err(_) => visitor.visit_str(text),
            },
            _ => any(node, path, visitor),
        })
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.run(|node, path| match &node.value {
            Value::Text(text) => match text.trim().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => visitor.visit_str(text),
            },
            _ => any(node, path, visitor),
        })
    }

    fn boolean<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.run(|node, path| match &node.value {
            Value::Text(text) => match text.trim().parse() {
                Ok(truth) => visitor.visit_bool(truth),
                Err(_) => visitor.visit_str(text),
            },
            _ => any(node, path, visitor),
        })
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.run(|node, path| match &node.value {
            Value::Text(text) => any(&list(text, node), path, visitor),
            _ => any(node, path, visitor),
        })
    }

    fn table<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.run(|node, path| match &node.value {
            Value::Text(text) if text.trim_start().starts_with('{') => {
                any(&inline(text, node).unwrap_or_else(|| node.clone()), path, visitor)
            }
            _ => any(node, path, visitor),
        })
    }
}

/// Reads a node as the type that it has.
fn any<'de, V: Visitor<'de>>(node: &Node, path: &[Step], visitor: V) -> Result<V::Value, DeError> {
    match &node.value {
        Value::Text(text) | Value::String(text) => visitor.visit_str(text),
        Value::Integer(number) => integer(*number, visitor),
        Value::Float(number) => visitor.visit_f64(*number),
        Value::Boolean(truth) => visitor.visit_bool(*truth),
        Value::Date(_) => Err(DeError::invalid_type(Unexpected::Other("date"), &visitor)),
        Value::Array(items) => visitor.visit_seq(Items {
            items: items.iter().enumerate(),
            path,
        }),
        Value::Table(table) => visitor.visit_map(Entries {
            entries: table.iter(),
            value: None,
            path,
        }),
        Value::Dropped => visitor.visit_unit(),
    }
}

fn integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, DeError> {
    if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else {
        Err(DeError::invalid_value(
            Unexpected::Other("integer of more than 64 bits"),
            &visitor,
        ))
    }
}

/// Parses a text as a list: `a,b,c` or a TOML array.
fn list(text: &str, node: &Node) -> Node {
    if text.trim_start().starts_with('[')
        && let Some(array) = inline(text, node)
    {
        return array;
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(|item| Node {
        origin: node.origin.clone(),
        value: Value::Text(item.to_owned()),
    });
    Node {
        origin: node.origin.clone(),
        value: Value::Array(items.collect()),
    }
}

/// Parses a text as one TOML value, whose parts all get the origin of the text.
fn inline(text: &str, node: &Node) -> Option<Node> {
    fn adopt(value: &mut Node, origin: &node::Origin) {
        value.origin = origin.clone();
        match &mut value.value {
            Value::Array(items) => items.iter_mut().for_each(|item| adopt(item, origin)),
            Value::Table(table) => table.values_mut().for_each(|item| adopt(item, origin)),
            _ => {}
        }
    }
    let Value::Table(mut table) = node::parse("", &format!("value = {text}")).ok()?.value else {
        return None;
    };
    // If there is another key, the text has more than a value in it.
    let mut value = table.remove("value").filter(|_| table.is_empty())?;
    adopt(&mut value, &node.origin);
    Some(value)
}

/// The items of a list, without those that were dropped.
struct Items<'n> {
    items: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
    path: &'n [Step],
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DeError> {
        // Dropped items are skipped but keep their index, so that later problems have the right key.
        match self.items.find(|(_, node)| !matches!(node.value, Value::Dropped)) {
            None => Ok(None),
            Some((index, node)) => {
                let path = [self.path, &[Step::Index(index)]].concat();
                seed.deserialize(NodeDeserializer { node, path }).map(Some)
            }
        }
    }
}

/// The entries of a table, without those that were dropped.
struct Entries<'n> {
    entries: std::collections::btree_map::Iter<'n, String, Node>,
    value: Option<(&'n str, &'n Node)>,
    path: &'n [Step],
}

impl Entries<'_> {
    fn path(&self, name: &str) -> Vec<Step> {
        [self.path, &[Step::Key(name.to_owned())]].concat()
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        match self.entries.find(|(_, node)| !matches!(node.value, Value::Dropped)) {
            None => Ok(None),
            Some((name, node)) => {
                self.value = Some((name, node));
                let key: StrDeserializer<'_, DeError> = name.as_str().into_deserializer();
                seed.deserialize(key)
                    .map(Some)
                    .map_err(|error| error.at(&self.path(name)))
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeError> {
        let (name, node) = self
            .value
            .take()
            .ok_or_else(|| DeError::custom("value was read before its key"))?;
        let path = self.path(name);
        seed.deserialize(NodeDeserializer { node, path })
    }
}

/// Implements the methods of `Deserializer` that read a node in one way.
macro_rules! read_as {
    ($read:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
            self.$read(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DeError;

    read_as!(integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64);
    read_as!(float: deserialize_f32 deserialize_f64);
    read_as!(boolean: deserialize_bool);
    read_as!(list: deserialize_seq);
    read_as!(table: deserialize_map);
    read_as!(deserialize_any: deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_identifier);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.run(|node, path| any(node, path, visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.node.value {
            Value::Dropped => visitor.visit_none(),
            Value::Text(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, DeError> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.list(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.table(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DeError> {
        let read = visitor.visit_newtype_struct(self);
        // Whatever is wrong inside of a secret, its value must not be in the report.
        if name == SECRET {
            read.map_err(DeError::secret)
        } else {
            read
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.run(|node, path| match &node.value {
            Value::Text(text) | Value::String(text) => {
                let variant: StrDeserializer<'_, DeError> = text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            Value::Table(table) => visitor.visit_enum(MapAccessDeserializer::new(Entries {
                entries: table.iter(),
                value: None,
                path,
            })),
            _ => any(node, path, visitor),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_unit()
    }
}
