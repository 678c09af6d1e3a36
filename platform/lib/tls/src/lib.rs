//! The stack's own CA, TLS configurations, and the reload of certificates.
//!
//! - [`Authority`] makes a CA and certificates in a directory, for a stack without certificates of its own.
//! - [`ServerTls`] and [`ClientTls`] are configurations that follow their files. A renewed certificate is used from the
//!   next handshake on, without a restart.
//! - [`OutboundTls`] is the configuration for servers outside of the stack: with public CAs, and with a CA and a
//!   certificate of its own for each of them.
//! - [`describe`] returns the names and the validity of a certificate, [`explain`] the reason why a handshake failed.
//!
//! The rules (logging §1) are: TLS 1.2 and 1.3. An internal server requires a certificate of its CA from every client,
//! with any name. A client verifies the server's *name*, independently of its address. Every configuration names ring
//! as its crypto provider; the default of the process is neither set nor used.

#![allow(
    clippy::disallowed_methods,
    reason = "this crate does not depend on weir-service, and TLS itself compares certificates with the system's clock"
)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::Setting;

mod authority;
mod by_name;
mod chain;
mod client;
mod error;
mod handshake;
mod long_lived;
mod material;
mod optional_client_cert;
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

/// The protocol name of HTTP/2, which gRPC uses.
pub const ALPN_H2: &[u8] = b"h2";
/// The protocol name of HTTP/1.1, which WebSockets need.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The PEM files of one identity for mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// PEM file of the CA that must have issued the certificates of all peers.
    pub ca: PathBuf,
    /// PEM file of the certificate that is shown to peers, with intermediate certificates if there are any.
    pub cert: PathBuf,
    /// PEM file of the private key of that certificate.
    pub key: PathBuf,
}
