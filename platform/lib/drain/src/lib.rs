//! What a syslog drain is, and how it is reached.
//!
//! - [`feed`] is the list of bindings as the cloud controller and the binding cache send it; [`Binding`] is one drain of
//!   one app out of it, with the [`DrainUrl`] and its [`Parameters`] read and checked.
//! - [`connect`] reaches a drain: [`Sender`] takes shipments of framed messages, [`Outcomes`] says what became of each.
//!   Behind it stand plain TCP and TLS ([`Scheme::Syslog`], [`Scheme::SyslogTls`]) and HTTP ([`Scheme::Https`],
//!   [`Scheme::HttpsBatch`]).
//! - [`probe`] walks the same way step by step and explains what it finds.
//!
//! Rules (contract "Syslog drains"): each binding has a trust store of its own; the address that is dialled is the address
//! that was checked ([`AddressPolicy`]); nothing that is shown, logged or compared as text holds user info, a query or
//! key material ([`DrainUrl::safe`], [`Failure`]).

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
