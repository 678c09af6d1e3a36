//! Removes secrets from the answers of drains before they are shown, because many servers repeat parts of a bad
//! request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::DrainUrl;

/// How many characters of an answer are shown.
const SHOWN: usize = 160;

/// The length below which a secret cannot be told from ordinary text. An answer that contains such a secret is not
/// shown.
const SHORT: usize = 4;

/// The secrets of one drain's URL.
#[derive(Clone)]
pub(crate) struct Redactor {
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Redactor")
    }
}

impl Redactor {
    pub(crate) fn new(url: &DrainUrl) -> Self {
        let mut secrets = Vec::new();
        if let Some((name, password)) = url.user() {
            secrets.push(STANDARD.encode(format!("{name}:{password}")));
            secrets.extend([name.to_owned(), password.to_owned()]);
        }
        if let Some((before, _)) = url.expose().split_once('@') {
            // The escaped forms, as they stand in the URL.
            let user = before.rsplit('/').next().unwrap_or_default();
            secrets.extend(user.split(':').map(str::to_owned));
        }
        let values = url.query().into_iter().flat_map(|query| query.split('&'));
        for value in values.filter_map(|pair| pair.split_once('=').map(|(_, value)| value).or(Some(pair))) {
            // Short values, such as that of `drain-data=all`, are parameters and not secrets.
            if value.len() >= SHORT {
                let decoded = percent_decode_str(value).decode_utf8_lossy().into_owned();
                secrets.extend([value.to_owned(), decoded]);
            }
        }
        let path = url.target().split('?').next().unwrap_or_default();
        secrets.extend(
            path.split('/')
                .filter(|segment| crate::url::is_token(segment))
                .map(str::to_owned),
        );
        secrets.retain(|secret| !secret.is_empty());
        // A secret that contains another one is replaced first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// Returns the begin of an answer without secrets, on one line. `whole` says that nothing was cut off its end.
    pub(crate) fn excerpt(&self, answer: &[u8], whole: bool) -> String {
        let mut answer = answer;
        if !whole {
            // The cut may have divided a secret, which would not be recognised.
            let longest = self.secrets.first().map_or(0, String::len);
            answer = &answer[..answer.len().saturating_sub(longest)];
        }
        let text = String::from_utf8_lossy(answer);
        let words = text.split(|character: char| character.is_whitespace() || character.is_control());
        let mut text = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        if text.contains("-----BEGIN") {
            return String::new();
        }
        for secret in &self.secrets {
            if !text.contains(secret.as_str()) {
                continue;
            }
            if secret.len() < SHORT {
                return String::new();
            }
            text = text.replace(secret.as_str(), "[redacted]");
        }
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(url: &str, answer: &str) -> String {
        Redactor::new(&DrainUrl::parse(url).unwrap()).excerpt(answer.as_bytes(), true)
    }

    /// An excerpt shows no secret of the URL in any of its forms.
    #[test]
    fn excerpts_show_no_secret() {
        let url = "https://us%2Fer:pa%24sword@h/in/0a1b2c3d4e5f6a7b8c9d?token=t%2Fok%2Fen&drain-data=all";
        let answer =
            "us/er us%2Fer pa$sword pa%24sword dXMvZXI6cGEkc3dvcmQ= t%2Fok%2Fen t/ok/en 0a1b2c3d4e5f6a7b8c9d all";
        let shown = excerpt(url, answer);
        assert_eq!(shown.matches("[redacted]").count(), 8, "{shown}");
        assert_eq!(shown.replace("[redacted]", "").trim(), "all");
        assert_eq!(excerpt("https://u:pw@h/", "no such user: u"), "");
        assert_eq!(excerpt("https://h/", "-----BEGIN CERTIFICATE-----\nMII"), "");
    }

    /// An excerpt is cut to its maximum length, and is one line.
    #[test]
    fn excerpts_are_short() {
        assert_eq!(excerpt("https://h/", "a\r\n\tb\0\u{1b}[31m c"), "a b [31m c");
        let long = excerpt("https://h/", &"word ".repeat(100));
        assert_eq!(long.chars().count(), SHOWN + 1);
        let redactor = Redactor::new(&DrainUrl::parse("https://h/?t=0123456789").unwrap());
        assert_eq!(redactor.excerpt(b"bad token 01234567", false), "bad toke");
    }
}
