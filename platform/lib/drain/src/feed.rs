//! The list of bindings on the wire (contract "Syslog drains"): what the cloud controller sends to the binding cache in
//! pages, and the binding cache to the syslog agents at once.
//!
//! URLs, keys and certificates are secrets here: `Debug` leaves them out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::DrainUrl;

/// A drain URL with everybody who is bound to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The drain's URL, user info, query and all.
    pub url: String,
    /// Who is bound, by what they show to the drain.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub credentials: Vec<Credential>,
}

/// Credentials towards a drain, and the apps that use them. Empty strings are absent ones.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Our certificate, PEM.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub cert: String,
    /// Its key, PEM.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub key: String,
    /// CA certificates that the drain's may come from, PEM.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub ca: String,
    /// The bound apps; `null` for an aggregate drain.
    #[serde(default)]
    pub apps: Option<Vec<App>>,
}

/// A bound app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct App {
    /// `org.space.app`, made fit for a syslog hostname.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub hostname: String,
    /// Its GUID: the source id of its envelopes.
    pub app_id: String,
}

/// One page of the cloud controller's feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The items of this page.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub results: Vec<Item>,
    /// Where the next page begins; none, or 0, after the last.
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

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the contract is read and written as it stands there; what is absent is empty.
    #[test]
    fn pages_are_the_contracts() {
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
    fn secrets_stay_hidden() {
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
