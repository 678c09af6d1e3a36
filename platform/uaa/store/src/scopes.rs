//! Scopes: names with dots, patterns over them, and the audience that follows from them.
//!
//! Groups `logs.read.<source id>` are not written into tokens: there may be thousands of them. A token says with the one
//! scope [`SOURCES`] that its bearer may read what those groups name, and servers ask for them where they are needed
//! (`GET /weir/v1/rights`). A name of a source stands in a token only where the request asked for that name, which makes a
//! token for these sources and no others.

use std::collections::BTreeSet;

/// The scope that stands for all the sources that the groups of a token's bearer name.
pub const SOURCES: &str = "logs.read";

/// What the name of a group that opens one source begins with; the source's id follows.
pub const SOURCE: &str = "logs.read.";

/// Whether a scope of a client (`logs.read.*`) allows a scope of a user (`logs.read.my-app`). `*` stands for one part of
/// a name; at the end it stands for all parts that follow, at least one.
pub fn matches(pattern: &str, scope: &str) -> bool {
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
pub fn allowed(patterns: &[String], scopes: &BTreeSet<String>) -> BTreeSet<String> {
    let allowed = |scope: &&String| patterns.iter().any(|pattern| matches(pattern, scope));
    scopes.iter().filter(allowed).cloned().collect()
}

/// Whether a pattern of a client allows its users' tokens to read sources.
fn opens_sources(pattern: &str) -> bool {
    pattern.starts_with(SOURCE) || matches(pattern, SOURCES) || matches(pattern, "logs.read.*")
}

/// Whether a client with these patterns may ask for a scope.
pub fn may_ask(patterns: &[String], scope: &str) -> bool {
    let may = |pattern: &String| matches(pattern, scope) || (scope == SOURCES && opens_sources(pattern));
    patterns.iter().any(may)
}

/// Whether an agreement to this pattern is one to a scope; to all sources only if the pattern has all of them.
pub fn agrees(pattern: &str, scope: &str) -> bool {
    matches(pattern, scope) || (scope == SOURCES && matches(pattern, "logs.read.*"))
}

/// What a user with these scopes has with a client with these patterns: the names of sources, and [`SOURCES`] in their
/// place wherever the client may ask for it.
pub fn held(patterns: &[String], scopes: &BTreeSet<String>) -> BTreeSet<String> {
    let mut held = allowed(patterns, scopes);
    if may_ask(patterns, SOURCES) {
        held.insert(SOURCES.to_owned());
    }
    held
}

/// What a client has for itself, likewise.
pub fn held_by_client(authorities: &[String]) -> BTreeSet<String> {
    let mut held: BTreeSet<String> = authorities.iter().cloned().collect();
    if held.iter().any(|scope| scope.starts_with(SOURCE)) {
        held.insert(SOURCES.to_owned());
    }
    held
}

/// What stands in a token for all of it.
pub fn without_sources(mut held: BTreeSet<String>) -> BTreeSet<String> {
    held.retain(|scope| !scope.starts_with(SOURCE));
    held
}

/// Whether a token, or what is kept for one, has a scope: by its name, or as one of the sources that it stands for.
pub fn covers(held: &BTreeSet<String>, scope: &str) -> bool {
    held.contains(scope) || (scope.starts_with(SOURCE) && held.contains(SOURCES))
}

/// The ids of the sources among these scopes.
pub fn sources(scopes: &BTreeSet<String>) -> Vec<&str> {
    let id = |scope: &'_ String| scope.len() > SOURCE.len();
    scopes
        .iter()
        .filter(|scope| id(scope))
        .filter_map(|scope| scope.strip_prefix(SOURCE))
        .collect()
}

/// Whom a token with these scopes is for: the part of each before its last dot, and the client.
pub fn audience(scopes: &BTreeSet<String>, client: &str) -> BTreeSet<String> {
    let resource = |scope: &String| {
        scope
            .rsplit_once('.')
            .map_or(scope.as_str(), |(resource, _)| resource)
            .to_owned()
    };
    scopes.iter().map(resource).chain([client.to_owned()]).collect()
}

/// The scopes in a space-separated parameter; UAA takes commas too.
pub fn parse(text: &str) -> BTreeSet<String> {
    text.split([' ', ',', '\t', '\n', '\r'])
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether this may be the name of a scope, by RFC 6749 and our own tables.
pub fn is_valid(scope: &str) -> bool {
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

    /// Sources are asked for by their names, or stand for each other; a name alone is no more than itself.
    #[test]
    fn sources_are_not_in_tokens() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let groups = parse("openid logs.read.a logs.read.b logs.readx");
        let all = held(&patterns(&["openid", "logs.read.*"]), &groups);
        assert_eq!(all, parse("openid logs.read logs.read.a logs.read.b"));
        assert_eq!(sources(&all), ["a", "b"]);
        assert_eq!(without_sources(all), parse("openid logs.read"));
        // Whoever has none yet may have some before the token ends.
        assert!(held(&patterns(&["*"]), &parse("openid")).contains(SOURCES));
        let one = held(&patterns(&["logs.read.a"]), &groups);
        assert_eq!(sources(&one), ["a"]);
        assert!(one.contains(SOURCES) && !agrees("logs.read.a", SOURCES) && agrees("logs.*", SOURCES));
        assert_eq!(held(&patterns(&["openid"]), &groups), parse("openid"));
        assert!(covers(&parse("logs.read"), "logs.read.a") && !covers(&parse("logs.read.a"), "logs.read.b"));
        assert!(!covers(&parse("logs.read.a"), SOURCES) && !covers(&parse("logs.read"), "logs.readx"));
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
