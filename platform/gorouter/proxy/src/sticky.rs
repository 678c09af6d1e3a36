//! Sessions that stay with one instance (contract compute-routing §13.3): the application's cookie begins one, the router's own
//! cookie `__VCAP_ID__` says where it is.

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use crate::settings::Sticky;

/// The router's cookie.
const VCAP_ID: &str = "__VCAP_ID__";

/// Seconds that a `Negotiate` authentication stays with its instance.
const NEGOTIATE_AGE: &str = "60";

/// The instance that a request wants, because its session is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted<'h> {
    /// The instance id.
    pub(crate) instance: &'h str,
    /// Whether no other instance will do.
    pub(crate) only: bool,
}

/// The instance that a request with these headers wants.
pub(crate) fn wanted<'h>(headers: &'h HeaderMap, sticky: &Sticky) -> Option<Wanted<'h>> {
    let instance = cookie(headers, VCAP_ID)?;
    if sticky.negotiate && begins_negotiate(headers.get(AUTHORIZATION)) {
        return Some(Wanted { instance, only: true });
    }
    let session = sticky.cookies.iter().any(|name| cookie(headers, name).is_some());
    session.then_some(Wanted { instance, only: false })
}

fn begins_negotiate(value: Option<&HeaderValue>) -> bool {
    value.is_some_and(|value| {
        let bytes = value.as_bytes();
        bytes.len() >= 9 && bytes[..9].eq_ignore_ascii_case(b"negotiate")
    })
}

/// The value of the first cookie `name` of a request.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(own, value)| (own == name).then(|| value.trim_matches('"')))
}

/// A cookie that an application sets.
struct SetCookie<'h> {
    name: &'h str,
    attributes: &'h str,
}

impl<'h> SetCookie<'h> {
    fn all(headers: &'h HeaderMap) -> impl Iterator<Item = Self> {
        let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
        lines.filter_map(|line| {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let name = pair.split_once('=')?.0.trim();
            Some(Self { name, attributes })
        })
    }

