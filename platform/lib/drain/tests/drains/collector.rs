//! An HTTPS server that records its requests and answers by a script.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use weir_drain::Binding;

use crate::support::*;

pub(crate) const BOTH: [&[&[u8]]; 2] = [&[b"http/1.1"], &[b"h2"]];

/// A request that a collector received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

/// An answer of a collector.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) delay: Duration,
    /// Whether the connection is cut in the middle of the body.
    pub(crate) reset: bool,
    /// Whether the connection is closed after the answer.
    pub(crate) close: bool,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: String::new(),
        delay: Duration::ZERO,
        reset: false,
        close: false,
    }
}

pub(crate) type Script = Arc<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

/// An HTTPS server that records its requests, and gives the answer of `script` to the nth request.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) most_at_once: Arc<AtomicUsize>,
    pub(crate) ca: Ca,
    pub(crate) running: JoinSet<()>,
}

struct Body {
    left: Option<Bytes>,
    reset: bool,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.left.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.reset => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
            None => Poll::Ready(None),
        }
    }
}

impl Collector {
    pub(crate) async fn start(alpn: &[&[u8]], script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(alpn, auto::Builder::new(TokioExecutor::new()), script).await
    }

    pub(crate) async fn with(
        alpn: &[&[u8]],
        builder: auto::Builder<TokioExecutor>,
        script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let ca = Ca::root("Collector CA");
        let server = Server {
            alpn: alpn.iter().map(|name| name.to_vec()).collect(),
            ..Server::default()
        };
        let acceptor = server.acceptor(&ca.issue("collector", &["127.0.0.1"], Time::Now));
        let (listener, address) = listen().await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections: Arc<AtomicUsize> = Arc::default();
        let most_at_once: Arc<AtomicUsize> = Arc::default();
        let mut running = JoinSet::new();
        let script: Script = Arc::new(script);
        let (kept, counted, most) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&most_at_once));
        running.spawn(async move {
            let mut serving = JoinSet::new();
            let under_way: Arc<AtomicUsize> = Arc::default();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, builder, script) = (acceptor.clone(), builder.clone(), Arc::clone(&script));
                let (kept, counted) = (Arc::clone(&kept), Arc::clone(&counted));
                let (most, under_way) = (Arc::clone(&most), Arc::clone(&under_way));
                _ = stream.set_nodelay(true);
                serving.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |request| {
                        let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                        let (most, under_way) = (Arc::clone(&most), Arc::clone(&under_way));
                        async move {
                            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            let answer = answer(request, &script, &kept).await;
                            under_way.fetch_sub(1, Ordering::SeqCst);
                            Ok::<_, Infallible>(answer)
                        }
                    });
                    _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            seen,
            connections,
            most_at_once,
            ca,
            running,
        }
    }

    pub(crate) fn binding(&self, scheme: &str) -> Binding {
        let url = format!(
            "{scheme}://us%2Fer:{SECRET}@{}/in?token={SECRET}&drain-data=all",
            self.address
        );
        with(&url, trusting(&self.ca.pem()))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Returns the accepted messages, and how many of them came more than once.
    pub(crate) fn numbers(&self) -> (BTreeSet<String>, usize) {
        numbers(
            &self
                .seen()
                .iter()
                .flat_map(|seen| seen.body.to_vec())
                .collect::<Vec<_>>(),
        )
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer(request: Request<Incoming>, script: &Script, kept: &Mutex<Vec<Seen>>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let seen = Seen {
        version: head.version,
        target: head.uri.path_and_query().unwrap().to_string(),
        headers: headers.collect(),
        body: body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default(),
    };
    let number = {
        let mut kept = kept.lock();
        kept.push(seen.clone());
        kept.len()
    };
    let reply = script(number, &seen);
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    if reply.close {
        response = response.header("connection", "close");
    }
    let body = Body {
        left: Some(reply.body.into()),
        reset: reply.reset,
    };
    response.body(body).unwrap()
}
