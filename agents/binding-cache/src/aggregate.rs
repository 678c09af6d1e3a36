//! The file of aggregate drains, in the original's form: a YAML list of `url`, `cert`, `key` and `ca`, or a JSON list
//! with the same keys.

use serde::Deserialize;
use thiserror::Error;
use weir_config::yaml::{self, YamlError};
use weir_drain::feed::{Credential, Item};
use weir_drain::{Binding, Invalid};

/// The keys of one drain.
const KEYS: [&str; 4] = ["url", "cert", "key", "ca"];

/// The reason for which the file cannot be used. The texts contain no secrets.
#[derive(Debug, Error)]
pub(crate) enum AggregateError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("JSON of another form at line {line}, column {column}")]
    Json { line: usize, column: usize },
    #[error("drain {number} has no `url`")]
    NoUrl { number: usize },
    #[error("drain {number} has a key that is not known: `{key}`; known are `url`, `cert`, `key`, `ca`")]
    UnknownKey { number: usize, key: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    url: String,
    #[serde(default)]
    cert: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    ca: String,
}

/// Parses the file.
pub(crate) fn parse(text: &str) -> Result<Vec<Item>, AggregateError> {
    let drains: Vec<Drain> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| AggregateError::Json {
            line: error.line(),
            column: error.column(),
        })?
    } else {
        let maps = yaml::list(text)?;
        (1..)
            .zip(&maps)
            .map(|(number, map)| of_map(number, map))
            .collect::<Result<_, _>>()?
    };
    if let Some(place) = drains.iter().position(|drain| drain.url.is_empty()) {
        return Err(AggregateError::NoUrl { number: place + 1 });
    }
    Ok(drains.into_iter().map(Item::from).collect())
}

fn of_map(number: usize, map: &yaml::Map) -> Result<Drain, AggregateError> {
    // The original's example writes `CA`, and its parser ignores case.
    let known = |key: &str| KEYS.iter().any(|known| known.eq_ignore_ascii_case(key));
    if let Some(key) = map.keys().find(|key| !known(key)) {
        // The file is an operator's, and a wrong indentation could put any text here, so the message shows only its
        // beginning.
        let key: String = key.chars().take(40).collect();
        return Err(AggregateError::UnknownKey { number, key });
    }
    let get = |name: &str| {
        let key = map.keys().find(|key| key.eq_ignore_ascii_case(name));
        key.and_then(|key| map.get(key)).unwrap_or_default().to_owned()
    };
    Ok(Drain {
        url: get("url"),
        cert: get("cert"),
        key: get("key"),
        ca: get("ca"),
    })
}

impl From<Drain> for Item {
    fn from(drain: Drain) -> Self {
        let Drain { url, cert, key, ca } = drain;
        Self {
            url,
            credentials: vec![Credential {
                cert,
                key,
                ca,
                apps: None,
            }],
        }
    }
}

/// Returns what is wrong with an aggregate drain, if anything.
pub(crate) fn problem(item: &Item) -> Option<Invalid> {
    Binding::aggregate(item).find_map(Result::err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// YAML and JSON files with the same content give the same drains.
    #[test]
    fn both_forms_are_read() {
        let yaml = "---\n- url: syslog-tls://a:6067?include-metrics-deprecated=true\n  ca: |\n    PEM\n  cert: ''\n- url: \
                    syslog://b:1\n";
        let json =
            r#"[{"url":"syslog-tls://a:6067?include-metrics-deprecated=true","ca":"PEM\n"},{"url":"syslog://b:1"}]"#;
        let items = parse(yaml).unwrap();
        assert_eq!(items, parse(json).unwrap());
        assert_eq!((items.len(), items[0].credentials[0].ca.as_str()), (2, "PEM\n"));
        assert!(items.iter().all(|item| item.credentials[0].apps.is_none()));
        assert!(parse("").unwrap().is_empty() && parse("[]").unwrap().is_empty());
    }

    /// Errors name the place of a mistake and do not quote the file, which may contain secrets.
    #[test]
    fn errors_name_the_place_of_a_mistake() {
        for (text, expected) in [
            ("- ca: hunter2\n", "drain 1 has no `url`"),
            (
                "- url: a\n- urls: hunter2\n",
                "drain 2 has a key that is not known: `urls`",
            ),
            ("url: hunter2\n", "line 1"),
            ("[{\"url\": \"hunter2\"", "line 1"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}
