//! Probes a drain: connects step by step, sends one test message, and explains the result of each step.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use weir_error::Classify as _;
use weir_service::{Tasks, clock};
use weir_tls::{ALPN_H2, CertificateStatus};

use crate::arrived::MeteredStream;
use crate::connection::{encrypted, http, plain};
use crate::dial::to_any;
use crate::secure::Secure;
use crate::{Binding, Failure, Outcome, Outcomes, Scheme, Sender, Settings, Shipment, Stage, locate};

/// The result of a probe, step by step. Only the last step may have failed.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// The safe form of the drain's URL.
    pub drain: String,
    /// The steps, in order.
    pub steps: Vec<ProbeStep>,
}

/// One step of a probe.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeStep {
    /// The name of the step: `address`, `tcp`, `tls` or `message`.
    pub name: &'static str,
    /// Whether the step succeeded.
    pub ok: bool,
    /// The finding of the step, or the reason of its failure.
    pub text: String,
    /// The remedy for a failure.
    pub hint: Option<String>,
    /// The duration of the step.
    #[serde(serialize_with = "milliseconds", rename = "took_ms")]
    pub took: Duration,
}

fn milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

impl ProbeReport {
    /// Whether every step succeeded. The drain then accepted the test message, as far as its protocol can tell.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.drain)?;
        for step in &self.steps {
            let mark = if step.ok { "ok" } else { "FAILED" };
            writeln!(
                formatter,
                "  {:<8} {mark:<6} {:>8.1} ms  {}",
                step.name,
                step.took.as_secs_f64() * 1000.0,
                step.text
            )?;
            if let Some(hint) = &step.hint {
                writeln!(formatter, "  {:<8} hint: {hint}", "")?;
            }
        }
        Ok(())
    }
}

/// Probes a drain with one test message, over the code path of real messages, one step after the other.
///
/// # Panics
/// If it is called outside a tokio runtime.
pub async fn probe(binding: &Binding, settings: &Settings, tasks: &Tasks) -> ProbeReport {
    let mut run = Run {
        steps: Vec::new(),
        since: Instant::now(),
    };
    // The first failure ends the probe, and is in the report.
    _ = run.run(binding, settings, tasks).await;
    ProbeReport {
        drain: binding.url.safe().to_owned(),
        steps: run.steps,
    }
}

/// A running probe: the steps so far, and the start time of the next one.
struct Run {
    steps: Vec<ProbeStep>,
    since: Instant,
}

impl Run {
    async fn run(&mut self, binding: &Binding, settings: &Settings, tasks: &Tasks) -> Result<(), Stop> {
        let url = &binding.url;
        let located = locate(url, settings, tasks).await;
        let addresses = self.step("address", located, |addresses| {
            let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("`{}` is at {}", url.host(), listed.join(", "))
        })?;
        let stream = to_any(&addresses, url.port(), settings, settings.kernel_buffer(url.scheme())).await;
        let stream = self.step("tcp", stream, |stream| match stream.peer_addr() {
            Ok(peer) => format!("connected to `{peer}`"),
            Err(_) => "connected".to_owned(),
        })?;
        // All steps use one connection, because some receivers accept only one at a time.
        let connected = match url.scheme() {
            Scheme::Syslog => Ok(plain(binding, settings, tasks, MeteredStream::new(stream))),
            Scheme::SyslogTls => {
                let (secure, stream) = self.handshake(binding, settings, MeteredStream::new(stream)).await?;
                Ok(encrypted(binding, settings, tasks, secure, stream))
            }
            Scheme::Https | Scheme::HttpsBatch => {
                let (_, stream) = self.handshake(binding, settings, stream).await?;
                http(binding, settings, tasks, Some(stream)).await
            }
        };
        let sent = match connected {
            Ok(connection) => send(binding, settings, connection).await,
            Err(failure) => Err(failure),
        };
        self.step("message", sent, |()| {
            if url.scheme().is_http() {
                "the drain took the test message".to_owned()
            } else {
                "the test message has arrived; whether the drain understands it, this protocol does not say".to_owned()
            }
        })?;
        Ok(())
    }

