//! The stack's own CA, mTLS configurations and certificate reload.
//!
//! - [`Authority`] makes a CA and certificates in a directory, for a stack that brings none of its own.
//! - [`ServerTls`] and [`ClientTls`] are live configurations: they follow their files, so that a renewed certificate is
//!   used from the next handshake on and nothing restarts.
//! - [`OutboundTls`] is for servers that are not ours: public CAs, and material of its own for each of them.
//! - [`describe`] says what a certificate is and how long it lasts, [`explain`] why a handshake failed.
//!
//! Rules (contract "TLS identities"): TLS 1.2 and 1.3; an internal server demands a certificate of its CA from every
//! client and does not look at its name; a client verifies the server's *name*, whatever its address. One crypto
//! provider, ring, named in every configuration: the process default is neither set nor used.

#![allow(
    clippy::disallowed_methods,
    reason = "weir-service is not below: certificates are held against the system's clock, as TLS itself does"
)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::Setting;

mod asking;
mod authority;
mod by_name;
mod chain;
mod client;
mod error;
mod handshake;
mod long_lived;
mod material;
mod outbound;
mod provider;
mod reload;
mod server;
mod status;
mod store;

pub use authority::Authority;
pub use by_name::ClientCertificates;
pub use chain::ChainError;
pub use client::{ClientTls, server_name};
pub use error::TlsError;
pub use handshake::{HandshakeError, explain, explain_wrapped};
pub use outbound::{
    CipherSuites, Destination, OutboundTls, PemError, Trust, UnknownSuites, check_authority, check_identity,
};
pub use server::ServerTls;
pub use status::{CertificateStatus, describe, describe_certificate};

/// HTTP/2, which is what gRPC speaks.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1, which is what WebSockets need.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The PEM files of one identity in a mutual TLS world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// PEM file of the CA that the certificates of all peers must come from.
    pub ca: PathBuf,
    /// PEM file of the certificate that peers are shown, with intermediates if there are any.
    pub cert: PathBuf,
    /// PEM file of the private key of that certificate.
    pub key: PathBuf,
}
