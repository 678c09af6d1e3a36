//! The drains that an operator added: a file beside the lists of the cloud controller.
//!
//! ```json
//! {"drains": [{"source_id": "my-app", "hostname": "org.space.my-app", "url": "syslog-tls://logs.example:6514",
//!              "cert": "PEM", "key": "PEM", "ca": "PEM"}]}
//! ```
//!
//! `hostname`, `cert`, `key` and `ca` are optional. The file contains secrets, so its writer makes it private, and
//! replaces it with a rename, so that a reader never sees a part of it. `Debug` prints no secrets.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_drain::feed::{App, Credential, Item};
use weir_drain::{Binding, Invalid};

/// A drain of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticDrain {
    /// The source id whose lines are drained.
    pub source_id: String,
    /// The hostname of messages whose envelopes name none: `org.space.app`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The drain URL, including user information and query.
    pub url: String,
    /// The client certificate, in PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// The key of the client certificate, in PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The CA certificates by which the drain is verified, in PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ca: String,
}

impl fmt::Debug for StaticDrain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.item(), formatter)
    }
}

impl StaticDrain {
    /// Returns the drain as an item of the feed.
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

    /// Returns the binding that a syslog agent makes from the drain.
    ///
    /// # Errors
    /// Returns an error if the drain is not usable.
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

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticDrains {
    /// The drains in the order in which they were added.
    pub drains: Vec<StaticDrain>,
}

/// The content is not valid. The error gives the position and not the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a file of drains: line {line}, column {column}")]
pub struct StaticsError {
    line: usize,
    column: usize,
}

impl StaticDrains {
    /// Parses the content of the file.
    ///
    /// # Errors
    /// Returns an error if the content is not valid.
    pub fn parse(text: &str) -> Result<Self, StaticsError> {
        serde_json::from_str(text).map_err(|error| StaticsError {
            line: error.line(),
            column: error.column(),
        })
    }

    /// Returns the content of the file.
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

    /// The content is read back as it was written. Errors name the position and quote nothing.
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

    /// The command that adds a drain and the agent that reads it from the feed get equal bindings.
    #[test]
    fn a_static_drain_gives_a_binding() {
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
