//! A consumer of the RLP that behaves as the original's clients do: it uses no acknowledgements, and can stop reading.

use anyhow::Context as _;
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use weir_envelope::batch::Batch;
use weir_proto::loggregator_v2::egress_client::EgressClient;
use weir_proto::loggregator_v2::{EgressBatchRequest, EventSelector, LogSelector, Selector, selector};

use crate::{Emitter, Endpoints, Received, Series, Shape, connect, eventually};

/// An open subscription and the lines that arrived.
#[derive(Debug)]
pub struct RlpConsumer {
    /// The lines that arrived.
    pub received: Received,
    reading: watch::Sender<bool>,
    task: JoinHandle<Result<(), Status>>,
}

impl RlpConsumer {
    /// Subscribes at the RLP of a stack. The subscription is certain to be in place after [`RlpConsumer::wait_until_subscribed`].
    ///
    /// # Errors
    /// Fails when the RLP cannot be reached or refuses the request.
    pub async fn subscribe(endpoints: &Endpoints, request: EgressBatchRequest) -> anyhow::Result<Self> {
        let channel = connect(&endpoints.rlp, "reverselogproxy", &endpoints.mutual()?).await?;
        Self::over(channel, request).await
    }

    async fn over(channel: Channel, request: EgressBatchRequest) -> anyhow::Result<Self> {
        let answer = EgressClient::new(channel).batched_receiver(request).await?;
        let mut stream = answer.into_inner();
        let received = Received::default();
        let (reading, mut may_read) = watch::channel(true);
        let noted = received.clone();
        let task = tokio::spawn(async move {
            loop {
                if may_read.wait_for(|reading| *reading).await.is_err() {
                    return Ok(());
                }
                let Some(message) = stream.message().await? else {
                    return Ok(());
                };
                // `Received` takes batches, so the message is split as a component would split it.
                noted.record(&Batch::split(Bytes::from(message.encode_to_vec())).batch);
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
        eventually("the subscription in place", async || {
            emitter.send(&probes.batch(1)).await?;
            let arrived = self.received.of(source_id) > before;
            anyhow::ensure!(arrived, "no probe arrived, stream ended: {}", self.has_ended());
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// Stops reading, so that queues fill.
    pub fn pause(&self) {
        self.reading.send_replace(false);
    }

    /// Continues reading.
    pub fn resume(&self) {
        self.reading.send_replace(true);
    }

    /// Returns whether the server ended the stream.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end of the stream, and returns the server's status.
    ///
    /// # Errors
    /// Fails when the reading task panicked.
    pub async fn ended(self) -> anyhow::Result<Result<(), Status>> {
        self.task.await.context("the reader")
    }

    /// Drops the connection without ending the stream.
    pub fn vanish(self) {
        self.task.abort();
    }
}

/// Returns a request for the logs of these sources, with preferred tags.
#[must_use]
pub fn logs_of<'a>(sources: impl IntoIterator<Item = &'a str>) -> EgressBatchRequest {
    let selectors = sources
        .into_iter()
        .map(|source_id| Selector {
            source_id: source_id.to_owned(),
            message: Some(selector::Message::Log(LogSelector {})),
        })
        .collect();
    EgressBatchRequest {
        use_preferred_tags: true,
        selectors,
        ..EgressBatchRequest::default()
    }
}

/// Returns a request for the events of one source.
#[must_use]
pub fn events_of(source_id: &str) -> EgressBatchRequest {
    EgressBatchRequest {
        use_preferred_tags: true,
        selectors: vec![Selector {
            source_id: source_id.to_owned(),
            message: Some(selector::Message::Event(EventSelector {})),
        }],
        ..EgressBatchRequest::default()
    }
}

/// Returns a request for all logs.
#[must_use]
pub fn any() -> EgressBatchRequest {
    logs_of([""])
}
