//! A consumer at the traffic controller's WebSocket.

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

/// A WebSocket and what came over it.
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
    /// When the traffic controller cannot be reached or refuses.
    pub async fn open(endpoints: &Endpoints, path: &str, token: &str) -> anyhow::Result<Self> {
        Self::open_into(endpoints, path, token, Received::default()).await
    }

    /// The same, noting what comes in `received`.
    ///
    /// # Errors
    /// As [`Firehose::open`].
    pub async fn open_into(endpoints: &Endpoints, path: &str, token: &str, received: Received) -> anyhow::Result<Self> {
        let mut socket = dial_firehose(endpoints, path, token).await?;
        let noted = received.clone();
        let (reading, mut may_read) = watch::channel(true);
        let task = tokio::spawn(async move {
            loop {
                may_read.wait_for(|reading| *reading).await.ok()?;
                match socket.next().await?.ok()? {
                    Message::Binary(frame) => note(&noted, &frame),
                    // tungstenite queues the pong; flushing sends it.
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

    /// As [`crate::RlpConsumer::in_place`].
    ///
    /// # Errors
    /// When no probe arrives.
    pub async fn in_place(&self, emitter: &Emitter, source_id: &str) -> anyhow::Result<()> {
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

    /// Reads on.
    pub fn resume(&self) {
        self.reading.send_replace(true);
    }

    /// Whether the stream is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end; gives the close frame, if there was one.
    ///
    /// # Errors
    /// When reading it panicked.
    pub async fn ended(self) -> anyhow::Result<Option<Message>> {
        self.task.await.context("the reader")
    }
}

fn note(received: &Received, frame: &[u8]) {
    let Ok(envelope) = events::Envelope::decode(frame) else {
        return;
    };
    if let Some(log) = &envelope.log_message {
        received.note_line(log.app_id.as_deref().unwrap_or_default(), &log.message);
    }
}

/// The bare WebSocket at `path`.
///
/// # Errors
/// As [`Firehose::open`].
pub async fn dial_firehose(endpoints: &Endpoints, path: &str, token: &str) -> anyhow::Result<WebSocket> {
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
