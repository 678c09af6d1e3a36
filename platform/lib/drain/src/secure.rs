//! TLS towards a drain, with the binding's own trust store and certificate, and texts for its failures.

use std::io;

use rustls_pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use url::Host;
use weir_error::chain;
use weir_tls::{ALPN_H2, ALPN_HTTP1, Destination, HandshakeError, OutboundTls};

use crate::dial::io_text;
use crate::{Binding, DrainUrl, Failure, Settings, Stage};

/// The TLS configuration of one drain.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    tls: OutboundTls,
    name: ServerName<'static>,
    /// `host:port`, for the texts of failures.
    peer: String,
}

impl Secure {
    /// Returns the configuration of a binding, with the platform's current CAs. HTTP drains are offered HTTP/2 and
    /// HTTP/1.1.
    ///
    /// # Errors
    /// If the credentials of the binding cannot be used.
    pub(crate) fn new(binding: &Binding, settings: &Settings) -> Result<Self, Failure> {
        let parameters = binding.url.parameters();
        let credentials = &binding.credentials;
        let destination = Destination {
            identity: credentials.pair().map(|(cert, key)| (cert.as_bytes(), key.as_bytes())),
            authority: credentials.ca.as_deref().map(str::as_bytes),
            internal: parameters.strict_internal,
            cipher_suites: settings.cipher_suites.as_ref(),
            skip_verify: settings.skip_verify,
            alpn: if binding.url.scheme().is_http() {
                &[ALPN_H2, ALPN_HTTP1]
            } else {
                &[]
            },
        };
        let unusable = |text: String| {
            Failure::new(Stage::Tls, text)
                .permanent()
                .hint("correct the credentials of the binding, and bind again")
        };
        let tls = OutboundTls::new(&settings.trust, &destination)
            .map_err(|error| unusable(format!("credentials of the binding are not usable: {error}")))?;
        Ok(Self {
            tls,
            name: server_name(&binding.url)?,
            peer: peer(&binding.url),
        })
    }

    /// Makes the TLS handshake over `stream`, within the dial time-out.
    pub(crate) async fn handshake<S>(&self, stream: S, settings: &Settings) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = self.tls.connector().connect(self.name.clone(), stream);
        match timeout(settings.dial_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.explain(error)),
            Err(_) => {
                let text = format!("tls with `{}`: no answer within {:?}", self.peer, settings.dial_timeout);
                Err(Failure::new(Stage::Tls, text).hint("check that the drain speaks tls on this port"))
            }
        }
    }

    /// Returns the failure for an error of the handshake or of the connection after it.
    pub(crate) fn explain(&self, error: io::Error) -> Failure {
        self.failure(&weir_tls::explain(&self.peer, error))
    }

    /// Returns the failure for an error that may wrap one of TLS; `None` if it does not.
    pub(crate) fn explain_wrapped(&self, error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
        weir_tls::explain_wrapped(&self.peer, error).map(|explained| self.failure(&explained))
    }

    fn failure(&self, explained: &HandshakeError) -> Failure {
        let reason = match explained {
            HandshakeError::Chain { source, .. } => source.to_string(),
            HandshakeError::CertificateRequired { .. } => "the drain requires a client certificate".to_owned(),
            HandshakeError::Refused { reason, .. } => match self.tls.identity() {
                Some(ours) if ours.is_expired() => {
                    format!(
                        "the drain refuses our certificate `{}`, which expired on {}",
                        ours.subject,
                        ours.last_day()
                    )
                }
                Some(ours) => format!("the drain refuses our certificate `{}`: {reason}", ours.subject),
                None => "the drain requires a client certificate".to_owned(),
            },
            HandshakeError::NotTls { .. } => "the drain does not speak tls on this port".to_owned(),
            HandshakeError::Connection { source, .. } => {
                format!("the connection broke during the handshake: {}", io_text(source))
            }
            HandshakeError::Protocol { source, .. } => chain(source),
            other => other.to_string(),
        };
        let hint = match explained {
            HandshakeError::Chain { source, .. } => source.hint(),
            HandshakeError::CertificateRequired { .. } => {
                "give the binding a certificate and key that the drain accepts"
            }
            HandshakeError::Refused { .. } => "give the binding a valid certificate and key that the drain accepts",
            HandshakeError::NotTls { .. } => "use the drain's tls port, or the scheme `syslog`",
            _ => "check that the drain speaks TLS 1.2 or 1.3 on this port, and its log",
        };
        Failure::new(Stage::Tls, format!("tls with `{}`: {reason}", self.peer)).hint(hint)
    }

    /// Returns a warning if the binding's own certificate has expired, which is a likely reason for a refusal.
    pub(crate) fn expiry_warning(&self) -> Option<String> {
        let ours = self.tls.identity().filter(|ours| ours.is_expired())?;
        Some(format!(
            "our certificate `{}` expired on {}",
            ours.subject,
            ours.last_day()
        ))
    }
}

/// Returns `host:port` of a drain, with brackets around an IPv6 address.
pub(crate) fn peer(url: &DrainUrl) -> String {
    format!("{}:{}", url.address(), url.port())
}

/// Returns the name that the drain's certificate must have.
fn server_name(url: &DrainUrl) -> Result<ServerName<'static>, Failure> {
    Ok(match url.address() {
        Host::Ipv4(address) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(*address))),
        Host::Ipv6(address) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V6(*address))),
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
            Failure::new(
                Stage::Tls,
                format!("host `{name}` is no name that a certificate can be for"),
            )
            .permanent()
        })?,
    })
}