    /// The value of an attribute; empty where it has none.
    fn attribute(&self, name: &str) -> Option<&'h str> {
        self.attributes.split(';').find_map(|attribute| {
            let (own, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            own.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Adds the router's cookie to an answer of `instance`, if the answer begins a session or one was not where it was `wanted`.
/// `path` is that of the route.
pub(crate) fn set(headers: &mut HeaderMap, sticky: &Sticky, instance: &str, wanted: Option<&str>, path: &str) {
    let negotiate = sticky.negotiate && begins_negotiate(headers.get(WWW_AUTHENTICATE));
    if wanted.is_none() && !negotiate && !headers.contains_key(SET_COOKIE) {
        return;
    }
    let moved = wanted != Some(instance);
    let mut begins = (negotiate || wanted.is_some()) && moved;
    let mut secure = sticky.secure;
    let mut rest = String::new();
    if negotiate {
        rest = format!("; Max-Age={NEGOTIATE_AGE}; SameSite=Strict");
    } else if let Some(session) =
        SetCookie::all(headers).find(|cookie| sticky.cookies.iter().any(|name| name == cookie.name))
    {
        begins = true;
        secure |= session.attribute("secure").is_some();
        rest = copied(&session);
    }
    if !begins || SetCookie::all(headers).any(|cookie| cookie.name == VCAP_ID) {
        return;
    }
    let path = if path.is_empty() { "/" } else { path };
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{VCAP_ID}={instance}; Path={path}; HttpOnly{secure}{rest}");
    headers.append(SET_COOKIE, crate::headers::value(cookie));
}

/// The attributes of a session's cookie that the router's cookie has too.
fn copied(session: &SetCookie<'_>) -> String {
    let mut rest = String::new();
    if let Some(expires) = session.attribute("expires") {
        rest.push_str("; Expires=");
        rest.push_str(expires);
    }
    if session
        .attribute("max-age")
        .is_some_and(|age| age == "0" || age.starts_with('-'))
    {
        rest.push_str("; Max-Age=0");
    }
    match session.attribute("samesite").map(str::to_ascii_lowercase).as_deref() {
        Some("lax") => rest.push_str("; SameSite=Lax"),
        Some("strict") => rest.push_str("; SameSite=Strict"),
        Some("none") => rest.push_str("; SameSite=None"),
        _ => {}
    }
    if session.attribute("partitioned").is_some() {
        rest.push_str("; Partitioned");
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Sticky {
        Sticky {
            cookies: vec!["JSESSIONID".to_owned(), "sid".to_owned()],
            secure: false,
            negotiate: true,
        }
    }

    /// The router's cookies after an answer that sets `cookies`.
    fn after(cookies: &[&'static str], wanted: Option<&str>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        set(&mut headers, &rule(), "i-1", wanted, "/path");
        let all = headers.get_all(SET_COOKIE).iter().skip(cookies.len());
        all.map(|cookie| cookie.to_str().expect("text").to_owned()).collect()
    }

    /// Both cookies are needed, of which there may be several lines.
    #[test]
    fn both_cookies_make_a_session() {
        let wanted = |cookies: &[&'static str]| {
            let lines = cookies.iter().map(|cookie| (COOKIE, HeaderValue::from_static(cookie)));
            let mut headers = HeaderMap::new();
            headers.extend(lines);
            super::wanted(&headers, &rule()).map(|wanted| wanted.instance.to_owned())
        };
        assert_eq!(wanted(&["JSESSIONID=x; __VCAP_ID__=i-2"]), Some("i-2".to_owned()));
        assert_eq!(wanted(&["a=b; sid=x", "__VCAP_ID__=i-2"]), Some("i-2".to_owned()));
        assert_eq!(wanted(&["__VCAP_ID__=i-2"]), None);
        assert_eq!(wanted(&["JSESSIONID=x"]), None);
    }

    /// A new session gets the router's cookie with the attributes of the application's.
    #[test]
    fn a_session_begins() {
        assert_eq!(
            after(&["JSESSIONID=1"], None),
            ["__VCAP_ID__=i-1; Path=/path; HttpOnly"]
        );
        assert_eq!(
            after(
                &["sid=1; Secure; SameSite=None; Partitioned; Expires=Thu, 01 Jan 2026 00:00:00 GMT"],
                None
            ),
            [
                "__VCAP_ID__=i-1; Path=/path; HttpOnly; Secure; Expires=Thu, 01 Jan 2026 00:00:00 GMT; SameSite=None; Partitioned"
            ]
        );
        assert_eq!(
            after(&["sid=1; max-age=-1"], None),
            ["__VCAP_ID__=i-1; Path=/path; HttpOnly; Max-Age=0"]
        );
        assert!(after(&["other=1"], None).is_empty());
    }

    /// A session that moved says where it is now; one that did not says nothing, nor does one whose application did.
    #[test]
    fn a_session_moves() {
        assert_eq!(after(&[], Some("i-2")), ["__VCAP_ID__=i-1; Path=/path; HttpOnly"]);
        assert!(after(&[], Some("i-1")).is_empty());
        assert!(after(&["sid=1", "__VCAP_ID__=own"], Some("i-2")).is_empty());
    }

    /// `Negotiate` is a session for a minute, and no other instance will do.
    #[test]
    fn negotiate_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate abc"));
        set(&mut headers, &rule(), "i-1", None, "");
        assert_eq!(
            headers[SET_COOKIE],
            "__VCAP_ID__=i-1; Path=/; HttpOnly; Max-Age=60; SameSite=Strict"
        );
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("negotiate abc"));
        headers.insert(COOKIE, HeaderValue::from_static("__VCAP_ID__=i-2"));
        let only = Wanted {
            instance: "i-2",
            only: true,
        };
        assert_eq!(wanted(&headers, &rule()), Some(only));
    }
}
