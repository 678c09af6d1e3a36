//! Reads structured data (RFC 5424, section 6.3): `-`, or elements `[name parameter="value" …]` one behind the other.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Part;

/// The number of elements up to which a linear search for repeated names is faster than a hash table.
const LINEAR_SEARCH_LIMIT: usize = 16;

/// The structured data of a message, which is known to be well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StructuredData<'a> {
    /// The encoded elements; empty for `-`.
    raw: &'a [u8],
}

/// An element of structured data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// SD-ID: the name of the element, such as `tags@47450`.
    pub id: &'a str,
    /// The encoded element with its brackets.
    raw: &'a [u8],
}

/// A parameter of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// PARAM-NAME: the name of the parameter.
    pub name: &'a str,
    /// The encoded value, in which escapes are not yet removed.
    raw: &'a str,
}

impl<'a> StructuredData<'a> {
    /// Reads structured data at the start of `bytes`; returns it and its length in bytes.
    ///
    /// # Errors
    /// If it is malformed: the malformed part and its offset.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<(Self, usize), (Part, usize)> {
        if let [b'-', ..] = bytes {
            return Ok((Self::default(), 1));
        }
        let mut at = 0;
        let mut few: [&str; LINEAR_SEARCH_LIMIT] = [""; LINEAR_SEARCH_LIMIT];
        let mut many = HashSet::new();
        let mut count = 0;
        // The first element is read in any case, so that missing structured data is reported as such.
        while at == 0 || bytes.get(at) == Some(&b'[') {
            let (element, taken) = Element::read(&bytes[at..]).map_err(|(part, offset)| (part, at + offset))?;
            let known = if count < LINEAR_SEARCH_LIMIT {
                let known = few[..count].contains(&element.id);
                few[count] = element.id;
                known
            } else {
                if count == LINEAR_SEARCH_LIMIT {
                    many.extend(few);
                }
                !many.insert(element.id)
            };
            if known {
                return Err((Part::RepeatedElement, at));
            }
            count += 1;
            at += taken;
        }
        Ok((Self { raw: &bytes[..at] }, at))
    }

    /// The encoded elements, one behind the other; empty if there are none.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Iterates over the elements, in the order of the message.
    #[must_use]
    pub const fn elements(&self) -> Elements<'a> {
        Elements { rest: self.raw }
    }

    /// Returns the element of the given name.
    #[must_use]
    pub fn element(&self, id: &str) -> Option<Element<'a>> {
        self.elements().find(|element| element.id == id)
    }
}

impl<'a> Element<'a> {
    /// Reads the element at the start of `bytes`; returns it and its length in bytes.
    ///
    /// # Errors
    /// If it is malformed: the malformed part and its offset.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<(Self, usize), (Part, usize)> {
        let Some(rest) = bytes.strip_prefix(b"[") else {
            return Err((Part::Data, 0));
        };
        let id = name(rest).filter(|id| !id.is_empty()).ok_or((Part::ElementId, 1))?;
        let mut at = 1 + id.len();
        loop {
            match bytes.get(at) {
                Some(b']') => {
                    let raw = &bytes[..=at];
                    return Ok((Self { id, raw }, at + 1));
                }
                Some(b' ') => {
                    let (_, taken) = Parameter::read(&bytes[at..]).map_err(|(part, offset)| (part, at + offset))?;
                    at += taken;
                }
                _ => return Err((Part::Parameter, at)),
            }
        }
    }

    /// The encoded element, with its brackets.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Iterates over the parameters, in the order of the message.
    #[must_use]
    pub fn parameters(&self) -> Parameters<'a> {
        Parameters {
            rest: &self.raw[1 + self.id.len()..],
        }
    }

    /// Returns the value of a parameter. If the parameter occurs more than once, its last value counts.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        let found = self.parameters().filter(|parameter| parameter.name == name).last();
        found.map(|parameter| parameter.value())
    }
}

impl<'a> Parameter<'a> {
    /// Reads ` name="value"` at the start of `bytes`. The name may be empty, as a tag with an empty key is written so
    /// by the original.
    #[inline]
    fn read(bytes: &'a [u8]) -> Result<(Self, usize), (Part, usize)> {
        let Some(rest) = bytes.strip_prefix(b" ") else {
            return Err((Part::Parameter, 0));
        };
        let name = name(rest).ok_or((Part::Parameter, 1))?;
        let Some(rest) = rest[name.len()..].strip_prefix(b"=\"") else {
            return Err((Part::Parameter, 1 + name.len()));
        };
        let start = 3 + name.len();
        let mut at = 0;
        loop {
            at += rest[at..]
                .iter()
                .take_while(|byte| !matches!(byte, b'"' | b'\\' | b']'))
                .count();
            match rest.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    // The escaped byte is skipped, so that a quote or bracket does not end the value. A backslash
                    // before any other byte is not an escape.
                    let escapes = matches!(rest.get(at + 1), Some(b'"' | b'\\' | b']'));
                    at += 1 + usize::from(escapes);
                }
                _ => return Err((Part::Value, start + at)),
            }
        }
        let raw = std::str::from_utf8(&rest[..at]).map_err(|error| (Part::Value, start + error.valid_up_to()))?;
        Ok((Self { name, raw }, start + at + 1))
    }

    /// The value of the parameter, with its escapes removed.
    #[must_use]
    pub fn value(&self) -> Cow<'a, str> {
        if memchr::memchr(b'\\', self.raw.as_bytes()).is_none() {
            return Cow::Borrowed(self.raw);
        }
        let mut value = String::with_capacity(self.raw.len());
        let mut characters = self.raw.chars().peekable();
        while let Some(character) = characters.next() {
            match (character, characters.peek()) {
                ('\\', Some(&escaped @ ('"' | '\\' | ']'))) => {
                    value.push(escaped);
                    characters.next();
                }
                _ => value.push(character),
            }
        }
        Cow::Owned(value)
    }
}

/// Returns the name at the start of `bytes`: printable ASCII without `=`, `]` and `"`. It may be empty.
#[inline]
fn name(bytes: &[u8]) -> Option<&str> {
    let len = bytes.iter().take_while(|byte| IN_NAME[usize::from(**byte)]).count();
    std::str::from_utf8(&bytes[..len]).ok()
}

/// Whether a byte may stand in a name, by its value.
const IN_NAME: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        allowed[byte as usize] = !matches!(byte, b'=' | b']' | b'"');
        byte += 1;
    }
    allowed
};

/// Iterates over the elements of structured data.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (element, taken) = Element::read(self.rest).ok()?;
        self.rest = &self.rest[taken..];
        Some(element)
    }
}

/// Iterates over the parameters of an element.
#[derive(Debug, Clone)]
pub struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (parameter, taken) = Parameter::read(self.rest).ok()?;
        self.rest = &self.rest[taken..];
        Some(parameter)
    }
}
