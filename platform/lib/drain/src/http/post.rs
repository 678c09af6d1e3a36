//! One POST to a drain: its request, its exchange and its result.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper::client::conn::TrySendError;
use ring::digest::{Context, SHA256};
use tokio::time::timeout;

use super::answer::{self, Answer};
use super::connection::{Channel, Lease, Returned};
use crate::connection::Shipment;
use crate::redact::Redactor;
use crate::secure::peer;
use crate::{Binding, BindingId, Failure, Stage};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long a failed POST waits for the end of its connection, which tells the reason.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The parts that all POSTs to one drain have in common.
pub(super) struct Template {
    binding: BindingId,
    /// The request target for HTTP/1.1: path and query.
    path: Uri,
    /// The request target for HTTP/2, with scheme and authority.
    full: Uri,
    headers: HeaderMap,
    host: HeaderValue,
    pub(super) redactor: Redactor,
    pub(super) peer: String,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Template")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A POST that is to be sent.
pub(super) struct Post {
    pub(super) sequence: u64,
    /// The messages of the shipment that the POST carries, counted from zero.
    pub(super) messages: Range<u32>,
    /// Whether the POST was sent before on a connection that was then lost.
    pub(super) was_lost: bool,
    body: Bytes,
    /// The offset of the end of each message in the shipment.
    ends: Arc<[u32]>,
    /// The offset of the body in the shipment.
    begin: u32,
    /// The `Idempotency-Key`.
    key: String,
}

/// A POST that was sent, with its result.
pub(super) struct Done {
    pub(super) post: Post,
    pub(super) connection: Returned,
    pub(super) result: Result,
}

/// The result of a POST.
#[derive(Debug)]
pub(super) enum Result {
    /// The drain accepted it (2xx).
    Accepted,
    /// The drain will never accept it.
    Refused(Failure),
    /// The drain may accept it later.
    Failed(Failure),
    /// The connection was lost before an answer came.
    Lost {
        /// The reason.
        failure: Failure,
        /// Whether the drain may have received the POST.
        sent: bool,
    },
}

impl Template {
    pub(super) fn new(binding: &Binding) -> std::result::Result<Self, Failure> {
        let url = &binding.url;
        let unusable = || {
            Failure::new(
                Stage::Http,
                "the drain's URL is not usable in a request: it holds characters that must be escaped",
            )
            .permanent()
        };
        // Without the default port, as browsers and Go write it: some servers compare it with their name.
        let authority = match url.port() {
            443 => url.address().to_string(),
            port => format!("{}:{port}", url.address()),
        };
        let path: Uri = url.target().parse().map_err(|_| unusable())?;
        let full = format!("https://{authority}{}", url.target());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some((name, password)) = url.user() {
            let encoded = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            let mut value = HeaderValue::from_str(&encoded).map_err(|_| unusable())?;
            // Keeps the value out of debug output and out of HTTP/2's compression table.
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            binding: binding.id,
            path,
            full: full.parse().map_err(|_| unusable())?,
            headers,
            host: HeaderValue::from_str(&authority).map_err(|_| unusable())?,
            redactor: Redactor::new(url),
            peer: peer(url),
        })
    }

    /// Cuts a shipment into POSTs: one for all messages, or one for each.
    pub(super) fn posts(&self, shipment: &Shipment, each_message: bool) -> Vec<Post> {
        let mut context = Context::new(&SHA256);
        context.update(self.binding.to_string().as_bytes());
        context.update(&shipment.arrived.to_le_bytes());
        context.update(&shipment.bytes);
        let digest = context.finish();
        // Half of the digest is enough to tell shipments apart.
        let digits: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let count = u32::try_from(shipment.ends.len()).unwrap_or(u32::MAX);
        let post = |key: String, body: Bytes, begin: u32, messages: Range<u32>| Post {
            sequence: shipment.sequence,
            messages,
            was_lost: false,
            body,
            ends: Arc::clone(&shipment.ends),
            begin,
            key,
        };
        if shipment.bytes.is_empty() {
            return Vec::new();
        }
        if !each_message {
            return vec![post(digits, shipment.bytes.clone(), 0, 0..count)];
        }
        let mut start = 0;
        let mut posts = Vec::with_capacity(shipment.ends.len());
        for (index, end) in (0..count).zip(shipment.ends.iter()) {
            let end = (*end as usize).clamp(start, shipment.bytes.len());
            let begin = u32::try_from(start).unwrap_or(u32::MAX);
            let body = shipment.bytes.slice(start..end);
            posts.push(post(format!("{digits}-{index}"), body, begin, index..index + 1));
            start = end;
        }
        posts
    }

