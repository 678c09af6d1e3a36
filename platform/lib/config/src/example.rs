//! The commented example of a configuration: every key with its text, its default and the allowed values.

use std::fmt::Write as _;

use crate::setting::derived::below;
use crate::{Key, RenderError, Setting, Shape};

/// The width of a comment in columns.
const WIDTH: usize = 100;

/// Writes every key of `R` as TOML: its text and the allowed values as comments, and then its default. A key without a
/// default is written as a comment. The result loads as the default configuration.
///
/// # Errors
/// When the type has no TOML form.
pub fn example<R: Setting + Default>() -> Result<String, RenderError> {
    let defaults = toml::Table::try_from(R::default())?;
    let mut text = String::new();
    if let Shape::Table(keys) = R::shape() {
        table(&mut text, "", &keys, &defaults, "# ");
    }
    Ok(text.trim_start().to_owned())
}

/// Writes the keys of the table at `path`. Single values come first, because in TOML a key after the head of a subtable
/// belongs to that subtable. `mark` stands before a key without a default.
fn table(text: &mut String, path: &str, keys: &[Key], defaults: &toml::Table, mark: &str) {
    for key in keys {
        let default = defaults.get(key.name);
        let form = match &key.shape {
            Shape::Value(form) => Some(*form),
            Shape::List(_) => None,
            Shape::Table(_) | Shape::Map(_) => continue,
        };
        comment(text, key.text);
        match (&key.allowed, default, form) {
            (Some(allowed), _, _) => comment(text, &format!("Must be {allowed}.")),
            (None, None, Some(form)) => comment(text, &format!("Must be {form}.")),
            _ => {}
        }
        match default {
            Some(default) => push(text, format_args!("{} = {default}\n", key.name)),
            None => push(text, format_args!("{mark}{} =\n", key.name)),
        }
    }
    for key in keys {
        let path = below(path, key.name);
        let empty = toml::Table::new();
        let default = defaults.get(key.name).and_then(toml::Value::as_table);
        match &key.shape {
            Shape::Value(_) => {}
            Shape::Table(keys) => section(text, key, default.is_none(), |text| {
                push(text, format_args!("[{path}]\n"));
                table(
                    text,
                    &path,
                    keys,
                    default.unwrap_or(&empty),
                    if default.is_some() { mark } else { "" },
                );
            }),
            Shape::Map(each) => section(
                text,
                key,
                default.is_none_or(toml::Table::is_empty),
                |text| match &**each {
                    Shape::Table(keys) => {
                        push(text, format_args!("[{path}.NAME]\n"));
                        table(text, &below(&path, "NAME"), keys, &empty, "");
                    }
                    _ => {
                        push(text, format_args!("[{path}]\n"));
                        match default.filter(|entries| !entries.is_empty()) {
                            Some(entries) => push(text, format_args!("{entries}")),
                            None => text.push_str("NAME =\n"),
                        }
                    }
                },
            ),
            Shape::List(each) => {
                if let Shape::Table(keys) = &**each {
                    text.push('\n');
                    commented(text, |text| {
                        push(text, format_args!("[[{path}]]\n"));
                        table(text, &path, keys, &empty, "");
                    });
                }
            }
        }
    }
}

/// Writes a table with its text above it. The table is written as a comment if it has no default.
fn section(text: &mut String, key: &Key, as_comment: bool, write: impl FnOnce(&mut String)) {
    text.push('\n');
    comment(text, key.text);
    if let Some(allowed) = &key.allowed {
        comment(text, &format!("Must be {allowed}."));
    }
    if as_comment {
        commented(text, write);
    } else {
        write(text);
    }
}

/// Writes a part of the example as comments.
fn commented(text: &mut String, write: impl FnOnce(&mut String)) {
    let mut part = String::new();
    write(&mut part);
    for line in part.lines() {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
}

/// Writes the paragraphs of `words` as comments, wrapped at [`WIDTH`].
fn comment(text: &mut String, words: &str) {
    for paragraph in words.lines() {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
                push(text, format_args!("{line}\n"));
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        push(text, format_args!("{line}\n"));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes everything");
}
