//! The body of `GET /v1/routes`: JSON, for `weir route` and for people.

use serde::{Deserialize, Serialize};

/// All routes that the registrar keeps, and the files that it found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The routes.
    pub routes: Vec<RouteStatus>,
    /// The files with routes.
    pub files: Vec<FileStatus>,
}

/// A route and what has become of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    /// The name for people.
    pub name: String,
    /// `http` or `tcp`.
    pub kind: String,
    /// The names of an HTTP route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
    /// The port of the TCP routers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_port: Option<u16>,
    /// The name of the router group of a TCP route.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub router_group: String,
    /// The host and the port of the program.
    pub target: String,
    /// Whether the routers reach the program by TLS.
    pub tls: bool,
    /// The source in whose stream the requests are told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_id: String,
    /// The script or the URL of the health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
    /// The file that the route comes from; `None` if it is the registrar's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What has become of the route.
    pub state: RouteState,
    /// Since when the route is in this state, RFC 3339.
    pub since: String,
    /// Why the route is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What has become of a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// The first health check or registration is under way.
    #[default]
    Starting,
    /// The last registration was sent.
    Registered,
    /// The program is not healthy, so the route was unregistered.
    Unhealthy,
    /// The last message could not be sent. It is sent again at the next interval.
    Failed,
}

impl RouteState {
    /// The word for the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Registered => "registered",
            Self::Unhealthy => "unhealthy",
            Self::Failed => "failed",
        }
    }
}

/// A file with routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// The path.
    pub path: String,
    /// What is wrong with the file or with routes in it. If the file cannot be read, its last routes stay in force.
    pub problems: Vec<String>,
}
