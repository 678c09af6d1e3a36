//! Sources of bindings: a cloud controller's feed (version 5, with the pages of the original), and the interface of a
//! binding cache with the same bindings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use weir_tls::{ALPN_H2, ALPN_HTTP1, IdentityFiles, ServerTls};

use super::pki::Certificate;

const FEED: &str = "/internal/v5/syslog_drain_urls";
const BINDINGS: &str = "/v2/bindings";
const AGGREGATE: &str = "/v2/aggregate";

/// One app that is bound to one drain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainItem {
    /// The drain URL.
    pub url: String,
    /// The app.
    pub app: String,
    /// The host name of its messages: `org.space.app`.
    pub hostname: String,
    /// The client certificate that the agent shows to the drain.
    pub identity: Option<Certificate>,
    /// The CA of the drain's certificate, as PEM.
    pub ca: Option<String>,
}

impl DrainItem {
    /// Returns a binding of `app` to `url`, without credentials.
    #[must_use]
    pub fn new(app: &str, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            app: app.to_owned(),
            hostname: format!("org.space.{app}"),
            ..Self::default()
        }
    }

    /// Sets the CA that the agent trusts for this drain.
    #[must_use]
    pub fn trusting(mut self, ca: &str) -> Self {
        self.ca = Some(ca.to_owned());
        self
    }

    /// Sets the certificate that the agent shows to this drain.
    #[must_use]
    pub fn showing(mut self, identity: &Certificate) -> Self {
        self.identity = Some(identity.clone());
        self
    }
}

/// The running feed. Dropping it ends it.
#[derive(Debug)]
pub struct Controller {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The bindings by URL, in the order of the pages.
    items: Mutex<BTreeMap<String, Vec<DrainItem>>>,
    /// The aggregate drains, which receive the lines of all apps.
    aggregates: Mutex<Vec<DrainItem>>,
    /// Increases with every change of the bindings.
    revision: watch::Sender<u64>,
    requests: AtomicU64,
    failing: Mutex<Option<StatusCode>>,
}

impl Controller {
    /// Starts a feed with this identity. Clients need a certificate of the same CA.
    ///
    /// # Errors
    /// Fails when the feed cannot listen.
    pub async fn start(identity: &IdentityFiles) -> anyhow::Result<Self> {
        let tls = ServerTls::mutual(identity)?.with_alpn(&[ALPN_H2, ALPN_HTTP1]);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next() => continue,
                };
                let Ok((stream, _)) = accepted else { continue };
                let (tls, shared) = (tls.clone(), Arc::clone(&served));
                connections.spawn(async move { drop(serve(stream, &tls, shared).await) });
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Returns the address of the feed.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces all bindings.
    pub fn set(&self, items: impl IntoIterator<Item = DrainItem>) {
        let mut by_url = BTreeMap::<String, Vec<DrainItem>>::new();
        for item in items {
            by_url.entry(item.url.clone()).or_default().push(item);
        }
        *lock(&self.shared.items) = by_url;
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    /// Replaces all aggregate drains. Their apps are ignored.
    pub fn set_aggregates(&self, items: impl IntoIterator<Item = DrainItem>) {
        *lock(&self.shared.aggregates) = items.into_iter().collect();
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    /// Returns the present ETag of the cache's answers.
    #[must_use]
    pub fn revision(&self) -> String {
        self.shared.tag()
    }

    /// Answers every further request with `status`, or with the bindings again if there is none.
    pub fn fail(&self, status: Option<u16>) {
        *lock(&self.shared.failing) = status.and_then(|status| StatusCode::from_u16(status).ok());
    }

    /// Returns the number of requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, tls: &ServerTls, shared: Arc<Shared>) -> anyhow::Result<()> {
    let stream = tls.acceptor().accept(stream).await?;
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(&request, &shared).await }
    });
    auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| anyhow::anyhow!(error))
}

impl Shared {
    fn tag(&self) -> String {
        format!("\"{}\"", *self.revision.borrow())
    }
}

