//! The list of bindings in JSON (contract "Syslog drains"). The cloud controller sends it to the binding cache in
//! pages, and the binding cache sends it to the syslog agents as a whole.
//!
//! URLs, keys and certificates are secrets, which `Debug` does not show.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::DrainUrl;

/// A drain URL with all apps that are bound to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The drain's URL, with user info and query.
    pub url: String,
    /// The bound apps, grouped by their credentials.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub credentials: Vec<Credential>,
}

/// Credentials towards a drain, and the apps that use them. An empty string means that the part is absent.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The client certificate, in PEM.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub cert: String,
    /// The key of the client certificate, in PEM.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub key: String,
    /// The CA certificates that may have signed the drain's certificate, in PEM.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub ca: String,
    /// The bound apps; `null` for an aggregate drain.
    #[serde(default)]
    pub apps: Option<Vec<App>>,
}

/// A bound app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct App {
    /// `org.space.app`, sanitised for use as a syslog HOSTNAME.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub hostname: String,
    /// The GUID of the app, which is the source id of its envelopes.
    pub app_id: String,
}

/// One page of the cloud controller's feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The items of this page.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub results: Vec<Item>,
    /// The number at which the next page begins; none or 0 on the last page.
    #[serde(default)]
    pub next_id: Option<u64>,
}

impl fmt::Debug for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = DrainUrl::parse(&self.url);
        formatter
            .debug_struct("Item")
            .field("url", &url.as_ref().map_or("[unusable]", DrainUrl::safe))
            .field("credentials", &self.credentials)
            .finish()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| if text.is_empty() { "" } else { "[redacted]" };
        formatter
            .debug_struct("Credential")
            .field("cert", &shown(&self.cert))
            .field("key", &shown(&self.key))
            .field("ca", &shown(&self.ca))
            .field("apps", &self.apps)
            .finish()
    }
}

/// Reads `null`, as which Go writes an empty list, as the default value.
fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page in the contract is read and written without a change, and absent fields are empty.
    #[test]
    fn pages_have_the_contracts_form() {
        let text = r#"{"results":[{"url":"syslog-tls://h:6514?drain-data=all","credentials":[{"cert":"PEM","key":"PEM","ca":"PEM","apps":[{"hostname":"org.space.app","app_id":"guid"}]}]}],"next_id":1000}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&page).unwrap(), text);
        let page: Page = serde_json::from_str(r#"{"results":null,"next_id":null}"#).unwrap();
        assert_eq!(page, Page::default());
        let items: Vec<Item> =
            serde_json::from_str(r#"[{"url":"u","credentials":[{"apps":null}]},{"url":"v","credentials":null}]"#)
                .unwrap();
        assert_eq!(items[0].credentials, [Credential::default()]);
        assert!(items[1].credentials.is_empty());
    }

    /// `Debug` shows no secret.
    #[test]
    fn debug_shows_no_secret() {
        let item = Item {
            url: "https://user:hunter2@h/p?token=hunter2".to_owned(),
            credentials: vec![Credential {
                cert: "hunter2".to_owned(),
                key: "hunter2".to_owned(),
                ca: "hunter2".to_owned(),
                apps: None,
            }],
        };
        let shown = format!("{item:?}");
        assert!(!shown.contains("hunter2") && shown.contains("https://h/p"), "{shown}");
    }
}
