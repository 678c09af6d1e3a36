//! New connections to backends: TCP with a deadline, TLS with the identity of the instance that is meant.

use std::io;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_platform_gorouter_table::Endpoint;
use weir_tls::{ALPN_H2, ALPN_HTTP1, ChainError, ClientTls, HandshakeError, OutboundTls};

use super::{Failure, Wire};
use crate::settings::BackendSettings;

/// The router's side of TLS towards backends.
#[derive(Debug)]
pub(crate) enum BackendTls {
    /// One CA is that of all, and files are followed.
    Common {
        /// For HTTP/1.1.
        http1: ClientTls,
        /// For HTTP/2, if the backend has it.
        http2: ClientTls,
    },
    /// The system's CAs and others.
    Various {
        /// For HTTP/1.1.
        http1: OutboundTls,
        /// For HTTP/2, if the backend has it.
        http2: OutboundTls,
    },
}

impl BackendTls {
    /// TLS with the CA and the certificate of `tls`.
    pub(crate) fn common(tls: &ClientTls) -> Self {
        Self::Common {
            http1: tls.with_alpn(&[]),
            http2: tls.with_alpn(&[ALPN_H2, ALPN_HTTP1]),
        }
    }

    fn connector(&self, http2: bool) -> TlsConnector {
        match (self, http2) {
            (Self::Common { http2, .. }, true) => http2.connector(),
            (Self::Common { http1, .. }, false) => http1.connector(),
            (Self::Various { http2, .. }, true) => http2.connector(),
            (Self::Various { http1, .. }, false) => http1.connector(),
        }
    }
}

/// Makes connections to backends.
#[derive(Debug)]
pub(crate) struct Dialer {
    settings: BackendSettings,
    tls: BackendTls,
    /// `None`: there are no route services.
    services: Option<OutboundTls>,
}

/// A new connection, and what it speaks.
#[derive(Debug)]
pub(crate) struct Dialled {
    /// The connection.
    pub(crate) wire: Wire,
    /// Whether the backend speaks HTTP/2 on it.
    pub(crate) http2: bool,
    /// What TCP took.
    pub(crate) dial_time: std::time::Duration,
    /// What TLS took, where the backend has TLS.
    pub(crate) tls_time: Option<std::time::Duration>,
}

impl Dialer {
    /// Connections with these settings.
    pub(crate) const fn new(settings: BackendSettings, tls: BackendTls, services: Option<OutboundTls>) -> Self {
        Self {
            settings,
            tls,
            services,
        }
    }

    /// Connects to `endpoint`, speaking HTTP/2 if `http2` and the backend does.
    pub(crate) async fn dial(&self, endpoint: &Endpoint, http2: bool) -> Result<Dialled, Failure> {
        let tls = endpoint.tls().then(|| (identity(endpoint), self.tls.connector(http2)));
        let dialled = self.open(endpoint.address(), tls).await?;
        Ok(Dialled {
            http2: match endpoint.tls() {
                true => dialled.http2,
                false => http2,
            },
            ..dialled
        })
    }

    /// Connects to a route service, over TLS if it has a name that its certificate must carry.
    pub(crate) async fn dial_service(&self, address: &str, name: Option<&str>) -> Result<Dialled, Failure> {
        let tls = match (name, &self.services) {
            (Some(name), Some(tls)) => Some((name, tls.connector())),
            (Some(_), None) => return Err(Failure::NoEndpoints),
            (None, _) => None,
        };
        self.open(address, tls).await
    }

    async fn open(&self, address: &str, tls: Option<(&str, TlsConnector)>) -> Result<Dialled, Failure> {
        let begun = tokio::time::Instant::now();
        let stream = self.connect(address).await?;
        let dialled = tokio::time::Instant::now();
        let dial_time = dialled - begun;
        let Some((name, connector)) = tls else {
            return Ok(Dialled {
                wire: Wire::plain(stream),
                http2: false,
                dial_time,
                tls_time: None,
            });
        };
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| Failure::Untrusted {
            reason: format!("name `{name}` is not usable"),
        })?;
        let handshake = connector.connect(server_name, stream);
        let stream = match tokio::time::timeout(self.settings.handshake, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refused(name, error)),
            Err(_) => return Err(Failure::HandshakeTimeout),
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        Ok(Dialled {
            wire: Wire::tls(stream),
            http2,
            dial_time,
            tls_time: Some(dialled.elapsed()),
        })
    }

    async fn connect(&self, address: &str) -> Result<TcpStream, Failure> {
        let failed = |source| Failure::Dial {
            address: address.to_owned(),
            source,
        };
        let connecting = tokio::time::timeout(self.settings.dial, TcpStream::connect(address));
        let stream = connecting
            .await
            .map_err(|_| Failure::DialTimeout {
                address: address.to_owned(),
            })?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !self.settings.probe.is_zero() {
            let probes = TcpKeepalive::new()
                .with_time(self.settings.probe)
                .with_interval(self.settings.probe);
            SockRef::from(&stream).set_tcp_keepalive(&probes).map_err(failed)?;
        }
        Ok(stream)
    }
}

/// The name that the certificate of `endpoint` must be for: the instance's, or its host where it says none.
fn identity(endpoint: &Endpoint) -> &str {
    match endpoint.server_cert_domain_san() {
        "" => endpoint.address().rsplit_once(':').map_or("", |(host, _)| host),
        name => name,
    }
}

/// What a handshake with the instance `wanted` failed of.
fn refused(wanted: &str, error: io::Error) -> Failure {
    classify(wanted, weir_tls::explain(wanted, error))
}

/// What TLS objected to, where it is the cause of `error`.
pub(super) fn tls_failure(error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    weir_tls::explain_wrapped("", error).map(|error| classify("", error))
}

fn classify(wanted: &str, error: HandshakeError) -> Failure {
    match error {
        HandshakeError::UnknownIssuer { .. } => Failure::Untrusted {
            reason: "certificate signed by unknown authority".to_owned(),
        },
        HandshakeError::WrongName { presented, .. } => Failure::WrongName {
            presented: presented.join(", "),
            wanted: wanted.to_owned(),
        },
        HandshakeError::Expired { .. } => Failure::Untrusted {
            reason: "certificate has expired or is not yet valid".to_owned(),
        },
        HandshakeError::Chain { source, .. } => match source {
            ChainError::WrongName { names, wanted, .. } => Failure::WrongName {
                presented: names.join(", "),
                wanted,
            },
            source => Failure::Untrusted {
                reason: source.to_string(),
            },
        },
        HandshakeError::CertificateRequired { .. } => Failure::Refused {
            alert: "certificate required",
        },
        HandshakeError::Refused { .. } => Failure::Refused {
            alert: "bad certificate",
        },
        HandshakeError::NotTls { .. } => Failure::NotTls,
        HandshakeError::Protocol { .. } => Failure::Handshake,
        HandshakeError::Connection { source, .. } => match source.kind() {
            io::ErrorKind::UnexpectedEof => Failure::Ended,
            _ => Failure::Broken {
                reason: source.to_string(),
            },
        },
    }
}