    async fn handshake<S>(
        &mut self,
        binding: &Binding,
        settings: &Settings,
        stream: S,
    ) -> Result<(Secure, TlsStream<S>), Stop>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            let secure = Secure::new(binding, settings)?;
            let stream = secure.handshake(stream, settings).await?;
            Ok((secure, stream))
        };
        let handshake = handshake.await;
        self.step("tls", handshake, |(secure, stream)| {
            describe(stream, secure.expiry_warning())
        })
    }

    fn step<T>(
        &mut self,
        name: &'static str,
        result: Result<T, Failure>,
        found: impl FnOnce(&T) -> String,
    ) -> Result<T, Stop> {
        let took = self.since.elapsed();
        self.since = Instant::now();
        let (ok, text, hint) = match &result {
            Ok(value) => (true, found(value), None),
            Err(failure) => (false, failure.to_string(), failure.hint()),
        };
        self.steps.push(ProbeStep {
            name,
            ok,
            text,
            hint,
            took,
        });
        result.map_err(|_| Stop)
    }
}

/// The sign that a step failed, which ends the probe.
struct Stop;

/// Describes a TLS session: version, the drain's certificate, and HTTP/2.
fn describe<S>(stream: &TlsStream<S>, remark: Option<String>) -> String {
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(version) => format!("{version:?}").replace('_', "."),
        None => "TLS".to_owned(),
    };
    let leaf = session
        .peer_certificates()
        .and_then(|chain| CertificateStatus::read(chain.first()?).ok());
    let mut text = match leaf {
        Some(leaf) => format!("{version}, certificate `{}` until {}", leaf.subject, leaf.last_day()),
        None => version,
    };
    if session.alpn_protocol() == Some(ALPN_H2) {
        text.push_str(", HTTP/2");
    }
    if let Some(remark) = remark {
        text.push_str("; but ");
        text.push_str(&remark);
    }
    text
}

/// Sends the test message, and waits until it is settled.
async fn send(binding: &Binding, settings: &Settings, connection: (Sender, Outcomes)) -> Result<(), Failure> {
    let (mut sender, mut outcomes) = connection;
    let mut message = test_message(binding);
    if binding.url.scheme().is_octet_counted() {
        message = format!("{} {message}", message.len());
    }
    let end = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let shipment = Shipment {
        sequence: 1,
        bytes: message.into(),
        ends: [end].into(),
        arrived: clock::now_nanos(),
    };
    // If the connection has ended already, the outcome has the reason.
    _ = sender.send(shipment).await;
    let longest = settings.http_timeout.max(settings.write_timeout) + settings.settle_after;
    let outcome = async {
        loop {
            match outcomes.next().await {
                Outcome::Written(_) => {}
                Outcome::Settled(_) => return Ok(()),
                Outcome::Rejected { refused, .. } => {
                    let why = refused.into_iter().map(|refused| refused.failure).next();
                    return Err(why.unwrap_or_else(|| Failure::new(Stage::Http, "the drain refused the test message")));
                }
                Outcome::Broken(failure) => return Err(failure),
            }
        }
    };
    timeout(longest, outcome).await.unwrap_or_else(|_| {
        let text = format!("the drain has not acknowledged the test message within {longest:?}");
        Err(Failure::new(Stage::Write, text).hint("the drain does not read: look at it"))
    })
}

/// Returns the test message in RFC 5424 form, with the header of the app's lines.
fn test_message(binding: &Binding) -> String {
    let field = |text: &str, longest: usize| -> String {
        let graphic: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
        if graphic.is_empty() { "-".to_owned() } else { graphic }
    };
    let now = chrono::DateTime::from_timestamp_nanos(clock::now_nanos()).format("%Y-%m-%dT%H:%M:%S%.6f+00:00");
    let host = field(binding.hostname(), 255);
    let app = field(binding.source_id().unwrap_or_default(), 48);
    format!("<14>1 {now} {host} {app} [LGR] - - test message: this drain was probed\n")
}
