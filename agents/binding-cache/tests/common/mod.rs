//! A binding cache under test, a cloud controller with faults on demand, and the client of an agent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_agents_binding_cache::{Config, Error, RawApi, RawConfig, Server};
use weir_agents_lib::testing::{PATIENCE, Pki};
use weir_drain::Resolver;
use weir_flow::LogContext;
use weir_net::serve_http;
use weir_service::Trigger;
use weir_tls::{ALPN_HTTP1, ClientTls, IdentityFiles, ServerTls, server_name};

/// Returns a resolver with the names that the tests use.
pub(crate) fn resolver() -> Resolver {
    let address = |text: &str| vec![text.parse().unwrap()];
    Resolver::fixed([
        ("logs.example", address("192.0.2.1")),
        ("other.example", address("192.0.2.2")),
        ("inside.example", address("10.0.0.7")),
    ])
}

/// Returns a drain of one app.
pub(crate) fn item(url: &str, app: &str) -> Value {
    json!({
        "url": url,
        "credentials": [{"cert": "", "key": "", "ca": "", "apps": [{"hostname": format!("o.s.{app}"), "app_id": app}]}],
    })
}

/// Returns `count` drains with one app each.
pub(crate) fn items(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| {
            item(
                &format!("syslog://logs.example:{}", 1000 + number),
                &format!("app-{number}"),
            )
        })
        .collect()
}

/// The behaviour of the cloud controller.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    #[default]
    Normal,
    /// Answers with this status and text.
    Status(u16, String),
    /// Answers 200 with this text.
    Body(String),
    /// Does not answer.
    NeverAnswers,
    /// Answers, but each page takes this long.
    Slow(Duration),
    /// After the first page, this number of drains before the offset is removed.
    Shrinks(usize),
}

#[derive(Debug, Default)]
struct Controlled {
    items: Vec<Value>,
    behaviour: Behaviour,
    requests: usize,
}

/// The feed of a cloud controller, over mTLS.
pub(crate) struct CloudController {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<Controlled>>,
    _trigger: Trigger,
}

impl CloudController {
    pub(crate) async fn start(pki: &Pki, items: Vec<Value>) -> Self {
        let identity = pki.issue("cloud-controller", &["cc.internal"]);
        let tls = ServerTls::mutual(&identity).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, context) = LogContext::in_memory("cloud-controller");
        let state = Arc::new(Mutex::new(Controlled {
            items,
            ..Controlled::default()
        }));
        let router = Router::new()
            .route("/internal/v5/syslog_drain_urls", get(page))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { serve_http(listener, &tls, router, context.shutdown.clone(), &context.tasks).await });
        Self {
            address,
            state,
            _trigger: trigger,
        }
    }

    pub(crate) fn set(&self, items: Vec<Value>) {
        self.state.lock().items = items;
    }

    pub(crate) fn behaves(&self, behaviour: Behaviour) {
        self.state.lock().behaviour = behaviour;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().requests
    }
}

/// Returns a page as the original does: by offset over the sorted URLs.
async fn page(State(state): State<Arc<Mutex<Controlled>>>, Query(query): Query<BTreeMap<String, usize>>) -> Response {
    let behaviour = {
        let mut state = state.lock();
        state.requests += 1;
        state.behaviour.clone()
    };
    match behaviour {
        Behaviour::Normal | Behaviour::Shrinks(_) => {}
        Behaviour::Status(status, text) => return (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Behaviour::Body(text) => return text.into_response(),
        Behaviour::NeverAnswers => std::future::pending().await,
        Behaviour::Slow(duration) => tokio::time::sleep(duration).await,
    }
    let (size, offset) = (query["batch_size"], query["next_id"]);
    let mut state = state.lock();
    let mut items = state.items.clone();
    items.sort_by_key(|item| item["url"].as_str().unwrap().to_owned());
    let results: Vec<Value> = items.iter().skip(offset).take(size).cloned().collect();
    let next = (!results.is_empty()).then_some(offset + size);
    if let Behaviour::Shrinks(gone) = state.behaviour {
        items.drain(..gone.min(items.len()));
        state.items = items;
        state.behaviour = Behaviour::Normal;
    }
    axum::Json(json!({ "results": results, "next_id": next })).into_response()
}

/// A running cache.
pub(crate) struct Cache {
    pub(crate) address: SocketAddr,
    pub(crate) context: LogContext,
    pub(crate) client: ClientTls,
    pub(crate) trigger: Trigger,
    pub(crate) running: JoinHandle<Result<(), Error>>,
}

/// An answer to an agent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: String,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Cache {
    pub(crate) async fn start(pki: &Pki, raw: RawConfig) -> Self {
        let (trigger, context) = LogContext::in_memory("binding-cache");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            identity: pki.issue("binding-cache", &["binding-cache"]),
            ..raw
        };
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap()
            .with_resolver(resolver());
        Self {
            address: server.local_addr(),
            context,
            client: ClientTls::mutual(&pki.client).unwrap(),
            trigger,
            running: tokio::spawn(server.run()),
        }
    }

    /// Returns a configuration that polls `controller` frequently.
    pub(crate) fn asking(pki: &Pki, controller: &CloudController) -> RawConfig {
        RawConfig {
            api: RawApi {
                url: Some(format!("https://{}", controller.address)),
                server_name: Some("cc.internal".to_owned()),
                identity: client_of(pki),
                interval: weir_config::Duration::from_millis(100),
                batch_size: 40,
                timeout: weir_config::Duration::from_secs(5),
                deadline: weir_config::Duration::from_secs(20),
                ..RawApi::default()
            },
            ..RawConfig::default()
        }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_get(path, headers).await.unwrap()
    }

    pub(crate) async fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(self.address).await.map_err(|error| text(&error))?;
        let connector = self.client.with_alpn(&[ALPN_HTTP1]).connector();
        let name = server_name("binding-cache").unwrap();
        let stream = connector.connect(name, stream).await.map_err(|error| text(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| text(&error))?;
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", "binding-cache");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.map_err(|error| text(&error))?;
        let etag = answer
            .headers()
            .get("etag")
            .map_or("", |etag| etag.to_str().unwrap())
            .to_owned();
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| text(&error))?
            .to_bytes();
        Ok(Answer { status, etag, body })
    }

    /// Returns the URLs of the list that is served, or `None` while there is no list.
    pub(crate) async fn urls(&self) -> Option<Vec<String>> {
        let answer = self.get("/v2/bindings", &[]).await;
        (answer.status == StatusCode::OK).then(|| urls_of(&answer.json()))
    }

    /// Waits until the status satisfies `wanted`, and returns it.
    pub(crate) async fn status_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = self.get("/v1/status", &[]).await.json();
            if wanted(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "not in time: {what}: {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Requests a stop.
    pub(crate) fn fire(&self) {
        self.trigger.fire();
    }

    pub(crate) async fn stop(self) {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.context.finish(PATIENCE).await.unwrap();
    }
}

pub(crate) fn urls_of(list: &Value) -> Vec<String> {
    let items = list.as_array().unwrap();
    items
        .iter()
        .map(|item| item["url"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn client_of(pki: &Pki) -> IdentityFiles {
    pki.client.clone()
}

/// Replaces a file as `weir drain add` does.
pub(crate) fn replace(path: &PathBuf, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, path).unwrap();
}
