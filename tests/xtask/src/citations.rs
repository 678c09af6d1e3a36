//! Finds citations of the contracts that lead nowhere.
//!
//! A citation is the name of a page of `docs/contracts`, a paragraph sign and the number of one of its sections, such as
//! `logging §14.1`. A paragraph sign behind the bare word "contract" is refused: it does not say which page is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Where the contracts are, seen from the root.
const CONTRACTS: &str = "docs/contracts";

/// The sign between a page's name and a section's number.
const SIGN: char = '§';

/// Where citations may stand, seen from the root: folders are read with everything below them.
const PLACES: &[&str] = &[
    "agents",
    "docs",
    "doppler",
    "log-cache",
    "platform",
    "rlp",
    "src",
    "tests",
    "traffic-controller",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
];

/// The kinds of files that are read, by their extension.
const EXTENSIONS: &[&str] = &["rs", "md", "go", "py", "proto"];

/// The numbers of the sections of each page, by the page's name.
pub type Sections = BTreeMap<String, BTreeSet<String>>;

/// Lists the citations below `root` that lead nowhere, each with its file and line.
///
/// # Errors
/// When a file cannot be read.
pub fn broken(root: &Path) -> anyhow::Result<Vec<String>> {
    let sections = sections(&root.join(CONTRACTS))?;
    let mut found = Vec::new();
    for place in PLACES {
        walk(root, &root.join(place), &sections, &mut found)?;
    }
    Ok(found)
}

/// Reads which sections the pages in `directory` have.
fn sections(directory: &Path) -> anyhow::Result<Sections> {
    let mut sections = Sections::new();
    for entry in fs::read_dir(directory).with_context(|| format!("`{}`", directory.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("`{}`", path.display()))?;
        sections.insert(name.to_owned(), numbers(&text));
    }
    Ok(sections)
}

/// The numbers at the beginning of the headings of `page`.
fn numbers(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")))
        .map(leading_number)
        .filter(|number| !number.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The section number, such as `14` or `14.1`, that `text` begins with; empty without one.
fn leading_number(text: &str) -> &str {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default().trim_end_matches('.')
}

/// What is wrong with the citations in `text`: the number of the line, from one, and the problem.
fn problems(text: &str, sections: &Sections) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut page = "";
        for (at, _) in line.match_indices(SIGN) {
            let before = line.get(..at).unwrap_or_default().trim_end();
            let word = before
                .rsplit(|character: char| !is_name(character))
                .next()
                .unwrap_or_default();
            let number = leading_number(line.get(at + SIGN.len_utf8()..).unwrap_or_default());
            if word.eq_ignore_ascii_case("contract") {
                problems.push((
                    index + 1,
                    format!("`{word} {SIGN}{number}` does not say which contract"),
                ));
            } else if sections.contains_key(word) {
                page = word;
            }
            // A further number behind a comma belongs to the page before it; other signs are no citations of ours.
            if let Some(known) = sections.get(page)
                && (word == page || before.ends_with(','))
                && !known.contains(number)
            {
                problems.push((index + 1, format!("`{page} {SIGN}{number}`: there is no such section")));
            }
        }
    }
    problems
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-'
}

fn walk(root: &Path, path: &Path, sections: &Sections, found: &mut Vec<String>) -> anyhow::Result<()> {
    let context = || format!("`{}`", path.display());
    if path.is_dir() {
        // The contracts refer to their own sections without a name; generated code is nobody's text.
        if path.ends_with(CONTRACTS) || path.ends_with("generated") || path.ends_with("target") {
            return Ok(());
        }
        for entry in fs::read_dir(path).with_context(context)? {
            walk(root, &entry.with_context(context)?.path(), sections, found)?;
        }
    } else if path
        .extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.contains(&extension))
    {
        let text = fs::read_to_string(path).with_context(context)?;
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        for (line, problem) in problems(&text, sections) {
            found.push(format!("{shown}:{line}: {problem}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
