//! The form of the original's configuration file: keys and values with `:`, `=` or a blank between them, tables in braces, lists in
//! brackets, texts in quotation marks or bare, comments behind `#` or `//`.

use thiserror::Error;

/// How deep tables and lists may stand in each other.
const DEEPEST: usize = 16;

/// A value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
}

/// The file is not in this form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("configuration file, line {line}: {reason}")]
pub struct ConfError {
    line: usize,
    reason: &'static str,
}

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Value)>, ConfError> {
    let mut reader = Reader { text, at: 0 };
    let table = reader.table(0)?;
    match reader.peek() {
        None => Ok(table),
        Some(_) => Err(reader.failed("a bracket is closed that was not opened")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn failed(&self, reason: &'static str) -> ConfError {
        let line = self.text[..self.at].matches('\n').count() + 1;
        ConfError { line, reason }
    }

    /// Skips what stands between entries.
    fn skip(&mut self, separators: &[char]) {
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with('#') || rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with(|next: char| next.is_whitespace() || separators.contains(&next)) {
                self.next();
            } else {
                return;
            }
        }
    }

    /// Reads entries up to the end of the table.
    fn table(&mut self, depth: usize) -> Result<Vec<(String, Value)>, ConfError> {
        let mut table = Vec::new();
        loop {
            self.skip(&[',', ';']);
            match self.peek() {
                None | Some('}' | ']') => return Ok(table),
                Some(_) => {}
            }
            let key = self.text(&[':', '=', '{', '[', ' ', '\t'])?;
            if key.is_empty() {
                return Err(self.failed("a key is expected"));
            }
            if key == "include" {
                return Err(self.failed("other files are not included: put all keys into one file"));
            }
            self.skip(&[]);
            if matches!(self.peek(), Some(':' | '=')) {
                self.next();
                self.skip(&[]);
            }
            table.push((key.to_ascii_lowercase(), self.value(depth)?));
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ConfError> {
        if depth == DEEPEST {
            return Err(self.failed("tables and lists are too deep"));
        }
        match self.peek() {
            Some('{') => {
                self.next();
                let table = self.table(depth + 1)?;
                self.close('}')?;
                Ok(Value::Table(table))
            }
            Some('[') => {
                self.next();
                let mut list = Vec::new();
                loop {
                    self.skip(&[',', ';']);
                    if matches!(self.peek(), None | Some(']' | '}')) {
                        self.close(']')?;
                        return Ok(Value::List(list));
                    }
                    list.push(self.value(depth + 1)?);
                }
            }
            Some('$') => Err(self.failed("variables are not known here: write the value itself")),
            _ => {
                let text = self.text(&[',', ';', ']', '}'])?;
                Ok(Value::Text(text.trim_end().to_owned()))
            }
        }
    }

    fn close(&mut self, bracket: char) -> Result<(), ConfError> {
        match self.next() {
            Some(next) if next == bracket => Ok(()),
            _ => Err(self.failed("a bracket is not closed")),
        }
    }

    /// Reads a text in quotation marks, or a bare one up to one of these characters or the end of the line.
    fn text(&mut self, ends: &[char]) -> Result<String, ConfError> {
        let mut text = String::new();
        match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.next();
                loop {
                    match self.next() {
                        None => return Err(self.failed("a quotation mark is not closed")),
                        Some(next) if next == quote => return Ok(text),
                        Some('\\') if quote == '"' => match self.next() {
                            Some('n') => text.push('\n'),
                            Some('t') => text.push('\t'),
                            Some(escaped @ ('"' | '\\')) => text.push(escaped),
                            _ => return Err(self.failed("a character cannot be escaped")),
                        },
                        Some(next) => text.push(next),
                    }
                }
            }
            _ => {
                while let Some(next) = self.peek().filter(|next| *next != '\n' && !ends.contains(next)) {
                    // A comment begins behind a blank; an address may have slashes.
                    if next == '#' && text.ends_with([' ', '\t']) {
                        break;
                    }
                    text.push(next);
                    self.next();
                }
                Ok(text)
            }
        }
    }
}
