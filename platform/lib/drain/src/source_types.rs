//! Filters by source type: `include-log-source-types` and `exclude-log-source-types`.

use std::fmt;

/// The source types there are, by the documentation of Cloud Foundry's log format. A tag may go on behind a slash:
/// `APP/PROC/WEB`.
const KNOWN: [&str; 11] = [
    "API", "STG", "RTR", "LGR", "APP", "SSH", "CELL", "PROXY", "HEALTH", "SYS", "STATS",
];

/// Which logs and events a drain wants by their source type. Case does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SourceTypes {
    /// All of them.
    #[default]
    All,
    /// Only these; nothing that has no source type, or an unknown one.
    Only(SourceTypeSet),
    /// All but these; also what has no source type, or an unknown one.
    Except(SourceTypeSet),
}

/// Some of the known source types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SourceTypeSet(u16);

impl SourceTypeSet {
    /// Reads a list separated by commas. What is unknown comes back as error.
    pub(crate) fn parse(list: &str) -> Result<Self, Vec<String>> {
        let mut set = Self::default();
        let mut unknown = Vec::new();
        for name in list.split(',') {
            match position(name.trim()) {
                Some(index) => set.0 |= 1 << index,
                None => unknown.push(name.to_owned()),
            }
        }
        if unknown.is_empty() { Ok(set) } else { Err(unknown) }
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

impl SourceTypes {
    /// Whether a log or an event with this `source_type` tag (empty: none) is wanted.
    #[must_use]
    pub fn wants(self, source_type: &str) -> bool {
        let known = || position(source_type.split('/').next().unwrap_or_default());
        match self {
            Self::All => true,
            Self::Only(set) => known().is_some_and(|index| set.has(index)),
            Self::Except(set) => known().is_none_or(|index| !set.has(index)),
        }
    }
}

fn position(name: &str) -> Option<usize> {
    KNOWN.iter().position(|known| known.eq_ignore_ascii_case(name))
}

impl fmt::Debug for SourceTypeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = KNOWN.iter().enumerate().filter(|(index, _)| self.has(*index));
        formatter.debug_set().entries(names.map(|(_, name)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An include filter is strict, an exclude filter lets the unknown pass, as in the original.
    #[test]
    fn filters_follow_the_original() {
        let set = SourceTypeSet::parse("app,RTR").unwrap();
        let (only, except) = (SourceTypes::Only(set), SourceTypes::Except(set));
        for (tag, included, left) in [
            ("APP", true, false),
            ("APP/PROC/WEB", true, false),
            ("rtr", true, false),
            ("STG", false, true),
            ("APPS", false, true),
            ("", false, true),
            ("/APP", false, true),
            ("whatever", false, true),
        ] {
            assert_eq!(only.wants(tag), included, "only, `{tag}`");
            assert_eq!(except.wants(tag), left, "except, `{tag}`");
            assert!(SourceTypes::All.wants(tag));
        }
        assert_eq!(SourceTypeSet::parse("APP,foo,,bar").unwrap_err(), ["foo", "", "bar"]);
    }
}
