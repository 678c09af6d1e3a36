//! The commented example of a configuration, made from its defaults and one line of text per key.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{RenderError, render};

/// What [`example()`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The example as TOML, every key at its default with its text above; keys without a default are commented out.
    pub text: String,
    /// Keys without a text: a test of each component demands that there are none.
    pub undocumented: Vec<String>,
}

/// Writes the defaults of `R` with `docs`, pairs of key (`ingress.listen`) and text. The key of a table documents its
/// header. The key of an optional value, which has no default to show, is written as a comment below its table.
///
/// # Errors
/// When the type has no TOML form.
pub fn example<R: Default + Serialize>(docs: &[(&str, &str)]) -> Result<Example, RenderError> {
    let rendered = render(&R::default())?;
    let tables: BTreeSet<&str> = rendered.lines().filter_map(header).collect();
    let mut left: BTreeMap<&str, &str> = docs.iter().copied().collect();
    let mut text = String::new();
    let mut undocumented = Vec::new();
    let mut table = "";
    for line in rendered.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = header(line) {
            optional_keys(table, &tables, &mut left, &mut text);
            table = name;
            text.push('\n');
            comment(left.remove(table), &mut text);
        } else if let Some((name, _)) = line.split_once(" = ") {
            let key = below(table, name);
            let doc = left.remove(key.as_str());
            if doc.is_none() {
                undocumented.push(key);
            }
            comment(doc, &mut text);
        }
        text.push_str(line);
        text.push('\n');
    }
    optional_keys(table, &tables, &mut left, &mut text);
    // What is left belongs to optional tables.
    for (key, doc) in left {
        text.push('\n');
        comment(Some(doc), &mut text);
        text.push_str(&format!("# {key} =\n"));
    }
    Ok(Example {
        text: text.trim_start().to_owned(),
        undocumented,
    })
}

/// The name of the table that a line begins.
fn header(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    Some(name.trim_matches(['[', ']']))
}

/// Writes the keys of `table` that are documented and have no default, as comments.
fn optional_keys(table: &str, tables: &BTreeSet<&str>, left: &mut BTreeMap<&str, &str>, text: &mut String) {
    left.retain(|key, doc| {
        let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
        if parent != table || tables.contains(key) {
            return true;
        }
        comment(Some(doc), text);
        text.push_str(&format!("# {name} =\n"));
        false
    });
}

fn comment(doc: Option<&str>, text: &mut String) {
    for line in doc.unwrap_or_default().lines() {
        text.push_str("# ");
        text.push_str(line);
        text.push('\n');
    }
}

fn below(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteSize, Secret};

    #[derive(Default, Serialize)]
    struct Raw {
        name: String,
        token: Option<Secret<String>>,
        ingress: Ingress,
    }

    #[derive(Serialize)]
    struct Ingress {
        queue: u32,
        max_message: ByteSize,
        listen: Option<String>,
    }

    impl Default for Ingress {
        fn default() -> Self {
            Self {
                queue: 5,
                max_message: ByteSize::mib(10),
                listen: None,
            }
        }
    }

    /// Every key appears once, with its text, where it belongs; those without a text are named.
    #[test]
    fn writes_every_key_with_its_text() {
        let docs = [
            ("name", "Who we are."),
            ("token", "What opens the door."),
            ("ingress", "What comes in."),
            ("ingress.max_message", "The largest message.\nLarger ones are refused."),
            ("ingress.listen", "Where."),
            ("egress.peers", "To whom."),
        ];
        let example = example::<Raw>(&docs).unwrap();
        assert_eq!(example.undocumented, ["ingress.queue"]);
        assert_eq!(
            example.text,
            "# Who we are.\nname = \"\"\n# What opens the door.\n# token =\n\n# What comes in.\n[ingress]\nqueue = 5\n\
             # The largest message.\n# Larger ones are refused.\nmax_message = \"10MiB\"\n# Where.\n# listen =\n\n\
             # To whom.\n# egress.peers =\n"
        );
    }
}
