//! The subscription at the RLP, which is opened again whenever it ends.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tonic::{Code, Request, Status};
use weir_net::{Backoff, Channel, Frame, Messages};
use weir_proto::loggregator_v2::EgressBatchRequest;

const BATCHED_RECEIVER_PATH: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// An event of the subscription.
#[derive(Debug)]
pub(crate) enum ProviderEvent {
    /// The subscription is open.
    Opened,
    /// An encoded `EnvelopeBatch` arrived.
    Message(Bytes),
    /// The subscription ended or could not be opened. It will be tried again.
    Unavailable(Failure),
}

/// The reason for which the RLP delivers nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The message of the RLP or of the transport. It is meant for the log and not for clients.
    pub(crate) text: String,
    /// Whether it is useless to send the same request again.
    pub(crate) permanent: bool,
}

impl Failure {
    fn new(status: &Status) -> Self {
        // These statuses would come again with every attempt.
        let permanent = matches!(
            status.code(),
            Code::InvalidArgument | Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated
        );
        let text = match status.code() {
            Code::Ok => "the logs provider ended the stream".to_owned(),
            _ => status.message().to_owned(),
        };
        Self { text, permanent }
    }
}

/// A subscription that is read on the caller's task. Dropping it ends it.
pub(crate) struct Provider {
    events: Pin<Box<dyn Stream<Item = ProviderEvent> + Send>>,
}

enum Link {
    Closed,
    Open(Messages),
    Waiting,
}

impl Provider {
    /// Creates a provider. It subscribes when [`Provider::next`] is first called.
    pub(crate) fn new(channel: Channel, request: &EgressBatchRequest) -> Self {
        let request = Bytes::from(request.encode_to_vec());
        let state = (channel, request, Link::Closed, Backoff::of_subscriptions());
        let events = futures::stream::unfold(state, |(channel, request, mut link, mut backoff)| async move {
            let event = match &mut link {
                Link::Open(messages) => match messages.message().await {
                    Ok(Some(message)) => {
                        backoff.reset();
                        ProviderEvent::Message(message)
                    }
                    ended => {
                        let status = ended.err().unwrap_or_else(|| Status::ok("ended"));
                        link = Link::Waiting;
                        ProviderEvent::Unavailable(Failure::new(&status))
                    }
                },
                Link::Closed | Link::Waiting => {
                    if matches!(link, Link::Waiting) {
                        // The delay comes before the attempt and not after the failure, so that the client learns of
                        // the failure at once.
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    match open(&channel, request.clone()).await {
                        Ok(messages) => {
                            link = Link::Open(messages);
                            ProviderEvent::Opened
                        }
                        Err(status) => {
                            link = Link::Waiting;
                            ProviderEvent::Unavailable(Failure::new(&status))
                        }
                    }
                }
            };
            Some((event, (channel, request, link, backoff)))
        });
        Self { events: events.boxed() }
    }

    /// Waits for the next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> ProviderEvent {
        match self.events.next().await {
            Some(event) => event,
            // The stream is infinite.
            None => std::future::pending().await,
        }
    }
}

async fn open(channel: &Channel, request: Bytes) -> Result<Messages, Status> {
    let frame = Frame::from(request);
    let request = Request::new(futures::stream::once(async move { frame }));
    Ok(channel.stream(BATCHED_RECEIVER_PATH, request).await?.into_inner())
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}
