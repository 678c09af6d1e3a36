//! A producer as the field has them: go-loggregator's `BatchSender`, without acknowledgements.

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
/// Messages between the caller and the connection.
const AHEAD: usize = 16;
/// Envelopes of one message, as go-loggregator sends them.
const BATCH: usize = 100;

/// A stream of batches to one agent (or doppler).
#[derive(Debug)]
pub struct Emitter {
    messages: mpsc::Sender<Frame>,
    call: JoinHandle<Result<(), Status>>,
}

impl Emitter {
    /// Opens the stream to the agent of a stack.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub async fn connect(endpoints: &Endpoints) -> anyhow::Result<Self> {
        Self::to(&endpoints.agent, "metron", endpoints).await
    }

    /// Opens the stream to the server called `server_name` at `address`.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub async fn to(address: &str, server_name: &str, endpoints: &Endpoints) -> anyhow::Result<Self> {
        Ok(Self::open(&Target {
            address: address.to_owned(),
            server_name: server_name.to_owned(),
            tls: endpoints.mutual()?,
        }))
    }

    /// Opens the stream to `target`.
    #[must_use]
    pub fn open(target: &Target) -> Self {
        let channel = Channel::new(target);
        let (messages, receiver) = mpsc::channel(AHEAD);
        // The answer comes at the end: until then the call waits here.
        let call = tokio::spawn(async move {
            let request = Request::new(ReceiverStream::new(receiver));
            let mut answer = channel.stream(BATCH_SENDER, request).await?.into_inner();
            while answer.next().await.transpose()?.is_some() {}
            Ok(())
        });
        Self { messages, call }
    }

    /// Sends a batch; waits while the connection is full.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send(&self, batch: &Batch) -> anyhow::Result<()> {
        self.send_raw(batch.bytes().clone()).await
    }

    /// Sends a message as it is.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send_raw(&self, message: impl Into<Frame>) -> anyhow::Result<()> {
        self.messages.send(message.into()).await.context("the stream has ended")
    }

    /// Sends the next `count` envelopes of a series, in batches.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send_series(&self, series: &mut Series, count: usize) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let now = left.min(BATCH);
            self.send(&series.batch(now)).await?;
            left -= now;
        }
        Ok(())
    }

    /// Ends the stream and waits for the answer: by then the agent has read everything.
    ///
    /// # Errors
    /// When the server ended the stream with an error.
    pub async fn finish(self) -> anyhow::Result<()> {
        drop(self.messages);
        Ok(self.call.await??)
    }
}
