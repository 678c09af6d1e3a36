//! Syslog drains: their URLs, bindings and credentials, and the connections to them.
//!
//! - [`feed`] has the list of bindings as the cloud controller and the binding cache send it. A [`Binding`] is one
//!   drain of one app of that list, with its [`DrainUrl`] and [`Parameters`] parsed and checked.
//! - [`connect`] opens a connection to a drain. [`Sender`] accepts shipments of framed messages, and [`Outcomes`]
//!   reports the result of each. The transports are plain TCP and TLS ([`Scheme::Syslog`], [`Scheme::SyslogTls`]) and
//!   HTTP ([`Scheme::Https`], [`Scheme::HttpsBatch`]).
//! - [`probe`] makes such a connection step by step, sends one test message, and explains the result.
//!
//! Three rules hold everywhere (contract "Syslog drains"). Each binding has a trust store of its own. The address that
//! is dialled is the address that was checked ([`AddressPolicy`]). No text that is shown or logged contains user info,
//! a query or key material ([`DrainUrl::safe`], [`Failure`]). The crate's README.md is a map of the modules.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod address;
mod arrived;
mod binding;
mod connection;
mod dial;
mod failure;
pub mod feed;
mod http;
mod parameters;
mod probe;
mod redact;
mod refusal;
mod resolver;
mod secure;
mod settings;
mod source_types;
mod tcp;
mod url;

pub use address::{AddressPolicy, InvalidRange};
pub use binding::{App, Binding, BindingId, Credentials, Invalid, InvalidId};
pub use connection::{Closed, Outcome, Outcomes, Refused, Sender, Shipment, connect};
pub use dial::locate;
pub use failure::{Failure, Stage, Unsettled};
pub use parameters::{Kinds, Parameters};
pub use probe::{ProbeReport, ProbeStep, probe};
pub use refusal::Refusal;
pub use resolver::Resolver;
pub use settings::Settings;
pub use source_types::{SourceTypeSet, SourceTypes};
pub use url::{DrainUrl, Scheme, UrlError};
