//! Scopes: dotted names, patterns of them, and the audience that follows from them.
//!
//! Groups `logs.read.<source id>` are not written into tokens, because a user may have thousands of them. The one scope
//! [`SOURCES`] stands for all of them, and servers of the stack ask for the sources when they need them
//! (`GET /weir/v1/rights`). The name of a source is in a token only if the request asked for that name. Such a token gives
//! access to the named sources only.

use std::collections::BTreeSet;

/// The scope that stands for all sources that the groups of the token's user name.
pub const SOURCES: &str = "logs.read";

/// The prefix of the name of a group that gives access to one source. The source id follows.
pub const SOURCE: &str = "logs.read.";

/// Whether a pattern of a client (`logs.read.*`) matches a scope of a user (`logs.read.my-app`). `*` stands for one part of a
/// name; at the end it stands for one or more parts.
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

/// Returns those of `scopes` that one of `patterns` matches.
pub fn allowed(patterns: &[String], scopes: &BTreeSet<String>) -> BTreeSet<String> {
    let allowed = |scope: &&String| patterns.iter().any(|pattern| matches(pattern, scope));
    scopes.iter().filter(allowed).cloned().collect()
}

/// Whether a pattern of a client gives access to a source.
fn opens_sources(pattern: &str) -> bool {
    pattern.starts_with(SOURCE) || matches(pattern, SOURCES) || matches(pattern, "logs.read.*")
}

/// Whether a client with these patterns may request a scope.
pub fn may_ask(patterns: &[String], scope: &str) -> bool {
    let may = |pattern: &String| matches(pattern, scope) || (scope == SOURCES && opens_sources(pattern));
    patterns.iter().any(may)
}

/// Whether the approval of a pattern covers a scope. [`SOURCES`] is covered only by a pattern that matches all sources.
pub fn agrees(pattern: &str, scope: &str) -> bool {
    matches(pattern, scope) || (scope == SOURCES && matches(pattern, "logs.read.*"))
}

/// Returns the scopes that a user with `scopes` has with a client with `patterns`. [`SOURCES`] is among them if the client may
/// request it, beside the names of sources.
pub fn held(patterns: &[String], scopes: &BTreeSet<String>) -> BTreeSet<String> {
    let mut held = allowed(patterns, scopes);
    if may_ask(patterns, SOURCES) {
        held.insert(SOURCES.to_owned());
    }
    held
}

/// Returns the scopes of a client's own tokens. [`SOURCES`] is among them if the client has the name of a source.
pub fn held_by_client(authorities: &[String]) -> BTreeSet<String> {
    let mut held: BTreeSet<String> = authorities.iter().cloned().collect();
    if held.iter().any(|scope| scope.starts_with(SOURCE)) {
        held.insert(SOURCES.to_owned());
    }
    held
}

/// Returns the scopes without the names of sources: those of a token whose request named no scopes.
pub fn without_sources(mut held: BTreeSet<String>) -> BTreeSet<String> {
    held.retain(|scope| !scope.starts_with(SOURCE));
    held
}

/// Whether scopes contain a scope, by its name, or as a source for which [`SOURCES`] stands.
pub fn covers(held: &BTreeSet<String>, scope: &str) -> bool {
    held.contains(scope) || (scope.starts_with(SOURCE) && held.contains(SOURCES))
}

/// Returns the ids of the sources that these scopes name.
pub fn sources(scopes: &BTreeSet<String>) -> Vec<&str> {
    let id = |scope: &'_ String| scope.len() > SOURCE.len();
    scopes
        .iter()
        .filter(|scope| id(scope))
        .filter_map(|scope| scope.strip_prefix(SOURCE))
        .collect()
}

/// Returns the audience of a token with these scopes: the part of each before its last dot, and the client.
pub fn audience(scopes: &BTreeSet<String>, client: &str) -> BTreeSet<String> {
    let resource = |scope: &String| {
        scope
            .rsplit_once('.')
            .map_or(scope.as_str(), |(resource, _)| resource)
            .to_owned()
    };
    scopes.iter().map(resource).chain([client.to_owned()]).collect()
}

/// Parses the parameter `scope`, which is separated by spaces. The original accepts commas too.
pub fn parse(text: &str) -> BTreeSet<String> {
    text.split([' ', ',', '\t', '\n', '\r'])
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether a text can be the name of a scope (RFC 6749 §3.3) and has no more than the 255 bytes of its column. A comma is not
/// allowed, because it separates scopes.
pub fn is_valid(scope: &str) -> bool {
    let usable = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x5b | 0x5d..=0x7e);
    !scope.is_empty() && scope.len() <= 255 && scope.bytes().all(usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A star matches one part in the middle, and one or more parts at the end.
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

    /// A token without requested scopes names no sources, and the name of one source gives access to that source only.
    #[test]
    fn sources_are_not_in_tokens() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let groups = parse("openid logs.read.a logs.read.b logs.readx");
        let all = held(&patterns(&["openid", "logs.read.*"]), &groups);
        assert_eq!(all, parse("openid logs.read logs.read.a logs.read.b"));
        assert_eq!(sources(&all), ["a", "b"]);
        assert_eq!(without_sources(all), parse("openid logs.read"));
        // A user without sources may get some before the token expires.
        assert!(held(&patterns(&["*"]), &parse("openid")).contains(SOURCES));
        let one = held(&patterns(&["logs.read.a"]), &groups);
        assert_eq!(sources(&one), ["a"]);
        assert!(one.contains(SOURCES) && !agrees("logs.read.a", SOURCES) && agrees("logs.*", SOURCES));
        assert_eq!(held(&patterns(&["openid"]), &groups), parse("openid"));
        assert!(covers(&parse("logs.read"), "logs.read.a") && !covers(&parse("logs.read.a"), "logs.read.b"));
        assert!(!covers(&parse("logs.read.a"), SOURCES) && !covers(&parse("logs.read"), "logs.readx"));
    }

    /// The audience is that of the original.
    #[test]
    fn audiences() {
        let scopes = parse("cloud_controller.read,openid  routing.router_groups.read");
        let expected = ["cf", "cloud_controller", "openid", "routing.router_groups"];
        assert_eq!(audience(&scopes, "cf").into_iter().collect::<Vec<_>>(), expected);
    }

    /// Names with characters that RFC 6749 forbids are not valid.
    #[test]
    fn names() {
        assert!(is_valid("logs.read.app-1:x/y"));
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a,b", "a\n"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
