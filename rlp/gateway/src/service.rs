//! Handles requests: path, caller, query, stream limits, subscription, and the stream itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use opentelemetry::metrics::Counter;
use percent_encoding::percent_decode_str;
use weir_auth::{Authorizer, Caller, Denied, from_header};
use weir_flow::LogContext;
use weir_net::Channel;
use weir_proto::loggregator_v2::EgressBatchRequest;

use crate::answer::{self, Refusal};
use crate::config::{RawLimits, RawResume, RawTimeouts};
use crate::connection::ConnectionHandle;
use crate::events;
use crate::outlet::Body;
use crate::provider::{Provider, ProviderEvent};
use crate::query::Query;
use crate::sessions::{Attachment, Cursor, Session, Sessions};
use crate::stream::Stream;
use crate::stream_limits::{LimitReached, StreamLimits};

/// How long a response waits for the RLP. An RLP of Weir answers at once whether it accepts the subscription. The
/// original's sends nothing before the first envelope.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// The parts of a stream that its client may resume.
#[derive(Debug, Default)]
struct Resumable {
    /// The session, or `None` if there are too many.
    session: Option<Session>,
    /// An event that the client gets before all others.
    first_event: Option<Bytes>,
}

/// Answers requests. All connections share it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) channel: Channel,
    pub(crate) limits: RawLimits,
    pub(crate) times: RawTimeouts,
    pub(crate) resume: RawResume,
    pub(crate) stream_limits: StreamLimits,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) rejected_streams: Counter<u64>,
    pub(crate) context: LogContext,
}

impl Service {
    /// Answers a request that arrived on `connection`.
    pub(crate) async fn answer(&self, request: Request<Incoming>, connection: ConnectionHandle) -> Response<Body> {
        match self.read(&request, connection).await {
            Ok(response) => response,
            Err(refusal) => refusal.answer(),
        }
    }

