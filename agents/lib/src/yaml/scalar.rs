//! Keys and values of one line.

/// How a literal text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chomp {
    /// `|`: with one line end.
    Clip,
    /// `|-`: without.
    Strip,
    /// `|+`: as it stands.
    Keep,
}

/// What stands behind the key of a literal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) chomp: Chomp,
    /// Indentation below the key, if it is said.
    pub(super) indent: Option<usize>,
}

impl Chomp {
    pub(super) fn text(self, lines: &[&str]) -> String {
        let content = lines
            .iter()
            .rposition(|line| !line.trim().is_empty())
            .map_or(0, |last| last + 1);
        let kept = if self == Self::Keep { lines } else { &lines[..content] };
        let mut text = kept.join("\n");
        if !kept.is_empty() && self != Self::Strip {
            text.push('\n');
        }
        text
    }
}

/// The header of a literal text, if `value` is one.
pub(super) fn block_header(value: &str) -> Option<Result<Block, String>> {
    if value.starts_with('>') {
        return Some(Err("folded texts (`>`) are not supported; use `|`".to_owned()));
    }
    let mut block = Block {
        chomp: Chomp::Clip,
        indent: None,
    };
    for character in value.strip_prefix('|')?.chars() {
        match character {
            '-' => block.chomp = Chomp::Strip,
            '+' => block.chomp = Chomp::Keep,
            '1'..='9' => block.indent = character.to_digit(10).map(|digit| digit as usize),
            _ => return Some(Err(format!("`{character}` behind `|` is not supported"))),
        }
    }
    Some(Ok(block))
}

/// A line up to its comment: a `#` at its beginning or behind a blank, outside of quotes.
pub(super) fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            // A quote opens a text only where a text begins, or goes on behind a doubled one.
            None if character == '"' && before == ' ' => quote = Some(character),
            None if character == '\'' && matches!(before, ' ' | '\'') => quote = Some(character),
            None if character == '#' && before.is_whitespace() => return &line[..at],
            None => {}
        }
        before = character;
    }
    line
}

/// Splits `key: value`.
pub(super) fn key_and_value(text: &str) -> Result<(String, &str), String> {
    let (key, rest) = if text.starts_with(['"', '\'']) {
        let end = closing(text).ok_or("a quote that is not closed")?;
        let rest = text[end..].trim_start();
        (
            value(&text[..end])?,
            rest.strip_prefix(':').ok_or("expected `key: value`")?,
        )
    } else {
        let colon = text
            .char_indices()
            .find(|&(at, character)| character == ':' && text[at + 1..].chars().next().is_none_or(char::is_whitespace))
            .map(|(at, _)| at)
            .ok_or("expected `key: value`")?;
        (text[..colon].trim_end().to_owned(), &text[colon + 1..])
    };
    if key.is_empty() || key.starts_with(['?', '&', '*', '!', '[', '{', '<', '-']) {
        return Err("expected `key: value`".to_owned());
    }
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return Err("expected a blank behind `:`".to_owned());
    }
    Ok((key, rest.trim()))
}

/// The text of a value on one line.
pub(super) fn value(text: &str) -> Result<String, String> {
    match text.chars().next() {
        None | Some('~') if text.len() <= 1 => Ok(String::new()),
        Some('"') => double_quoted(text),
        Some('\'') => single_quoted(text),
        Some(first @ ('&' | '*' | '!' | '%' | '@' | '`' | '[' | '{' | ']' | '}' | ',')) => {
            Err(format!("a value may not begin with `{first}`: put it in quotes"))
        }
        _ if text == "null" => Ok(String::new()),
        _ if text == "-" || text.starts_with("- ") || text.starts_with("? ") => {
            Err("a list in a value is not supported".to_owned())
        }
        _ if text.contains(": ") || text.ends_with(':') => Err("a colon in a value: put it in quotes".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Behind the closing quote of the text that `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if escaped {
            escaped = false;
        } else if quote == '"' && character == '\\' {
            escaped = true;
        } else if character == quote {
            if quote == '\'' && characters.peek().is_some_and(|&(_, next)| next == '\'') {
                characters.next();
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

fn whole(text: &str) -> Result<&str, String> {
    match closing(text) {
        Some(end) if end == text.len() => Ok(&text[1..end - 1]),
        Some(_) => Err("something behind the closing quote".to_owned()),
        None => Err("a quote that is not closed on its line".to_owned()),
    }
}

fn single_quoted(text: &str) -> Result<String, String> {
    Ok(whole(text)?.replace("''", "'"))
}

fn double_quoted(text: &str) -> Result<String, String> {
    let mut value = String::with_capacity(text.len());
    let mut characters = whole(text)?.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            value.push(character);
            continue;
        }
        value.push(match characters.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('0') => '\0',
            Some('e') => '\x1b',
            Some(same @ ('"' | '\\' | '/' | ' ')) => same,
            Some('x') => hexadecimal(&mut characters, 2)?,
            Some('u') => hexadecimal(&mut characters, 4)?,
            Some('U') => hexadecimal(&mut characters, 8)?,
            Some(other) => return Err(format!("`\\{other}` is no escape sequence")),
            None => return Err("a backslash at the end".to_owned()),
        });
    }
    Ok(value)
}

fn hexadecimal(characters: &mut std::str::Chars<'_>, digits: usize) -> Result<char, String> {
    let mut code = 0_u32;
    for _ in 0..digits {
        let digit = characters.next().and_then(|character| character.to_digit(16));
        code = code << 4 | digit.ok_or("an escape sequence with too few hexadecimal digits")?;
    }
    char::from_u32(code).ok_or_else(|| "an escape sequence that is no character".to_owned())
}
