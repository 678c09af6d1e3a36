//! The REST gateway `/api/v1/{info,read,meta,query,query_range}`, whose answers have the bytes of the original's
//! (logging §14.3).
//!
//! The gateway is for clients with a certificate. [`crate::proxy`] is for clients with a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use tonic::{Code, Status};
use weir_envelope::view::EnvelopeView;
use weir_envelope::wire::Fields;
use weir_error::{Classify as _, ErrorKind};
use weir_log_cache_store::{SourceMeta, Visibility};
use weir_proto::logcache_v1::{EnvelopeType, ReadRequest};

use crate::answers::Answers;
use crate::caller::CERTIFICATE_CALLER;
use crate::reading::{self, Reader};

/// The version of the original whose API this is. Clients choose their calls by it.
const VERSION: &str = "3.2.0";

/// The state that the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) reader: Arc<Reader>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) started: Instant,
}

impl Gateway {
    /// Returns the routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/api/v1/info", get(info))
            .route("/api/v1/read/{*source_id}", get(read))
            .route("/api/v1/meta", get(meta))
            .route("/api/v1/query", get(query))
            .route("/api/v1/query_range", get(query))
            .fallback(async || Failed(Status::not_found("Not Found")))
            .with_state(self)
    }
}

pub(crate) async fn info(State(gateway): State<Gateway>) -> Response {
    let uptime = gateway.started.elapsed().as_secs().to_string();
    // The original sets no content type here, and Go's server detects text.
    let body = format!("{}\n", json!({ "version": VERSION, "vm_uptime": uptime }));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn read(
    State(gateway): State<Gateway>,
    Path(source_id): Path<String>,
    RawQuery(parameters): RawQuery,
) -> Result<Response, Failed> {
    let parameters = parameters.as_deref().unwrap_or_default();
    gateway.page(CERTIFICATE_CALLER, source_id, parameters).await
}

impl Gateway {
    /// Returns a page of envelopes of one source, for `caller`.
    pub(crate) async fn page(&self, caller: &str, source_id: String, parameters: &str) -> Result<Response, Failed> {
        let request = read_request(source_id, parameters)?;
        let hold = self.hold(caller);
        let answer = self.reader.read(caller, request, reading::REST_PAGE, move |page| {
            // Payloads in base64 and the names of the fields make JSON about twice as long as protobuf.
            let mut body = Vec::with_capacity(page.batch.len() * 2);
            body.extend_from_slice(b"{\"envelopes\":");
            let envelopes = Fields::new(&page.batch)
                .flatten()
                .filter_map(|(number, value)| value.bytes(number).ok());
            weir_envelope::json::write_batch(envelopes.map(EnvelopeView::new), &mut body);
            body.extend_from_slice(b"}\n");
            hold(body)
        });
        Ok(json_answer(answer.await?))
    }

    /// Returns the numbers of each source in `visibility` as JSON, for `caller`; `write` gives the object of one
    /// source.
    pub(crate) async fn meta<I: Serialize + 'static>(
        &self,
        caller: &str,
        visibility: Visibility,
        write: fn(&SourceMeta) -> I,
    ) -> Result<Body, Status> {
        let hold = self.hold(caller);
        self.reader
            .meta(caller, visibility, move |sources| {
                let sources: BTreeMap<&str, I> = sources
                    .iter()
                    .map(|source| (source.source_id.as_str(), write(source)))
                    .collect();
                // Written directly, because a `serde_json::Value` would sort the fields.
                let sources = serde_json::to_string(&sources).map_err(|error| Status::internal(error.to_string()))?;
                hold(format!("{{\"meta\":{sources}}}\n").into_bytes())
            })
            .await
    }

    /// Returns a function that turns an answer into a body, which counts towards the unread answers of `caller`.
    fn hold(&self, caller: &str) -> impl FnOnce(Vec<u8>) -> Result<Body, Status> + Send + 'static {
        let (answers, caller) = (Arc::clone(&self.answers), caller.to_owned());
        move |answer| {
            answers.hold(&caller, answer).map_err(|unread| {
                let hint = unread.hint().unwrap_or_default();
                Status::resource_exhausted(format!("{unread}; {hint}"))
            })
        }
    }
}

