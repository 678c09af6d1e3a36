//! The routing table of the gorouter: which routes there are, which endpoints serve them, and which endpoint a request gets.
//!
//! Registrations enter through [`Registry::register`] and [`Registry::unregister`]; a request finds its route with
//! [`Registry::lookup`] and its endpoint with [`Pool::select`]. The table knows no network and no clock: the caller passes
//! the time, and says by [`Pool::failed`] and [`Pool::prune_endpoint`] what became of a connection. The rules are those of
//! the original router ([compute-routing](../../../../docs/contracts/compute-routing.md) §13.2 and §13.4).
//!
//! A look-up waits for no registration of another host but for those few whose hosts share a shard with its own. Everything
//! that belongs to one endpoint is one allocation for its facts and one for their text, so that a route with one endpoint
//! takes less than 500 bytes.

mod endpoint;
mod pool;
mod registration;
mod registry;
mod settings;
mod tags;

pub use endpoint::{Endpoint, EndpointId};
pub use pool::{HashRouting, Instance, Lease, NoEndpoint, Pool, RouteOptions, Wanted};
pub use registration::{Balancing, InvalidRegistration, ModificationTag, Protocol, Registration};
pub use registry::{Counts, Pruned, Registered, Registry};
pub use settings::{Sharding, TableSettings, ZonePreference};
pub use tags::Tags;
