//! HTTP routes and modification tags.

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// One backend of an HTTP route. `route`, `port`, `ip` and `route_service_url` together are its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// The host with its path, without a scheme: `myapp.example/path`.
    #[serde(deserialize_with = "null_as_default")]
    pub route: String,
    /// The port of the backend.
    #[serde(deserialize_with = "null_as_default")]
    pub port: u16,
    /// The address of the backend.
    #[serde(deserialize_with = "null_as_default")]
    pub ip: String,
    /// Seconds until the route expires unless it is registered again; `None`: the most that the routing API allows.
    pub ttl: Option<i64>,
    /// The source id of the log lines of requests to this backend.
    #[serde(deserialize_with = "null_as_default")]
    pub log_guid: String,
    /// The `https` URL of the service that requests pass before the backend; empty: none.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub route_service_url: String,
    /// The version of this entry, given by the routing API.
    #[serde(deserialize_with = "null_as_default")]
    pub modification_tag: ModificationTag,
}

/// The version of an entry. `guid` is new for each entry that is created, and `index` grows with each change of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModificationTag {
    /// The id of the entry; empty in what a client registers.
    #[serde(deserialize_with = "null_as_default")]
    pub guid: String,
    /// The number of changes since the entry was created.
    #[serde(deserialize_with = "null_as_default")]
    pub index: u32,
}

impl ModificationTag {
    /// Whether `other` is newer than this tag, so that an upsert with `other` applies. A tag without a guid is older and
    /// newer than any; a tag with another guid is newer.
    #[must_use]
    pub fn succeeded_by(&self, other: &Self) -> bool {
        self.guid.is_empty() || other.guid.is_empty() || self.guid != other.guid || self.index < other.index
    }

    /// Whether a delete with `other` applies to an entry with this tag: `other` is newer or equal.
    #[must_use]
    pub fn deleted_by(&self, other: &Self) -> bool {
        self.succeeded_by(other) || self == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route is written as the original writes it, and read with what is absent or null at its default.
    #[test]
    fn routes_are_as_the_originals() {
        let route = Route {
            route: "a.example/path".to_owned(),
            port: 7000,
            ip: "1.2.3.4".to_owned(),
            ttl: Some(50),
            log_guid: "guid".to_owned(),
            route_service_url: String::new(),
            modification_tag: ModificationTag {
                guid: "tag".to_owned(),
                index: 3,
            },
        };
        let json = r#"{"route":"a.example/path","port":7000,"ip":"1.2.3.4","ttl":50,"log_guid":"guid","modification_tag":{"guid":"tag","index":3}}"#;
        assert_eq!(serde_json::to_string(&route).unwrap(), json);
        assert_eq!(serde_json::from_str::<Route>(json).unwrap(), route);
        let empty =
            r#"{"route":"","port":0,"ip":"","ttl":null,"log_guid":"","modification_tag":{"guid":"","index":0}}"#;
        assert_eq!(serde_json::to_string(&Route::default()).unwrap(), empty);
        let null = r#"{"route":null,"port":null,"modification_tag":null,"route_service_url":null,"other":1}"#;
        assert_eq!(serde_json::from_str::<Route>(null).unwrap(), Route::default());
        assert!(serde_json::from_str::<Route>(r#"{"port":65536}"#).is_err());
    }

    /// The examples of the original's page on modification tags.
    #[test]
    fn tags_have_an_order() {
        let tag = |guid: &str, index| ModificationTag {
            guid: guid.to_owned(),
            index,
        };
        for (known, arriving, upserts, deletes) in [
            (tag("aaaa", 1), tag("aaaa", 0), false, false),
            (tag("aaaa", 1), tag("aaaa", 1), false, true),
            (tag("aaaa", 1), tag("aaaa", 2), true, true),
            (tag("zzzz", 10), tag("yyyy", 0), true, true),
            (tag("", 0), tag("aaaa", 0), true, true),
            (tag("aaaa", 7), tag("", 0), true, true),
        ] {
            assert_eq!(known.succeeded_by(&arriving), upserts, "{known:?} {arriving:?}");
            assert_eq!(known.deleted_by(&arriving), deletes, "{known:?} {arriving:?}");
        }
    }
}
