//! The models of the routing API, as JSON. Field names, their order and what is left out are those of the original's
//! `models` package.
//!
//! They are read as the original reads them: a field that is absent or null has its default, and an unknown one is ignored.

use serde::{Deserialize, Deserializer};

mod ports;
mod route;
mod router_group;
mod tcp_route;

pub use ports::{InvalidPorts, PortRange, ReservablePorts};
pub use route::{ModificationTag, Route};
pub use router_group::{InvalidRouterGroup, RouterGroup, RouterGroupType};
pub use tcp_route::TcpRoute;

/// Reads null as the default of the field's type.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