    async fn read(&self, request: &Request<Incoming>, connection: ConnectionHandle) -> Result<Response<Body>, Refusal> {
        if !is_read(request.uri().path()) {
            return Err(Refusal::NoSuchPath);
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        // The caller is checked before the method and the query, so that others learn nothing about what exists.
        let caller = self.caller(request.headers(), query.as_ref().ok()).await?;
        if request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let query = query.map_err(Refusal::Query)?;
        let wanted = query.request(self.limits.selectors).map_err(Refusal::Query)?;
        match request.headers().get("last-event-id") {
            None => self.open(caller, &wanted, connection, Resumable::default()).await,
            Some(id) => {
                self.resume(caller, &wanted, connection, id.to_str().unwrap_or("?"))
                    .await
            }
        }
    }

    /// Authorizes the caller. If it may not read everything that it asks for, it gets the answer for an unknown
    /// resource.
    async fn caller(&self, headers: &HeaderMap, query: Option<&Query>) -> Result<Caller, Refusal> {
        let refused = |denied: Denied| match denied {
            Denied::Unavailable => Refusal::Unavailable,
            _ => Refusal::NotFound,
        };
        let token = from_header(headers).map_err(refused)?;
        let caller = self.authorizer.caller(token).await.map_err(refused)?;
        if *caller.scope() == weir_auth::Scope::Everything {
            return Ok(caller);
        }
        // A query that cannot be decoded names no source that the caller may read.
        let mut sources = query.into_iter().flat_map(Query::source_ids).peekable();
        if sources.peek().is_some() && sources.all(|source_id| caller.may_read(source_id)) {
            Ok(caller)
        } else {
            Err(Refusal::NotFound)
        }
    }

    /// Resumes a stream, or opens one that can be resumed.
    async fn resume(
        &self,
        caller: Caller,
        wanted: &EgressBatchRequest,
        connection: ConnectionHandle,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        let cursor = Cursor::parse(id);
        if let Some(cursor) = &cursor
            && let Some(handle) = self.sessions.find(cursor, &caller, wanted)
        {
            let (response, outlet) = answer::stream(connection.clone());
            let attachment = Attachment {
                outlet,
                caller: caller.clone(),
                after: cursor.number,
            };
            if handle.attach(attachment).await {
                return Ok(response);
            }
        }
        let session = self.sessions.open(&caller, wanted);
        let fresh = id.trim().is_empty();
        let first_event = (!fresh).then(|| {
            events::gap("this id is not known any more: what came since then is lost, the stream begins anew")
        });
        let resumable = Resumable { session, first_event };
        self.open(caller, wanted, connection, resumable).await
    }

    async fn open(
        &self,
        caller: Caller,
        wanted: &EgressBatchRequest,
        connection: ConnectionHandle,
        resumable: Resumable,
    ) -> Result<Response<Body>, Refusal> {
        let permit = self
            .stream_limits
            .take(&caller, wanted.selectors.len())
            .map_err(|full| {
                self.rejected_streams.add(1, &[]);
                weir_service::limited!(
                    warn,
                    weir_service::EACH_SECOND,
                    caller = caller.name(),
                    ?full,
                    "stream refused: too many streams"
                );
                match full {
                    LimitReached::Streams => Refusal::Unavailable,
                    LimitReached::StreamsOfCaller => Refusal::TooManyStreamsOfCaller,
                    LimitReached::SelectorsOfCaller => Refusal::TooManySelectorsOfCaller,
                }
            })?;
        let mut provider = Provider::new(self.channel.clone(), wanted);
        let first = tokio::time::timeout(FIRST_ANSWER, provider.next()).await.ok();
        if let Some(ProviderEvent::Unavailable(failure)) = &first {
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                caller = caller.name(),
                error = failure.text,
                "stream refused: no logs provider"
            );
            return Err(Refusal::Unavailable);
        }
        tracing::info!(
            caller = caller.name(),
            selectors = wanted.selectors.len(),
            "stream opened"
        );
        let (response, outlet) = answer::stream(connection);
        let attachment = Attachment {
            outlet,
            caller,
            after: 0,
        };
        let mut stream = Stream::new(
            provider,
            attachment,
            resumable.session.map(|session| (session, self.resume)),
            self.times,
            self.context.clone(),
            permit,
        );
        if let Some(first_event) = resumable.first_event {
            stream.send_first(first_event);
        }
        self.context.tasks.spawn("stream", stream.run(first));
        Ok(response)
    }
}

/// Returns whether a path is `/v2/read`. Like in the original's router each segment is decoded separately, so an
/// escaped letter is that letter, and an escaped slash is not a separator. (The original redirects `//v2/read`; here it
/// is not found.)
fn is_read(path: &str) -> bool {
    let mut wanted = ["", "v2", "read"].iter();
    path.split('/').all(|segment| {
        wanted
            .next()
            .is_some_and(|wanted| percent_decode_str(segment).eq(wanted.bytes()))
    }) && wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::is_read;

    /// Escaped letters within a segment are accepted, and nothing else is this path.
    #[test]
    fn one_path_is_served() {
        for path in ["/v2/read", "/v2/%72ead", "/%762/rea%64", "/%76%32/%72%65%61%64"] {
            assert!(is_read(path), "{path}");
        }
        for path in [
            "",
            "/",
            "*",
            "v2/read",
            "/v2",
            "/v2/",
            "/v2/read/",
            "//v2/read",
            "/v2//read",
            "/v2/./read",
            "/v2%2Fread",
            "/v2%2fread",
            "/v2/read%2F",
            "/v2/READ",
            "/v2/%52ead",
            "/v2/%2572ead",
            "/v2/%72ead%00",
            "/v2/%7",
            "/v2/%zzread",
            "/v2/read%",
            "/v2/read/x",
            "/x/%2e%2e/v2/read",
        ] {
            assert!(!is_read(path), "{path}");
        }
    }
}
