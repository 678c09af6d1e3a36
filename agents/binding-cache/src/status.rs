//! What the cache says about itself at `GET /v1/status`: JSON, for `weir drain` and for people. No secrets.

use serde::{Deserialize, Serialize};

/// Most refused drains that are listed.
pub(crate) const MAX_REFUSED: usize = 1000;

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The `ETag` of `/v2/bindings`, without quotes; none as long as the list is not known whole.
    pub revision: Option<String>,
    /// Drains of apps in it, one for each app and drain.
    pub bindings: usize,
    /// Where drains come from.
    pub sources: Vec<Source>,
    /// Drains that are not usable, or whose names have no address now.
    pub refused: Vec<Refused>,
    /// How many of them there are.
    pub refused_count: usize,
}

/// Where drains come from, and how fresh that is. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `cloud_controller`, `static` or `aggregate`.
    pub name: String,
    /// Its address or file.
    pub place: String,
    /// Drain URLs in what was read last.
    pub drains: usize,
    /// When it was read last.
    pub last_read: Option<String>,
    /// Since when it cannot be read, and what is served is what was read before.
    pub stale_since: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// A drain that is not usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Whose; empty for an aggregate drain.
    pub app: String,
    /// The drain, as it may be shown.
    pub url: String,
    /// What is wrong with it.
    pub text: String,
    /// Whether it is in the list all the same.
    pub used: bool,
}
