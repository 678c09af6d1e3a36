//! TLS towards a drain: the binding's own trust store and certificate, and words for what goes wrong.

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

/// TLS towards one drain.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    tls: OutboundTls,
    name: ServerName<'static>,
    /// `host:port`, for texts.
    peer: String,
}

impl Secure {
    /// The binding's TLS with the platform's CAs as they are now. An HTTP drain is asked for HTTP/2, and HTTP/1.1 if it does
    /// not know that.
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

    /// The handshake.
    pub(crate) async fn handshake<S>(&self, stream: S, settings: &Settings) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaking = self.tls.connector().connect(self.name.clone(), stream);
        match timeout(settings.dial_timeout, shaking).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.explain(error)),
            Err(_) => {
                let text = format!("tls with `{}`: no answer within {:?}", self.peer, settings.dial_timeout);
                Err(Failure::new(Stage::Tls, text).hint("check that the drain speaks tls on this port"))
            }
        }
    }

    /// Why the handshake, or what came after it, failed.
    pub(crate) fn explain(&self, error: io::Error) -> Failure {
        self.failure(&weir_tls::explain(&self.peer, error))
    }

    /// As [`Secure::explain`], for an error that libraries wrapped; `None` if TLS has nothing to do with it.
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

    /// Our own certificate expired, so that a refusal is no surprise.
    pub(crate) fn remark(&self) -> Option<String> {
        let ours = self.tls.identity().filter(|ours| ours.is_expired())?;
        Some(format!(
            "our certificate `{}` expired on {}",
            ours.subject,
            ours.last_day()
        ))
    }
}

/// `host:port` as people write it.
pub(crate) fn peer(url: &DrainUrl) -> String {
    format!("{}:{}", url.address(), url.port())
}

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
