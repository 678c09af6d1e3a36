//! TLS from the router to others: backends and route services.

use std::fs;

use weir_tls::{ALPN_H2, ALPN_HTTP1, ClientTls, Destination, OutboundTls, TlsError, Trust};

use crate::backend::BackendTls;
use crate::{Config, Error, RawCertificate};

/// TLS to backends: with the CA of `identity` where there is one, otherwise with the system's and the operator's CAs.
pub(crate) fn to_backends(config: &Config, identity: Option<&ClientTls>) -> Result<BackendTls, Error> {
    let raw = &config.backend_tls;
    if let Some(identity) = identity {
        return Ok(BackendTls::common(identity));
    }
    let trust = Trust::system(raw.ca.as_deref())?;
    let pem = raw.certificate.as_ref().map(read).transpose()?;
    let towards = |alpn| Destination {
        identity: pem.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice())),
        skip_verify: raw.skip_verification,
        alpn,
        ..Destination::default()
    };
    Ok(BackendTls::Various {
        http1: OutboundTls::new(&trust, &towards(&[]))?,
        http2: OutboundTls::new(&trust, &towards(&[ALPN_H2, ALPN_HTTP1]))?,
    })
}

/// TLS to route services; `None` where there is no support for them.
pub(crate) fn to_services(config: &Config) -> Result<Option<OutboundTls>, Error> {
    let raw = &config.route_services;
    if raw.secret.expose().is_empty() {
        return Ok(None);
    }
    let trust = Trust::system(raw.ca.as_deref())?;
    let pem = raw.certificate.as_ref().map(read).transpose()?;
    let destination = Destination {
        identity: pem.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice())),
        skip_verify: raw.skip_verification,
        alpn: &[ALPN_HTTP1],
        ..Destination::default()
    };
    Ok(Some(OutboundTls::new(&trust, &destination)?))
}

fn read(certificate: &RawCertificate) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &std::path::PathBuf| {
        fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.clone(),
            source,
        })
    };
    Ok((read(&certificate.cert)?, read(&certificate.key)?))
}
