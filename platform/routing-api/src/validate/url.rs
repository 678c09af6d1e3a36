//! Whether a text is a URL that is written as Go's `net/url` would write it: what the original demands of routes.

/// Characters beside letters and digits that a path may have as they are.
const PLAIN: &[u8] = b"-_.~$&+,/:;=@!'()*[]%";

/// Checks a route or the URL of a route service.
///
/// # Errors
/// The original's text.
pub(super) fn check(url: &str) -> Result<(), String> {
    if url.contains(['?', '#']) {
        return Err("url cannot contain any of [?, #]".to_owned());
    }
    let unreadable = |reason: &str| Err(format!("parse {url:?}: {reason}"));
    if url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return unreadable("net/url: invalid control character in URL");
    }
    let (scheme, rest) = match scheme(url) {
        Scheme::Absent => ("", url),
        Scheme::Of(scheme, rest) => (scheme, rest),
        Scheme::Empty => return unreadable("missing protocol scheme"),
    };
    let first = rest.split('/').next().unwrap_or_default();
    if scheme.is_empty() && first.contains(':') {
        return unreadable("first path segment in URL cannot contain colon");
    }
    if let Some(escape) = broken_escape(rest) {
        return unreadable(&format!("invalid URL escape {escape:?}"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte);
    if !rest.bytes().all(plain) || scheme.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("url cannot contain invalid characters".to_owned());
    }
    Ok(())
}

enum Scheme<'u> {
    Absent,
    Empty,
    Of(&'u str, &'u str),
}

/// The part before the first colon, if it can be a scheme.
fn scheme(url: &str) -> Scheme<'_> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Scheme::Absent;
    };
    let mut bytes = scheme.bytes();
    match bytes.next() {
        None => Scheme::Empty,
        Some(first) if !first.is_ascii_alphabetic() => Scheme::Absent,
        Some(_) if bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) => Scheme::Of(scheme, rest),
        Some(_) => Scheme::Absent,
    }
}

/// The first `%` without two hexadecimal digits behind it, with what is there instead.
fn broken_escape(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(start, _)| {
        let digits = text.as_bytes().get(start + 1..start + 3);
        let is_whole = digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let end = text[start..]
            .char_indices()
            .nth(3)
            .map_or(text.len(), |(end, _)| start + end);
        (!is_whole).then(|| &text[start..end])
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    /// What Go 1.24 says of the same texts, by `url.Parse` and a comparison with `String()`.
    #[test]
    fn urls_are_judged_as_the_original_judges_them() {
        let strange = "url cannot contain invalid characters";
        for (url, said) in [
            ("a.b.c", ""),
            ("", ""),
            ("foo.example/path/to", ""),
            ("*.example.com", ""),
            ("https://service.example:8443/a;b=c", ""),
            ("a.b.c:80/x", ""),
            ("foo/%20", ""),
            ("foo?a", "url cannot contain any of [?, #]"),
            ("foo#a", "url cannot contain any of [?, #]"),
            ("foo/b ar", strange),
            ("foo/\"", strange),
            ("foo/ü", strange),
            ("foo/{id}", strange),
            ("HTTPS://a", strange),
            ("foo/%zz", "parse \"foo/%zz\": invalid URL escape \"%zz\""),
            ("foo/%2", "parse \"foo/%2\": invalid URL escape \"%2\""),
            ("foo/%ü", "parse \"foo/%ü\": invalid URL escape \"%ü\""),
            (
                "1.2.3.4:80",
                "parse \"1.2.3.4:80\": first path segment in URL cannot contain colon",
            ),
            (":80", "parse \":80\": missing protocol scheme"),
            ("a\n", "parse \"a\\n\": net/url: invalid control character in URL"),
        ] {
            assert_eq!(check(url).err().unwrap_or_default(), said, "{url}");
        }
    }
}
