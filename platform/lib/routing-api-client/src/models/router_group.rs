//! Router groups: the routers that serve the same external ports. The messages are those of the original.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{InvalidPorts, ReservablePorts, null_as_default};

/// A group of routers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterGroup {
    /// The id, given by the routing API.
    #[serde(deserialize_with = "null_as_default")]
    pub guid: String,
    /// The name, such as `default-tcp`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The protocol of its routes.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub kind: RouterGroupType,
    /// The external ports of its routes; empty for HTTP.
    #[serde(deserialize_with = "null_as_default")]
    pub reservable_ports: ReservablePorts,
}

/// The protocol of a group's routes, as it is written. The routing API takes any text; `tcp` and `http` have rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouterGroupType(pub String);

/// Why a router group is not valid. The texts are those of the original.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRouterGroup {
    /// It has no name.
    #[error("missing name in router group")]
    NoName,
    /// It has no type.
    #[error("missing type in router group")]
    NoType,
    /// A TCP group has no ports.
    #[error("missing reservable_ports in router group: {0}")]
    NoPorts(String),
    /// An HTTP group has ports.
    #[error("reservable ports are not supported for router groups of type http")]
    PortsOfHttp,
    /// Its ports cannot be reserved.
    #[error(transparent)]
    Ports(#[from] InvalidPorts),
}

impl RouterGroupType {
    /// The type of groups for TCP routes.
    #[must_use]
    pub fn tcp() -> Self {
        Self("tcp".to_owned())
    }

    /// The type of groups for HTTP routes.
    #[must_use]
    pub fn http() -> Self {
        Self("http".to_owned())
    }
}

impl RouterGroup {
    /// Checks the group; `reserved` are ports that no group may have.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self, reserved: &[u16]) -> Result<(), InvalidRouterGroup> {
        if self.name.is_empty() {
            return Err(InvalidRouterGroup::NoName);
        }
        if self.kind.0.is_empty() {
            return Err(InvalidRouterGroup::NoType);
        }
        if self.reservable_ports.is_empty() {
            if self.kind == RouterGroupType::tcp() {
                return Err(InvalidRouterGroup::NoPorts(self.name.clone()));
            }
            return Ok(());
        }
        if self.kind == RouterGroupType::http() {
            return Err(InvalidRouterGroup::PortsOfHttp);
        }
        self.reservable_ports.validate(reserved)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, kind: &str, ports: &str) -> RouterGroup {
        RouterGroup {
            guid: String::new(),
            name: name.to_owned(),
            kind: RouterGroupType(kind.to_owned()),
            reservable_ports: ports.into(),
        }
    }

    /// A group is read and written as the original does it, and what is wrong with one is said in the original's words.
    #[test]
    fn groups_are_as_the_originals() {
        let json = r#"{"guid":"","name":"default-tcp","type":"tcp","reservable_ports":"1024-1033"}"#;
        let tcp = group("default-tcp", "tcp", "1024-1033");
        assert_eq!(serde_json::to_string(&tcp).unwrap(), json);
        assert_eq!(serde_json::from_str::<RouterGroup>(json).unwrap(), tcp);
        for (group, said) in [
            (tcp, None),
            (group("a", "http", ""), None),
            (group("a", "other", ""), None),
            (group("", "tcp", "1024"), Some("missing name in router group")),
            (group("a", "", "1024"), Some("missing type in router group")),
            (
                group("a", "tcp", ""),
                Some("missing reservable_ports in router group: a"),
            ),
            (
                group("a", "http", "1024"),
                Some("reservable ports are not supported for router groups of type http"),
            ),
            (group("a", "tcp", "abc"), Some("port must be between 1024 and 65535")),
        ] {
            let wrong = group.validate(&[]).err().map(|error| error.to_string());
            assert_eq!(wrong.as_deref(), said, "{group:?}");
        }
    }
}
