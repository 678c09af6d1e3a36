//! The subscription at the RLP, which opens again whenever it ends.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tonic::{Code, Request, Status};
use weir_net::{Backoff, Channel, Frame, Messages};
use weir_proto::loggregator_v2::EgressBatchRequest;

const BATCHED_RECEIVER_PATH: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// What comes from the RLP.
#[derive(Debug)]
pub(crate) enum News {
    /// The subscription is open.
    Opened,
    /// An `EnvelopeBatch`.
    Message(Bytes),
    /// It ended, or could not be opened; it will be tried again.
    Away(Failure),
}

/// Why there is nothing from the RLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In the RLP's words, or the transport's: for the log, not for clients.
    pub(crate) text: String,
    /// To ask the same again is of no use.
    pub(crate) permanent: bool,
}

impl Failure {
    fn new(status: &Status) -> Self {
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

/// A subscription, read on the task of whoever reads it. Dropping it ends it.
pub(crate) struct Provider {
    news: Pin<Box<dyn Stream<Item = News> + Send>>,
}

enum Link {
    Closed,
    Open(Messages),
    Waiting,
}

impl Provider {
    /// Subscribes when it is first asked for news.
    pub(crate) fn new(channel: Channel, request: &EgressBatchRequest) -> Self {
        let request = Bytes::from(request.encode_to_vec());
        let state = (channel, request, Link::Closed, Backoff::of_subscriptions());
        let news = futures::stream::unfold(state, |(channel, request, mut link, mut backoff)| async move {
            let news = match &mut link {
                Link::Open(messages) => match messages.message().await {
                    Ok(Some(message)) => {
                        backoff.reset();
                        News::Message(message)
                    }
                    ended => {
                        let status = ended.err().unwrap_or_else(|| Status::ok("ended"));
                        link = Link::Waiting;
                        News::Away(Failure::new(&status))
                    }
                },
                Link::Closed | Link::Waiting => {
                    if matches!(link, Link::Waiting) {
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    match open(&channel, request.clone()).await {
                        Ok(messages) => {
                            link = Link::Open(messages);
                            News::Opened
                        }
                        Err(status) => {
                            link = Link::Waiting;
                            News::Away(Failure::new(&status))
                        }
                    }
                }
            };
            Some((news, (channel, request, link, backoff)))
        });
        Self { news: news.boxed() }
    }

    /// Waits for what comes next. Cancel safe.
    pub(crate) async fn next(&mut self) -> News {
        match self.news.next().await {
            Some(news) => news,
            // The stream above has no end.
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
