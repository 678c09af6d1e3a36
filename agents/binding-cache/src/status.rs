//! The body of `GET /v1/status`: JSON without secrets, for `weir drain` and for people.

use serde::{Deserialize, Serialize};

/// The largest number of refused drains that are listed.
pub(crate) const MAX_REFUSED: usize = 1000;

/// The status of the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The `ETag` of `/v2/bindings` without quotes. `None` while the list is not completely known.
    pub revision: Option<String>,
    /// The number of bindings in the list, one for each app and drain.
    pub bindings: usize,
    /// The sources of drains.
    pub sources: Vec<Source>,
    /// The drains that are not usable, or whose names have no address.
    pub refused: Vec<Refused>,
    /// The number of refused drains, including those that are not listed.
    pub refused_count: usize,
}

/// A source of drains and how recent its list is. Times are in RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `cloud_controller`, `static` or `aggregate`.
    pub name: String,
    /// The address or path of the source.
    pub place: String,
    /// The number of drain URLs in the last list.
    pub drains: usize,
    /// When the list was last read.
    pub last_read: Option<String>,
    /// Since when the source cannot be read, while an older list is in force.
    pub stale_since: Option<String>,
    /// Why the source cannot be read.
    pub error: Option<String>,
}

/// A drain that is not usable, or whose name has no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The GUID of the app. Empty for an aggregate drain.
    pub app: String,
    /// The drain URL without secrets.
    pub url: String,
    /// What is wrong with the drain.
    pub text: String,
    /// Whether the drain is in the list nevertheless.
    pub used: bool,
}
