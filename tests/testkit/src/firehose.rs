//! A consumer of the traffic controller over WebSocket.

use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use http::header::AUTHORIZATION;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use weir_proto::events;
use weir_tls::{ALPN_HTTP1, server_name};

use crate::endpoints::authority;
use crate::{Emitter, Endpoints, Received, Series, Shape, eventually};

/// A WebSocket over TLS.
pub type WebSocket = WebSocketStream<TlsStream<TcpStream>>;

/// An open WebSocket and the lines that arrived.
#[derive(Debug)]
pub struct Firehose {
    /// The lines that arrived, by app.
    pub received: Received,
    reading: watch::Sender<bool>,
    task: JoinHandle<Option<Message>>,
}

impl Firehose {
    /// Opens `path` (`/firehose/<subscription>`, `/apps/<guid>/stream`) with the token.
    ///
    /// # Errors
    /// Fails when the traffic controller cannot be reached or refuses the request.
    pub async fn open(endpoints: &Endpoints, path: &str, token: &str) -> anyhow::Result<Self> {
        Self::open_recording(endpoints, path, token, Received::default()).await
    }

    /// Opens `path` with the token, and records what arrives in `received`.
    ///
    /// # Errors
    /// Fails when the traffic controller cannot be reached or refuses the request.
    pub async fn open_recording(
        endpoints: &Endpoints,
        path: &str,
        token: &str,
        received: Received,
    ) -> anyhow::Result<Self> {
        let mut socket = connect_firehose(endpoints, path, token).await?;
        let noted = received.clone();
        let (reading, mut may_read) = watch::channel(true);
        let task = tokio::spawn(async move {
            loop {
                may_read.wait_for(|reading| *reading).await.ok()?;
                match socket.next().await?.ok()? {
                    Message::Binary(frame) => record(&noted, &frame),
                    // tungstenite has queued the pong already. Flushing sends it.
                    Message::Ping(_) => socket.flush().await.ok()?,
                    close @ Message::Close(_) => return Some(close),
                    _ => {}
                }
            }
        });
        Ok(Self {
            received,
            reading,
            task,
        })
    }

    /// Waits until envelopes reach this consumer, by sending lines of `source_id` that no account counts.
    ///
    /// # Errors
    /// Fails when none arrives in time.
    pub async fn wait_until_subscribed(&self, emitter: &Emitter, source_id: &str) -> anyhow::Result<()> {
        let mut probes = Series::new(source_id, Shape::payload(0));
        let before = self.received.of(source_id);
        eventually("the firehose in place", async || {
            emitter.send(&probes.batch(1)).await?;
            anyhow::ensure!(self.received.of(source_id) > before, "no probe arrived");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// Stops reading.
    pub fn pause(&self) {
        self.reading.send_replace(false);
    }

    /// Continues reading.
    pub fn resume(&self) {
        self.reading.send_replace(true);
    }

    /// Returns whether the stream has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end, and returns the close frame if there was one.
    ///
    /// # Errors
    /// Fails when the reading task panicked.
    pub async fn ended(self) -> anyhow::Result<Option<Message>> {
        self.task.await.context("the reader")
    }
}

fn record(received: &Received, frame: &[u8]) {
    let Ok(envelope) = events::Envelope::decode(frame) else {
        return;
    };
    if let Some(log) = &envelope.log_message {
        received.record_line(log.app_id.as_deref().unwrap_or_default(), &log.message);
    }
}

/// Opens a WebSocket at `path`, without a task that reads it.
///
/// # Errors
/// Fails when the traffic controller cannot be reached or refuses the request.
pub async fn connect_firehose(endpoints: &Endpoints, path: &str, token: &str) -> anyhow::Result<WebSocket> {
    let address = authority(&endpoints.traffic_controller);
    let stream = TcpStream::connect(address).await?;
    let connector = endpoints.trusting()?.with_alpn(&[ALPN_HTTP1]).connector();
    let stream = connector.connect(server_name("localhost")?, stream).await?;
    let mut request = format!("wss://{address}{path}").into_client_request()?;
    if !token.is_empty() {
        request.headers_mut().insert(AUTHORIZATION, token.parse()?);
    }
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => bail!("refused with {}", response.status()),
        Err(error) => Err(error.into()),
    }
}