    fn request(&self, post: &Post, channel: &Channel) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(post.body.clone()));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers.clone();
        if let Ok(key) = HeaderValue::from_str(&post.key) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        match channel {
            Channel::Http1(_) => {
                *request.uri_mut() = self.path.clone();
                request.headers_mut().insert(HOST, self.host.clone());
            }
            Channel::Http2(_) => {
                *request.uri_mut() = self.full.clone();
                *request.version_mut() = http::Version::HTTP_2;
            }
        }
        request
    }
}

/// The reason why there is no answer.
enum NoAnswer {
    /// The POST was not sent.
    NotSent,
    /// The POST was sent at least in part, and may have arrived.
    Broken,
}

impl Post {
    /// Returns one POST for each half of the messages; `None` if there is only one message.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let Range { start, end } = self.messages;
        let middle = start.midpoint(end);
        if middle == start {
            return None;
        }
        let cut = *self.ends.get(middle as usize - 1)?;
        let at = (cut.checked_sub(self.begin)? as usize).min(self.body.len());
        // The key of a half begins with the digest of the whole shipment, however often it was cut before.
        let shipment = self.key.split('-').next().unwrap_or_default();
        let half = |messages: Range<u32>, body: Bytes, begin: u32| Self {
            sequence: self.sequence,
            was_lost: false,
            key: format!("{shipment}-{}-{}", messages.start, messages.end),
            messages,
            body,
            ends: Arc::clone(&self.ends),
            begin,
        };
        Some([
            half(start..middle, self.body.slice(..at), self.begin),
            half(middle..end, self.body.slice(at..), cut),
        ])
    }

    /// Sends the POST on a connection, and waits at most `longest` for its answer.
    pub(super) async fn send(self, lease: Lease, template: Arc<Template>, longest: Duration) -> Done {
        let Lease {
            number,
            mut channel,
            mut end,
        } = lease;
        let request = template.request(&self, &channel);
        let exchanged = timeout(longest, exchange(&mut channel, request)).await;
        let (result, usable) = match exchanged {
            Ok(Ok(answer)) => (answer::judge(&answer, &template), answer.is_complete),
            Ok(Err(missing)) => {
                let known = timeout(END_TIMEOUT, end.wait_for(Option::is_some)).await;
                let known = known
                    .ok()
                    .and_then(std::result::Result::ok)
                    .and_then(|known| known.clone());
                let failure = known.unwrap_or_else(|| {
                    Failure::new(Stage::Closed, format!("`{}` broke off the POST", template.peer))
                        .hint("the drain's log, or that of a proxy before it, should say why")
                });
                let sent = matches!(missing, NoAnswer::Broken);
                (Result::Lost { failure, sent }, false)
            }
            Err(_) => {
                let text = format!("`{}` has not answered within {longest:?}", template.peer);
                let failure = Failure::new(Stage::Http, text).hint("the drain is overloaded, or stuck: look at it");
                (Result::Failed(failure), false)
            }
        };
        Done {
            post: self,
            connection: Returned {
                number,
                channel: usable.then_some(channel),
            },
            result,
        }
    }
}

async fn exchange(channel: &mut Channel, request: Request<Full<Bytes>>) -> std::result::Result<Answer, NoAnswer> {
    let missing = |error: TrySendError<_>| {
        if error.message().is_some() {
            NoAnswer::NotSent
        } else {
            NoAnswer::Broken
        }
    };
    let response = match channel {
        Channel::Http1(sender) => {
            sender.ready().await.map_err(|_| NoAnswer::NotSent)?;
            sender.try_send_request(request).await.map_err(missing)?
        }
        Channel::Http2(sender) => {
            sender.ready().await.map_err(|_| NoAnswer::NotSent)?;
            sender.try_send_request(request).await.map_err(missing)?
        }
    };
    Answer::read(response).await.map_err(|_| NoAnswer::Broken)
}