async fn meta(State(gateway): State<Gateway>) -> Result<Response, Failed> {
    let body = gateway.meta(CERTIFICATE_CALLER, Visibility::All, |source| Info::from(source));
    Ok(json_answer(body.await?))
}

pub(crate) async fn query() -> Response {
    let body = json!({
        "status": "error",
        "errorType": "internal",
        "error": "this log cache does not speak PromQL; ask it in SQL",
    });
    let answer = json_answer(format!("{body}\n").into_bytes());
    (StatusCode::NOT_IMPLEMENTED, answer).into_response()
}

fn json_answer(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// The numbers of one source, with the original's order of fields.
#[derive(Debug, Serialize)]
struct Info {
    count: String,
    expired: String,
    oldest_timestamp: String,
    newest_timestamp: String,
}

impl From<&SourceMeta> for Info {
    fn from(info: &SourceMeta) -> Self {
        Self {
            count: info.count.to_string(),
            expired: info.expired.to_string(),
            oldest_timestamp: info.oldest_timestamp.to_string(),
            newest_timestamp: info.newest_timestamp.to_string(),
        }
    }
}

/// A gRPC status in the form of the original's gateway.
#[derive(Debug)]
pub(crate) struct Failed(Status);

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(status) = self;
        // UNKNOWN is the original's code for parameters that it refuses, which its gateway answers with 500. A client
        // would repeat such a request, and an operator would search for a fault of the server, so the answer here is
        // 400.
        let code = match status.code() {
            Code::Unknown => StatusCode::BAD_REQUEST,
            code => weir_net::grpc::kind(code).unwrap_or(ErrorKind::Internal).http_status(),
        };
        // Written directly, for the order of the fields.
        let message = json!(status.message());
        let body = format!(
            "{{\"code\":{},\"message\":{message},\"details\":[]}}\n",
            status.code() as i32
        );
        (code, json_answer(body.into_bytes())).into_response()
    }
}

/// Reads the query string. Names may be in snake or camel case, and unknown ones are ignored (logging §14.3).
fn read_request(source_id: String, parameters: &str) -> Result<ReadRequest, Status> {
    let mut request = ReadRequest {
        source_id,
        ..ReadRequest::default()
    };
    for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
        let invalid = || {
            Status::invalid_argument(format!(
                "type mismatch, parameter: {name}, error: `{value}` is not allowed here"
            ))
        };
        let number = || value.parse::<i64>().map_err(|_| invalid());
        match &*name {
            "start_time" | "startTime" => request.start_time = number()?,
            "end_time" | "endTime" => request.end_time = number()?,
            "limit" => request.limit = number()?,
            "descending" => request.descending = flag(&value).ok_or_else(invalid)?,
            "name_filter" | "nameFilter" => request.name_filter = value.into_owned(),
            "envelope_types" | "envelopeTypes" => {
                let kind = EnvelopeType::from_str_name(&value)
                    .map(i32::from)
                    .or_else(|| value.parse().ok());
                request.envelope_types.push(kind.ok_or_else(invalid)?);
            }
            _ => {}
        }
    }
    Ok(request)
}

