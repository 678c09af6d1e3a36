//! A producer that behaves like go-loggregator's `BatchSender`: it uses no acknowledgements.

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use weir_envelope::batch::Batch;
use weir_net::{Channel, Frame, Target};

use crate::{Endpoints, Series};

const BATCH_SENDER: &str = "/loggregator.v2.Ingress/BatchSender";
/// The number of messages that may wait between the caller and the connection.
const QUEUED_MESSAGES: usize = 16;
/// The number of envelopes in one message, as in go-loggregator.
const BATCH: usize = 100;

/// A stream of batches to one agent or doppler.
#[derive(Debug)]
pub struct Emitter {
    messages: mpsc::Sender<Frame>,
    call: JoinHandle<Result<(), Status>>,
}

impl Emitter {
    /// Opens a stream to the agent of a stack.
    ///
    /// # Errors
    /// Fails when the certificates cannot be used.
    pub async fn connect(endpoints: &Endpoints) -> anyhow::Result<Self> {
        Self::to(&endpoints.agent, "metron", endpoints).await
    }

    /// Opens a stream to the server with the name `server_name` at `address`.
    ///
    /// # Errors
    /// Fails when the certificates cannot be used.
    pub async fn to(address: &str, server_name: &str, endpoints: &Endpoints) -> anyhow::Result<Self> {
        Ok(Self::open(&Target {
            address: address.to_owned(),
            server_name: server_name.to_owned(),
            tls: endpoints.mutual()?,
        }))
    }

    /// Opens a stream to `target`.
    #[must_use]
    pub fn open(target: &Target) -> Self {
        let channel = Channel::new(target);
        let (messages, receiver) = mpsc::channel(QUEUED_MESSAGES);
        // The server answers when the stream ends, so the call gets a task of its own.
        let call = tokio::spawn(async move {
            let request = Request::new(ReceiverStream::new(receiver));
            let mut answer = channel.stream(BATCH_SENDER, request).await?.into_inner();
            while answer.next().await.transpose()?.is_some() {}
            Ok(())
        });
        Self { messages, call }
    }

    /// Sends a batch, and waits while the connection is full.
    ///
    /// # Errors
    /// Fails when the stream has ended.
    pub async fn send(&self, batch: &Batch) -> anyhow::Result<()> {
        self.send_raw(batch.bytes().clone()).await
    }

    /// Sends the bytes of a message unchanged.
    ///
    /// # Errors
    /// Fails when the stream has ended.
    pub async fn send_raw(&self, message: impl Into<Frame>) -> anyhow::Result<()> {
        self.messages.send(message.into()).await.context("the stream has ended")
    }

    /// Sends the next `count` envelopes of a series in batches.
    ///
    /// # Errors
    /// Fails when the stream has ended.
    pub async fn send_series(&self, series: &mut Series, count: usize) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let now = left.min(BATCH);
            self.send(&series.batch(now)).await?;
            left -= now;
        }
        Ok(())
    }

    /// Ends the stream and waits for the answer. The agent has then read everything.
    ///
    /// # Errors
    /// Fails when the server ended the stream with an error.
    pub async fn finish(self) -> anyhow::Result<()> {
        drop(self.messages);
        Ok(self.call.await??)
    }
}
