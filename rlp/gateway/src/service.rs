//! The life of a request, top down: its path, who asks, what it asks for, a place, a subscription, and its stream.

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
use crate::config::{Limits, Resume, Times};
use crate::events;
use crate::line::Line;
use crate::outlet::Body;
use crate::places::{Full, Places};
use crate::provider::{News, Provider};
use crate::query::Query;
use crate::sessions::{Attachment, Cursor, Session, Sessions};
use crate::stream::Stream;

/// How long an answer waits for the RLP's word. One of ours says at once whether it takes the subscription; the original
/// says nothing before the first envelope.
const WORD: Duration = Duration::from_secs(1);

/// What a client gets that may come back.
#[derive(Debug, Default)]
struct Resumable {
    /// `None` if there are too many of them.
    session: Option<Session>,
    /// What it is to know first.
    greeting: Option<Bytes>,
}

/// Answers requests; shared by all connections.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) channel: Channel,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) resume: Resume,
    pub(crate) places: Places,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) rejected_streams: Counter<u64>,
    pub(crate) context: LogContext,
}

impl Service {
    /// Answers one request; `line` is the connection that it came on.
    pub(crate) async fn answer(&self, request: Request<Incoming>, line: Line) -> Response<Body> {
        match self.read(&request, line).await {
            Ok(response) => response,
            Err(refusal) => refusal.answer(),
        }
    }

    async fn read(&self, request: &Request<Incoming>, line: Line) -> Result<Response<Body>, Refusal> {
        if !is_read(request.uri().path()) {
            return Err(Refusal::NoSuchPath);
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        // Who may not ask learns nothing about what was asked.
        let caller = self.caller(request.headers(), query.as_ref().ok()).await?;
        if request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let query = query.map_err(Refusal::Query)?;
        let wanted = query.request(self.limits.selectors).map_err(Refusal::Query)?;
        match request.headers().get("last-event-id") {
            None => self.open(caller, &wanted, line, Resumable::default()).await,
            Some(id) => self.resume(caller, &wanted, line, id.to_str().unwrap_or("?")).await,
        }
    }

    /// Who asks; whoever may not read all that is asked for is told that it does not exist.
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
        // A query that cannot be read names no source that anybody may read.
        let mut sources = query.into_iter().flat_map(Query::source_ids).peekable();
        if sources.peek().is_some() && sources.all(|source_id| caller.may_read(source_id)) {
            Ok(caller)
        } else {
            Err(Refusal::NotFound)
        }
    }

    /// A client that wants to be able to come back, or does so.
    async fn resume(
        &self,
        caller: Caller,
        wanted: &EgressBatchRequest,
        line: Line,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        let cursor = Cursor::parse(id);
        if let Some(cursor) = &cursor
            && let Some(way) = self.sessions.find(cursor, &caller, wanted)
        {
            let (response, outlet) = answer::stream(line.clone());
            let attachment = Attachment {
                outlet,
                caller: caller.clone(),
                after: cursor.number,
            };
            if way.attach(attachment).await {
                return Ok(response);
            }
        }
        let session = self.sessions.open(&caller, wanted);
        let fresh = id.trim().is_empty();
        let greeting = (!fresh).then(|| {
            events::gap("this id is not known any more: what came since then is lost, the stream begins anew")
        });
        let resumable = Resumable { session, greeting };
        self.open(caller, wanted, line, resumable).await
    }

    async fn open(
        &self,
        caller: Caller,
        wanted: &EgressBatchRequest,
        line: Line,
        resumable: Resumable,
    ) -> Result<Response<Body>, Refusal> {
        let place = self.places.take(&caller, wanted.selectors.len()).map_err(|full| {
            self.rejected_streams.add(1, &[]);
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                caller = caller.name(),
                ?full,
                "stream refused: too many streams"
            );
            match full {
                Full::All => Refusal::Unavailable,
                Full::OfOne => Refusal::TooManyOfOne,
                Full::Selectors => Refusal::SelectorsOfOne,
            }
        })?;
        let mut provider = Provider::new(self.channel.clone(), wanted);
        let first = tokio::time::timeout(WORD, provider.next()).await.ok();
        if let Some(News::Away(failure)) = &first {
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
        let (response, outlet) = answer::stream(line);
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
            place,
        );
        if let Some(greeting) = resumable.greeting {
            stream.greet(greeting);
        }
        self.context.tasks.spawn("stream", stream.run(first));
        Ok(response)
    }
}

/// Whether a path is `/v2/read`. As in the original's routers each segment is decoded by itself: an escaped letter is that
/// letter, an escaped slash is none. (The original redirects `//v2/read` and the like; here nothing is there.)
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

    /// Escapes are what they stand for, within their segment; nothing else is the path.
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
