//! A strict parser of forms and query strings. Repeated names, malformed escapes and bytes that are not UTF-8 are refused,
//! because two parsers could read them differently, and one of them could be in a proxy that checks the request.

use std::collections::BTreeMap;

use http::{HeaderMap, header};

use crate::http::error::ApiError;
use crate::http::unread::{self, UnreadBody};

/// The most parameters.
const MOST: usize = 64;

/// The parameters of a request by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Form {
    fields: BTreeMap<String, String>,
}

impl std::fmt::Debug for Form {
    /// Writes the names only, because a value may be a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.fields.keys()).finish()
    }
}

/// The reason for which a form is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// `%` without two hexadecimal digits, or bytes that are not UTF-8.
    Escape,
    /// A parameter is repeated.
    Twice,
    /// There are too many parameters.
    Many,
}

impl Form {
    /// Reads `a=b&c=d`.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut fields = BTreeMap::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if fields.len() >= MOST {
                return Err(Malformed::Many);
            }
            if fields.insert(name, value).is_some() {
                return Err(Malformed::Twice);
            }
        }
        Ok(Self { fields })
    }

    /// Reads the parameters of a query string.
    pub(crate) fn query(query: Option<&str>) -> Result<Self, ApiError> {
        Ok(Self::parse(query.unwrap_or_default().as_bytes())?)
    }

    /// Reads the parameters of a form in a body.
    pub(crate) async fn posted(headers: &HeaderMap, body: UnreadBody) -> Result<Self, ApiError> {
        let body = body.within(unread::SMALL).await?;
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim();
        // A request without a body need not have a content type.
        if body.is_empty() {
            return Ok(Self::default());
        }
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(ApiError::invalid_request(
                "The body must be a form (`Content-Type: application/x-www-form-urlencoded`)",
            ));
        }
        Ok(Self::parse(&body)?)
    }

    /// Returns a parameter, which may be empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Returns a parameter that is not empty. An empty one counts as absent (RFC 6749 §3.1).
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns a parameter, or an error if it is absent or empty.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.filled(name)
            .ok_or_else(|| ApiError::invalid_request(format!("Missing parameter: {name}")))
    }

    /// Returns all parameters, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl From<Malformed> for ApiError {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_request(match malformed {
            Malformed::Escape => "The parameters are not well encoded",
            Malformed::Twice => "Parameters must not be repeated",
            Malformed::Many => "There are too many parameters",
        })
    }
}

/// Decodes a form-encoded text: `+` is a space, and `%41` is `A`.
pub(crate) fn decode(text: &[u8]) -> Result<String, Malformed> {
    let mut bytes = text.iter();
    let mut decoded = Vec::with_capacity(text.len());
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value
                    .and_then(|value| u8::try_from(value).ok())
                    .ok_or(Malformed::Escape)?
            }
            byte => *byte,
        });
    }
    // PostgreSQL refuses texts with a NUL.
    if decoded.contains(&0) {
        return Err(Malformed::Escape);
    }
    String::from_utf8(decoded).map_err(|_| Malformed::Escape)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, Malformed> {
        let form = Form::parse(text.as_bytes())?;
        Ok(form
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// Forms of browsers and libraries are read.
    #[test]
    fn reads_forms() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            fields("b=1%2B1&a=x+y&&c=&d&e=a=b").unwrap(),
            [
                pair("a", "x y"),
                pair("b", "1+1"),
                pair("c", ""),
                pair("d", ""),
                pair("e", "a=b")
            ]
        );
        assert_eq!(fields("").unwrap(), []);
        let form = Form::parse(b"a=&b=x").unwrap();
        assert_eq!(
            (form.get("a"), form.filled("a"), form.filled("b")),
            (Some(""), None, Some("x"))
        );
        assert!(form.required("a").is_err());
    }

    /// Forms that two parsers could read differently are refused.
    #[test]
    fn ambiguous_forms_are_refused() {
        for text in ["a=1&a=2", "a=1&%61=2", "a&a"] {
            assert_eq!(fields(text), Err(Malformed::Twice), "{text}");
        }
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff", "%=a", "a=%+1", "a=%c3%28", "a=%00"] {
            assert_eq!(fields(text), Err(Malformed::Escape), "{text}");
        }
        let many: Vec<String> = (0..100).map(|index| format!("p{index}=1")).collect();
        assert_eq!(fields(&many.join("&")), Err(Malformed::Many));
        assert!(!format!("{:?}", Form::parse(b"password=hunter2").unwrap()).contains("hunter2"));
    }

    proptest! {
        /// No input makes the parser panic.
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(Form::parse(&text));
        }

        /// A form that a library has encoded is read back.
        #[test]
        fn encoded_forms_are_read_back(fields in proptest::collection::btree_map("[^\0]{1,12}", "[^\0]{0,30}", 0..20)) {
            let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
            prop_assert_eq!(Form::parse(text.as_bytes()).unwrap().fields, fields);
        }
    }
}
