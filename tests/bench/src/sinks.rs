//! Consumers that count without decoding.

use std::sync::Arc;

use anyhow::bail;
use futures::{SinkExt as _, StreamExt as _};
use http::header::AUTHORIZATION;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tonic::Request;
use weir_envelope::wire::{Fields, Value};
use weir_net::{Channel, Frame};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_tls::{ALPN_HTTP1, ClientTls, server_name};

use crate::meter::Meter;

const BATCHED_RECEIVER: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// A consumer at work; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sink(JoinHandle<anyhow::Result<()>>);

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Subscribes over `channel`, as a client that does not acknowledge.
pub(crate) fn subscribe(channel: &Channel, request: EgressBatchRequest, meter: &Arc<Meter>) -> Sink {
    let (channel, meter) = (channel.clone(), Arc::clone(meter));
    let request = futures::stream::iter([Frame::from(request.encode_to_vec())]);
    // The original sends its headers with the first batch: opening must not wait for them.
    Sink(tokio::spawn(async move {
        let mut stream = channel
            .stream(BATCHED_RECEIVER, Request::new(request))
            .await?
            .into_inner();
        while let Some(message) = stream.message().await? {
            meter.note(count(&message), &message);
        }
        Ok(())
    }))
}

/// Opens a WebSocket at `address`; every binary frame is one envelope.
pub(crate) async fn firehose(
    address: &str,
    path: &str,
    token: &str,
    tls: &ClientTls,
    meter: &Arc<Meter>,
) -> anyhow::Result<Sink> {
    let stream = TcpStream::connect(address).await?;
    let connector = tls.with_alpn(&[ALPN_HTTP1]).connector();
    let stream = connector.connect(server_name("localhost")?, stream).await?;
    let mut request = format!("wss://{address}{path}").into_client_request()?;
    request.headers_mut().insert(AUTHORIZATION, token.parse()?);
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let meter = Arc::clone(meter);
    Ok(Sink(tokio::spawn(async move {
        while let Some(message) = socket.next().await {
            match message? {
                Message::Binary(frame) => meter.note(1, &frame),
                Message::Ping(_) => socket.flush().await?,
                Message::Close(frame) => bail!("closed: {frame:?}"),
                _ => {}
            }
        }
        Ok(())
    })))
}

/// Envelopes in an `EnvelopeBatch`.
fn count(message: &[u8]) -> u64 {
    Fields::new(message)
        .filter(|field| matches!(field, Ok((1, Value::Bytes(_)))))
        .count() as u64
}
