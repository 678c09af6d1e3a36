//! The little YAML that the original's job files are made of: a map of texts, or a list of such maps.
//!
//! ```yaml
//! ---
//! - url: "syslog-tls://log-cache.example:6067?include-metrics-deprecated=true"   # a comment
//!   ca: |
//!     -----BEGIN CERTIFICATE-----
//!     …
//! ```
//!
//! Read strictly: whatever is not of this form (nesting, anchors, folded texts, tabs, a key that is there twice) is an error
//! with its line, never a guess. Values are texts, whatever they look like; `~`, `null` and nothing at all are the empty one.
//! Errors show keys and lines, never values: those may be secrets.

use thiserror::Error;

mod scalar;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct YamlError {
    /// From one.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// A map of texts, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<(String, String)>);

impl Map {
    /// The text at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Reads a map; an empty file is an empty one.
///
/// # Errors
/// What is wrong with the text.
pub fn map(text: &str) -> Result<Map, YamlError> {
    let mut lines = Lines::new(text)?;
    let map = match lines.peek() {
        None => Map::default(),
        Some(first) if is_item(first.text) => return Err(first.error("a list; expected `key: value`")),
        Some(first) => lines.map(first.indent)?,
    };
    lines.finish()?;
    Ok(map)
}

/// Reads a list of maps; an empty file, and `[]`, are an empty one.
///
/// # Errors
/// What is wrong with the text.
pub fn list(text: &str) -> Result<Vec<Map>, YamlError> {
    let mut lines = Lines::new(text)?;
    let mut items = Vec::new();
    if lines.peek().is_some_and(|line| line.text == "[]") {
        lines.advance();
        lines.finish()?;
        return Ok(items);
    }
    while let Some(line) = lines.peek().filter(|line| is_item(line.text)) {
        if line.indent != lines.base {
            return Err(line.error("list items must stand below each other"));
        }
        items.push(lines.item(line)?);
    }
    lines.finish()?;
    Ok(items)
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// One line, without its indentation, comment and end.
#[derive(Debug, Clone, Copy)]
struct Line<'t> {
    number: usize,
    indent: usize,
    text: &'t str,
}

impl Line<'_> {
    fn error(&self, what: impl Into<String>) -> YamlError {
        YamlError {
            line: self.number,
            what: what.into(),
        }
    }
}

/// The lines of a document and how far they were read.
#[derive(Debug)]
struct Lines<'t> {
    raw: Vec<&'t str>,
    next: usize,
    /// What stands behind the `-` of a list item, if it was not read yet.
    pending: Option<Line<'t>>,
    /// Indentation of the first line.
    base: usize,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Result<Self, YamlError> {
        let mut lines = Self {
            raw: text.lines().collect(),
            next: 0,
            pending: None,
            base: 0,
        };
        if let Some(first) = lines.peek()
            && let Some(rest) = first.text.strip_prefix("---")
        {
            lines.advance();
            // `--- []` and the like: the document begins on the line of the marker.
            let rest = rest.trim();
            if !rest.is_empty() {
                lines.pending = Some(Line { text: rest, ..first });
            }
        }
        if let Some(tab) = lines
            .raw
            .iter()
            .position(|line| line.trim_start_matches(' ').starts_with('\t'))
        {
            return Err(YamlError {
                line: tab + 1,
                what: "a tab in the indentation; use spaces".to_owned(),
            });
        }
        lines.base = lines.peek().map_or(0, |line| line.indent);
        Ok(lines)
    }

    /// The next line that has something on it.
    fn peek(&mut self) -> Option<Line<'t>> {
        if let Some(pending) = self.pending {
            return Some(pending);
        }
        while let Some(raw) = self.raw.get(self.next) {
            let text = scalar::without_comment(raw).trim();
            if !text.is_empty() {
                return Some(Line {
                    number: self.next + 1,
                    indent: raw.len() - raw.trim_start_matches(' ').len(),
                    text,
                });
            }
            self.next += 1;
        }
        None
    }

    fn advance(&mut self) {
        if self.pending.take().is_none() {
            self.next += 1;
        }
    }

    fn finish(mut self) -> Result<(), YamlError> {
        if self.peek().is_some_and(|line| line.text == "...") {
            self.advance();
        }
        match self.peek() {
            Some(line) => Err(line.error("not expected here")),
            None => Ok(()),
        }
    }

    /// `- key: value`, and further keys below the first one.
    fn item(&mut self, line: Line<'t>) -> Result<Map, YamlError> {
        self.advance();
        let rest = line.text[1..].trim_start();
        if rest.is_empty() {
            let first = self.peek().filter(|first| first.indent > line.indent);
            return match first {
                Some(first) => self.map(first.indent),
                None => Err(line.error("an empty list item; expected `- key: value`")),
            };
        }
        let indent = line.indent + (line.text.len() - rest.len());
        self.pending = Some(Line {
            indent,
            text: rest,
            ..line
        });
        self.map(indent)
    }

    /// Lines `key: value` at `indent`.
    fn map(&mut self, indent: usize) -> Result<Map, YamlError> {
        let mut map = Map::default();
        while let Some(line) = self.peek() {
            if line.indent < indent || line.text == "..." || (line.indent == self.base && is_item(line.text)) {
                break;
            }
            if line.indent > indent {
                return Err(line.error("indented deeper than the key above it: nesting is not supported"));
            }
            self.advance();
            let (key, value) = scalar::key_and_value(line.text).map_err(|what| line.error(what))?;
            if map.get(&key).is_some() {
                return Err(line.error(format!("`{key}` is there twice")));
            }
            let value = match scalar::block_header(value) {
                Some(header) => self.block(indent, header.map_err(|what| line.error(what))?),
                None => scalar::value(value).map_err(|what| line.error(format!("`{key}`: {what}")))?,
            };
            map.0.push((key, value));
        }
        Ok(map)
    }

    /// The lines of a literal text below a key at `parent`.
    fn block(&mut self, parent: usize, header: scalar::Block) -> String {
        let mut lines: Vec<&str> = Vec::new();
        let mut indent = header.indent.map(|more| parent + more);
        while let Some(raw) = self.raw.get(self.next) {
            let depth = raw.len() - raw.trim_start_matches(' ').len();
            if raw.trim().is_empty() {
                lines.push(indent.and_then(|indent| raw.get(indent..)).unwrap_or(""));
            } else if depth > parent && depth >= indent.unwrap_or(0) {
                let indent = *indent.get_or_insert(depth);
                lines.push(&raw[indent..]);
            } else {
                break;
            }
            self.next += 1;
        }
        header.chomp.text(&lines)
    }
}

#[cfg(test)]
mod tests;