async fn answer(request: &http::Request<Incoming>, shared: &Shared) -> anyhow::Result<http::Response<Full<Bytes>>> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let failing = *lock(&shared.failing);
    if let Some(status) = failing {
        return json_answer(status, None, &json!({ "errors": [{ "detail": "told to fail" }] }));
    }
    match request.uri().path() {
        FEED => {
            let page = page(request.uri().query().unwrap_or_default(), shared)?;
            json_answer(StatusCode::OK, None, &page)
        }
        BINDINGS | AGGREGATE => bindings(request, shared).await,
        _ => json_answer(StatusCode::NOT_FOUND, None, &json!({})),
    }
}

/// Answers with all bindings. A caller that has them already can ask to wait for a change.
async fn bindings(request: &http::Request<Incoming>, shared: &Shared) -> anyhow::Result<http::Response<Full<Bytes>>> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut changes = shared.revision.subscribe();
    changes.mark_unchanged();
    let known = header(IF_NONE_MATCH.as_str());
    let tag = shared.tag();
    if known == tag {
        let wait = header("prefer")
            .strip_prefix("wait=")
            .and_then(|text| text.parse().ok());
        let changed = tokio::time::timeout(Duration::from_secs(wait.unwrap_or(0)), changes.changed()).await;
        if changed.is_err() {
            let response = http::Response::builder()
                .status(StatusCode::NOT_MODIFIED)
                .header(ETAG, tag);
            return Ok(response.body(Full::default())?);
        }
    }
    // The tag is read before the bindings. If they change in between, the caller has an old tag, asks again, and gets
    // them again.
    let tag = shared.tag();
    let all: Vec<Value> = if request.uri().path() == AGGREGATE {
        let aggregates = lock(&shared.aggregates);
        aggregates
            .iter()
            .map(|item| json!({ "url": item.url, "credentials": [secrets(item, Value::Null)] }))
            .collect()
    } else {
        let items = lock(&shared.items);
        items
            .iter()
            .map(|(url, items)| json!({ "url": url, "credentials": credentials(items) }))
            .collect()
    };
    json_answer(StatusCode::OK, Some(&tag), &Value::Array(all))
}

fn json_answer(status: StatusCode, tag: Option<&str>, body: &Value) -> anyhow::Result<http::Response<Full<Bytes>>> {
    let mut response = http::Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json");
    if let Some(tag) = tag {
        response = response.header(ETAG, tag);
    }
    Ok(response.body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?)
}

/// Returns the page that `query` asks for.
fn page(query: &str, shared: &Shared) -> anyhow::Result<Value> {
    let parameter = |name: &str, otherwise: usize| -> anyhow::Result<usize> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        match pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next() {
            Some(value) => value.parse().with_context(|| query.to_owned()),
            None => Ok(otherwise),
        }
    };
    let (size, offset) = (parameter("batch_size", 50)?, parameter("next_id", 0)?);
    let items = lock(&shared.items);
    let results: Vec<Value> = items
        .iter()
        .skip(offset)
        .take(size)
        .map(|(url, items)| json!({ "url": url, "credentials": credentials(items) }))
        .collect();
    let next = (!results.is_empty()).then_some(offset + size);
    Ok(json!({ "results": results, "next_id": next }))
}

/// Returns one entry for each set of certificates, with the apps that use it.
fn credentials(items: &[DrainItem]) -> Vec<Value> {
    let mut sets: Vec<(&DrainItem, Vec<Value>)> = Vec::new();
    for item in items {
        let app = json!({ "hostname": item.hostname, "app_id": item.app });
        match sets
            .iter_mut()
            .find(|(first, _)| first.identity == item.identity && first.ca == item.ca)
        {
            Some((_, apps)) => apps.push(app),
            None => sets.push((item, vec![app])),
        }
    }
    sets.into_iter()
        .map(|(item, apps)| secrets(item, Value::Array(apps)))
        .collect()
}

/// Returns a set of certificates with its apps.
fn secrets(item: &DrainItem, apps: Value) -> Value {
    let identity = item.identity.as_ref();
    json!({
        "cert": identity.map(|identity| identity.cert.as_str()).unwrap_or_default(),
        "key": identity.map(|identity| identity.key.as_str()).unwrap_or_default(),
        "ca": item.ca.as_deref().unwrap_or_default(),
        "apps": apps,
    })
}
