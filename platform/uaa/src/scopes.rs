//! Scopes: names with dots, patterns over them, and the audience that follows from them.

use std::collections::BTreeSet;

/// Whether a scope of a client (`logs.read.*`) allows a scope of a user (`logs.read.my-app`). `*` stands for one part of
/// a name; at the end it stands for all parts that follow, at least one.
pub(crate) fn matches(pattern: &str, scope: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == scope;
    }
    let mut parts = scope.split('.');
    let mut patterns = pattern.split('.').peekable();
    while let Some(pattern) = patterns.next() {
        let Some(part) = parts.next() else { return false };
        if pattern == "*" {
            if part.is_empty() {
                return false;
            }
            if patterns.peek().is_none() {
                return true;
            }
        } else if pattern != part {
            return false;
        }
    }
    parts.next().is_none()
}

/// Those of `scopes` that one of `patterns` allows.
pub(crate) fn allowed(patterns: &[String], scopes: &BTreeSet<String>) -> BTreeSet<String> {
    let allowed = |scope: &&String| patterns.iter().any(|pattern| matches(pattern, scope));
    scopes.iter().filter(allowed).cloned().collect()
}

/// Whom a token with these scopes is for: the part of each before its last dot, and the client.
pub(crate) fn audience(scopes: &BTreeSet<String>, client: &str) -> BTreeSet<String> {
    let resource = |scope: &String| {
        scope
            .rsplit_once('.')
            .map_or(scope.as_str(), |(resource, _)| resource)
            .to_owned()
    };
    scopes.iter().map(resource).chain([client.to_owned()]).collect()
}

/// The scopes in a space-separated parameter; UAA takes commas too.
pub(crate) fn parse(text: &str) -> BTreeSet<String> {
    text.split([' ', ',', '\t', '\n', '\r'])
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether this may be the name of a scope, by RFC 6749 and our own tables.
pub(crate) fn is_valid(scope: &str) -> bool {
    let usable = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x5b | 0x5d..=0x7e);
    !scope.is_empty() && scope.len() <= 255 && scope.bytes().all(usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A star is one part in the middle and the rest at the end, never nothing.
    #[test]
    fn patterns() {
        for (pattern, scope, expected) in [
            ("openid", "openid", true),
            ("openid", "openid2", false),
            ("logs.read.*", "logs.read.app", true),
            ("logs.read.*", "logs.read.my.app", true),
            ("logs.read.*", "logs.read.", false),
            ("logs.read.*", "logs.read", false),
            ("logs.read.*", "logs.readx.app", false),
            ("zones.*.admin", "zones.one.admin", true),
            ("zones.*.admin", "zones.one.two.admin", false),
            ("zones.*.admin", "zones..admin", false),
            ("*", "anything.at.all", true),
        ] {
            assert_eq!(matches(pattern, scope), expected, "{pattern} {scope}");
        }
    }

    /// As UAA computes it.
    #[test]
    fn audiences() {
        let scopes = parse("cloud_controller.read,openid  routing.router_groups.read");
        let expected = ["cf", "cloud_controller", "openid", "routing.router_groups"];
        assert_eq!(audience(&scopes, "cf").into_iter().collect::<Vec<_>>(), expected);
    }

    /// Characters that a scope may not have.
    #[test]
    fn names() {
        assert!(is_valid("logs.read.app-1:x/y"));
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a,b", "a\n"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
