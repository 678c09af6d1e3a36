//! The messages of routing, as the original writes and reads them: names, omissions and what is tolerated are its own.
//!
//! A reader takes what the original's JSON library takes: fields that it does not know, absent fields, and `null` for any
//! field. A writer leaves out what has no value, except what the original's route registrar always sends.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

#[cfg(test)]
mod tests;

/// The subjects of routing.
pub mod subjects {
    /// A route is there: a [`RegistryMessage`](super::RegistryMessage).
    pub const REGISTER: &str = "router.register";
    /// A route is gone: a [`RegistryMessage`](super::RegistryMessage).
    pub const UNREGISTER: &str = "router.unregister";
    /// A client asks the routers who they are; each answers with a [`RouterStart`](super::RouterStart) to the reply subject.
    pub const GREET: &str = "router.greet";
    /// A router has started: a [`RouterStart`](super::RouterStart).
    pub const START: &str = "router.start";
    /// All subjects of routing.
    pub const ALL: &str = "router.*";
}

/// A route of one endpoint, to be registered or unregistered. `Default` has no values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryMessage {
    /// The host names of the route, each perhaps with a path: `app.example.com/path`, `*.example.com`.
    #[serde(deserialize_with = "or_default")]
    pub uris: Vec<String>,
    /// The address of the endpoint, without its port.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
    /// The port that the endpoint serves without TLS on; 0: none.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub port: u16,
    /// The port that the endpoint serves TLS on; 0: none. It is preferred over `port`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub tls_port: u16,
    /// The protocol of the endpoint: `http1` or `http2`. Empty means `http1`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub protocol: String,
    /// The id of the app that the endpoint is an instance of.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub app: String,
    /// The tags that logs and metrics of the endpoint's requests carry.
    #[serde(deserialize_with = "or_default")]
    pub tags: BTreeMap<String, String>,
    /// The id of the instance, by which sticky sessions find it.
    #[serde(deserialize_with = "or_default")]
    pub private_instance_id: String,
    /// The index of the instance.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub private_instance_index: String,
    /// The isolation segment of the endpoint.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub isolation_segment: String,
    /// How long the route lasts without being registered again, in seconds; 0: as long as the router's own setting says.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub stale_threshold_in_seconds: i64,
    /// The URL of the route service that requests pass first. Must be `https`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub route_service_url: String,
    /// The name that the certificate of the endpoint must carry.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub server_cert_domain_san: String,
    /// When the endpoint became what the message says, in nanoseconds since the Unix epoch; 0: unknown.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub endpoint_updated_at_ns: i64,
    /// The availability zone of the endpoint.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub availability_zone: String,
    /// The options of the route.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub options: RouteOptions,
}

/// The options of a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteOptions {
    /// How endpoints are chosen: `round-robin`, `least-connection` or `hash`. Empty: as the router's own setting says.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub loadbalancing: String,
    /// The header whose value chooses the endpoint, for `hash`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub hash_header: String,
    /// How many times the mean number of requests one endpoint may have before another one is chosen, for `hash`; 0: any
    /// number. Written as text.
    #[serde(
        deserialize_with = "text_or_number",
        serialize_with = "as_text",
        skip_serializing_if = "is_default"
    )]
    pub hash_balance: f64,
    /// Who may be a caller at most: `any`, `org` or `space`. Empty: callers are not asked who they are.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub route_policy_scope: String,
    /// The callers that are allowed, with commas between them: `cf:any`, `cf:app:GUID`, `cf:space:GUID`, `cf:org:GUID`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub route_policy_sources: String,
}

/// What a router says of itself, at its start, at each new connection to NATS, and to those who greet it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterStart {
    /// The id of the router: its index and a UUID.
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    /// The addresses of the router.
    #[serde(deserialize_with = "or_default")]
    pub hosts: Vec<String>,
    /// How often routes should be registered again, in seconds.
    #[serde(rename = "minimumRegisterIntervalInSeconds", deserialize_with = "or_default")]
    pub minimum_register_interval_in_seconds: i64,
    /// How long a route lasts without being registered again, in seconds.
    #[serde(rename = "pruneThresholdInSeconds", deserialize_with = "or_default")]
    pub prune_threshold_in_seconds: i64,
}

/// A message that is none of routing.
#[derive(Debug, Error)]
pub enum MessageError {
    /// It is not JSON, or a field is of another type.
    #[error("message is not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The URL of the route service is not `https`.
    #[error("route service URL `{url}` is not `https`")]
    RouteService {
        /// The URL.
        url: String,
    },
}

impl Classify for MessageError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

impl RegistryMessage {
    /// Reads a message as the original does.
    ///
    /// # Errors
    /// When it is not JSON, a field is of another type, or the URL of the route service is not `https`.
    pub fn read(payload: &[u8]) -> Result<Self, MessageError> {
        let message: Self = serde_json::from_slice(payload)?;
        let url = &message.route_service_url;
        if url.is_empty() || url.starts_with("https") {
            Ok(message)
        } else {
            Err(MessageError::RouteService { url: url.clone() })
        }
    }

    /// The port of the endpoint, and whether it serves TLS there.
    #[must_use]
    pub const fn endpoint_port(&self) -> (u16, bool) {
        if self.tls_port == 0 {
            (self.port, false)
        } else {
            (self.tls_port, true)
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a value, or `null` as the value that an absent field has.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a number, or a text that is one.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Number(f64),
        Text(String),
    }
    let number = match Option::deserialize(deserializer)? {
        None => 0.0,
        Some(Value::Number(number)) => number,
        Some(Value::Text(text)) if text.is_empty() => 0.0,
        Some(Value::Text(text)) => text.parse().map_err(D::Error::custom)?,
    };
    match number.is_finite() {
        true => Ok(number),
        false => Err(D::Error::custom("a number that has a size is expected")),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn as_text<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
