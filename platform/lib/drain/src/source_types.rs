//! Filters by source type: the query parameters `include-log-source-types` and `exclude-log-source-types`.

use std::fmt;

/// The source types that the documentation of Cloud Foundry's log format lists. A tag may have more behind a slash, as
/// `APP/PROC/WEB` has.
const KNOWN: [&str; 11] = [
    "API", "STG", "RTR", "LGR", "APP", "SSH", "CELL", "PROXY", "HEALTH", "SYS", "STATS",
];

/// The logs and events that a drain wants, by their source type. Case is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SourceTypes {
    /// All logs and events.
    #[default]
    All,
    /// Only those with a source type of the set; none with an unknown or missing source type.
    Only(SourceTypeSet),
    /// All but those with a source type of the set; also those with an unknown or missing source type.
    Except(SourceTypeSet),
}

/// A set of known source types, with one bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SourceTypeSet(u16);

impl SourceTypeSet {
    /// Parses a list that is separated by commas.
    ///
    /// # Errors
    /// The unknown names, if there are any.
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
    /// Whether a log or an event with this `source_type` tag is wanted. An empty text stands for a missing tag.
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

    /// An include filter refuses unknown source types, and an exclude filter lets them pass, as in the original.
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
