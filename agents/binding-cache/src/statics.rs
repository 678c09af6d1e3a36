//! The drains that an operator added by hand: a file of their own beside what the cloud controller says.
//!
//! ```json
//! {"drains": [{"source_id": "my-app", "hostname": "org.space.my-app", "url": "syslog-tls://logs.example:6514",
//!              "cert": "PEM", "key": "PEM", "ca": "PEM"}]}
//! ```
//!
//! `hostname`, `cert`, `key` and `ca` may be missing. The file holds secrets: whoever writes it closes it to others and
//! replaces it by a rename, so that a reader sees all of it. `Debug` shows no secrets.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_drain::feed::{App, Credential, Item};
use weir_drain::{Binding, Invalid};

/// One of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticDrain {
    /// Whose lines.
    pub source_id: String,
    /// The hostname of lines that name none: `org.space.app`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Where to, user info and query and all.
    pub url: String,
    /// The certificate to show, PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// Its key, PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// CA certificates that the drain's may come from, PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ca: String,
}

impl fmt::Debug for StaticDrain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.item(), formatter)
    }
}

impl StaticDrain {
    /// As an item of the feed.
    #[must_use]
    pub fn item(&self) -> Item {
        Item {
            url: self.url.clone(),
            credentials: vec![Credential {
                cert: self.cert.clone(),
                key: self.key.clone(),
                ca: self.ca.clone(),
                apps: Some(vec![App {
                    hostname: self.hostname.clone(),
                    app_id: self.source_id.clone(),
                }]),
            }],
        }
    }

    /// The binding that a syslog agent makes of it.
    ///
    /// # Errors
    /// When it is not usable.
    pub fn binding(&self) -> Result<Binding, Invalid> {
        Binding::expand(&self.item()).next().unwrap_or_else(|| {
            Err(Invalid {
                app: None,
                url_safe: String::new(),
                text: "No source id.".to_owned(),
            })
        })
    }
}

/// All of them: the content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticDrains {
    /// In the order in which they were added.
    pub drains: Vec<StaticDrain>,
}

/// The file is not of this form. Says where, not what: the text may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a file of drains: line {line}, column {column}")]
pub struct StaticsError {
    line: usize,
    column: usize,
}

impl StaticDrains {
    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn parse(text: &str) -> Result<Self, StaticsError> {
        serde_json::from_str(text).map_err(|error| StaticsError {
            line: error.line(),
            column: error.column(),
        })
    }

    /// The content of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts in a list can be written");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain() -> StaticDrain {
        StaticDrain {
            source_id: "app".to_owned(),
            hostname: "o.s.a".to_owned(),
            url: "https://user:hunter2@logs.example/x?token=hunter2".to_owned(),
            cert: String::new(),
            key: String::new(),
            ca: String::new(),
        }
    }

    /// What is written is read back; mistakes are placed, and not shown.
    #[test]
    fn the_file_is_read_as_written() {
        let drains = StaticDrains { drains: vec![drain()] };
        assert_eq!(StaticDrains::parse(&drains.to_text()).unwrap(), drains);
        assert!(!drains.to_text().contains("cert"), "what is not there is not written");
        for text in [
            "",
            "[]",
            r#"{"drains":[{"url":"hunter2"}]}"#,
            r#"{"drains":[],"hunter2":1}"#,
        ] {
            let error = StaticDrains::parse(text).expect_err(text).to_string();
            assert!(error.contains("line") && !error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{drains:?}").contains("hunter2"));
    }

    /// A binding is the same one for the command that adds it and for the agent that reads it from the feed.
    #[test]
    fn it_is_a_binding() {
        let binding = drain().binding().unwrap();
        assert_eq!((binding.source_id(), binding.hostname()), (Some("app"), "o.s.a"));
        let wrong = StaticDrain {
            url: "ftp://x".to_owned(),
            ..drain()
        };
        assert_eq!(
            wrong.binding().unwrap_err().text,
            "Invalid Scheme ftp for syslog drain url ftp://x/"
        );
        let nobody = StaticDrain {
            source_id: String::new(),
            ..drain()
        };
        assert_eq!(nobody.binding().unwrap_err().text, "No source id.");
    }
}