/// Reads a Boolean as Go's `strconv.ParseBool` does.
fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;
    use weir_envelope::batch::BatchBuilder;
    use weir_envelope::encode::Writer;
    use weir_envelope::view::Stream;
    use weir_log_cache_store::{Limits, Store};

    use super::*;
    use crate::answers::PER_CALLER;

    fn gateway() -> Gateway {
        let store = Store::new(Limits::default());
        let mut builder = BatchBuilder::new();
        for (number, source_id) in [(1, "app"), (2, "app"), (3, "a/b")] {
            builder.push_with(|envelope| {
                let mut writer = Writer::new(envelope);
                writer
                    .timestamp(number)
                    .source_id(source_id)
                    .instance_id("0")
                    .tag("source_type", "APP");
                writer.log(b"hello", Stream::Out);
            });
        }
        store.ingest(&builder.finish(), |_| {});
        Gateway {
            reader: Reader::new(store),
            answers: Arc::default(),
            started: Instant::now(),
        }
    }

    async fn answer(path: &str) -> (u16, String, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = gateway().router().oneshot(request).await.expect("infallible");
        let status = answer.status().as_u16();
        let kind = answer.headers()[header::CONTENT_TYPE]
            .to_str()
            .expect("text")
            .to_owned();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (status, kind, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// Bodies, statuses and content types are exactly the original's.
    #[tokio::test]
    async fn answers_are_the_originals() {
        let (status, kind, body) = answer("/api/v1/info").await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
        assert_eq!(body, "{\"version\":\"3.2.0\",\"vm_uptime\":\"0\"}\n");

        let (status, kind, body) =
            answer("/api/v1/read/app?limit=1&descending=true&envelope_types=LOG&startTime=-5&unknown=x").await;
        assert_eq!((status, kind.as_str()), (200, "application/json"));
        assert_eq!(
            body,
            "{\"envelopes\":{\"batch\":[{\"timestamp\":\"2\",\"source_id\":\"app\",\"instance_id\":\"0\",\
             \"deprecated_tags\":{},\"tags\":{\"source_type\":\"APP\"},\
             \"log\":{\"payload\":\"aGVsbG8=\",\"type\":\"OUT\"}}]}}\n"
        );

        for path in ["/api/v1/read/a%2Fb", "/api/v1/read/a/b"] {
            assert!(answer(path).await.2.contains("\"source_id\":\"a/b\""));
        }
        assert_eq!(
            answer("/api/v1/read/nobody").await.2,
            "{\"envelopes\":{\"batch\":[]}}\n"
        );

        let (status, _, body) = answer("/api/v1/meta").await;
        assert_eq!(status, 200);
        assert_eq!(
            body,
            "{\"meta\":{\"a/b\":{\"count\":\"1\",\"expired\":\"0\",\"oldest_timestamp\":\"3\",\
             \"newest_timestamp\":\"3\"},\"app\":{\"count\":\"2\",\"expired\":\"0\",\"oldest_timestamp\":\"1\",\
             \"newest_timestamp\":\"2\"}}}\n"
        );
    }

    /// The list of sources counts as unread until it was read, and is refused to a caller with too many unread answers.
    #[tokio::test]
    async fn the_list_of_sources_counts_as_unread() {
        let gateway = gateway();
        let ask = || {
            let request = Request::get("/api/v1/meta").body(Body::empty()).expect("a request");
            gateway.clone().router().oneshot(request)
        };
        let unread = ask().await.expect("infallible");
        assert_eq!(unread.status(), StatusCode::OK);
        let share = || vec![0; PER_CALLER];
        assert!(gateway.hold(CERTIFICATE_CALLER)(share()).is_err(), "it is not read yet");
        drop(unread);
        let share = gateway.hold(CERTIFICATE_CALLER)(share()).expect("its share");
        let refused = ask().await.expect("infallible");
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(share);
        assert_eq!(ask().await.expect("infallible").status(), StatusCode::OK);
    }

    /// Errors have gRPC's code, the text, and no details.
    #[tokio::test]
    async fn errors_are_the_originals() {
        let (status, _, body) = answer("/api/v1/read/app?limit=1001").await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            "{\"code\":2,\"message\":\"Limit (1001) must be 1000 or less\",\"details\":[]}\n"
        );
        assert_eq!(answer("/api/v1/read/app?limit=many").await.0, 400);
        assert_eq!(answer("/api/v1/read/app?envelope_types=SPAN").await.0, 400);
        assert_eq!(answer("/api/v1/nothing").await.0, 404);
        assert_eq!(answer("/api/v1/query?query=up").await.0, 501);
    }
}
