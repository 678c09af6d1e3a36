//! Path patterns in which `*` stands for any characters and `?` for one character, within one path component.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// A path pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    pattern: String,
}

impl Glob {
    /// Parses a pattern.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        if pattern.is_empty() {
            return Err("must not be empty");
        }
        if pattern.contains(['[', '\\', '{']) {
            return Err("must be a path in which `*` and `?` stand for any characters; nothing else is supported");
        }
        Ok(Self {
            pattern: pattern.to_owned(),
        })
    }

    /// Returns the pattern as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Returns the existing paths that match, sorted. A directory that cannot be read contains none.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in Path::new(&self.pattern).components() {
            let Component::Normal(name) = part else {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            };
            if name.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?')) {
                found = found.iter().flat_map(|directory| matching(directory, name)).collect();
            } else {
                found.iter_mut().for_each(|path| path.push(name));
            }
        }
        found.retain(|path| path.exists());
        found
    }
}

/// Returns the entries of a directory whose names match, sorted.
fn matching(directory: &Path, pattern: &OsStr) -> Vec<PathBuf> {
    let here = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.file_name())
        .filter(|name| matches(pattern.as_bytes(), name.as_bytes()))
        .collect();
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

/// Returns whether `name` matches `pattern`, in time proportional to at most the product of their lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut reached) = (0, 0);
    // The position of the last star in the pattern, and up to where in the name it matches so far.
    let mut star: Option<(usize, usize)> = None;
    while reached < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, reached));
                at += 1;
            }
            Some(b'?') => (at, reached) = (at + 1, reached + 1),
            Some(byte) if *byte == name[reached] => (at, reached) = (at + 1, reached + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, reached) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.yml", "ingress_port.yml", true),
            ("*.yml", ".yml", true),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXbbY", false),
            ("?x", "x", false),
            ("?x", "yx", true),
            ("abc", "abcd", false),
            ("****a", "aaaaaaaaaaaaaaaaaaaaab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    /// The files of all jobs are found in a fixed order, and directories that do not match are skipped.
    #[test]
    fn files_are_found() {
        let base = tempfile::tempdir().unwrap();
        for job in ["b-agent", "a-agent", "other"] {
            std::fs::create_dir_all(base.path().join(job).join("config")).unwrap();
        }
        for job in ["b-agent", "a-agent"] {
            std::fs::write(base.path().join(job).join("config/ingress_port.yml"), "").unwrap();
        }
        let glob = Glob::parse(&format!("{}/*-agent/config/ingress_port.ym?", base.path().display())).unwrap();
        let found: Vec<PathBuf> = glob
            .paths()
            .iter()
            .map(|path| path.strip_prefix(base.path()).unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            [
                Path::new("a-agent/config/ingress_port.yml"),
                Path::new("b-agent/config/ingress_port.yml")
            ]
        );
        let none = Glob::parse(&format!("{}/none/*/x", base.path().display())).unwrap();
        assert!(none.paths().is_empty());
        assert!(Glob::parse("").is_err() && Glob::parse("/a/[b]").is_err());
    }
}
