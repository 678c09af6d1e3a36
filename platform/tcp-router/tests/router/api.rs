//! A routing API and a UAA in one server, which say what a test decides.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tower::service_fn;
use weir_eventually::eventually;
use weir_net::{RequestBody, serve_http};
use weir_routing_api_client::models::TcpRoute;
use weir_routing_api_client::{Event, RawRoutingApi};
use weir_service::{Context, Trigger};
use weir_tls::{Authority, ServerTls};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The guid of the router group that there is, `default-tcp`.
pub(crate) const GROUP: &str = "guid-of-the-group";

/// The server.
pub(crate) struct Api {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    _trigger: Trigger,
}

/// What it says.
pub(crate) struct Shared {
    /// The routes of its list.
    pub(crate) list: Mutex<Vec<TcpRoute>>,
    /// Lists wait while this is set.
    pub(crate) holds: watch::Sender<bool>,
    /// Lists that were asked for.
    pub(crate) lists: AtomicUsize,
    /// Whether subscriptions are refused.
    pub(crate) refuses: watch::Sender<bool>,
    /// Subscriptions that were asked for.
    pub(crate) subscriptions: AtomicUsize,
    /// Where the present subscriber hears of events.
    subscriber: Mutex<Option<mpsc::Sender<Bytes>>>,
}

impl Api {
    pub(crate) async fn start(list: Vec<TcpRoute>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let identity = authority.issue("api", &["routing-api", "uaa"]).expect("a certificate");
        let tls = ServerTls::public(&identity.cert, &identity.key).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (trigger, context) = Context::new("api");
        let shared = Arc::new(Shared {
            list: Mutex::new(list),
            holds: watch::Sender::new(false),
            lists: AtomicUsize::new(0),
            refuses: watch::Sender::new(false),
            subscriptions: AtomicUsize::new(0),
            subscriber: Mutex::default(),
        });
        let answering = Arc::clone(&shared);
        let service = service_fn(move |request: Request<RequestBody>| {
            let shared = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(shared.answer(request.uri().path()).await) }
        });
        tokio::spawn(async move {
            serve_http(listener, &tls, service, context.shutdown.clone(), &context.tasks).await;
        });
        Self {
            dir,
            authority,
            address,
            shared,
            _trigger: trigger,
        }
    }

    /// The settings of its clients.
    pub(crate) fn settings(&self) -> RawRoutingApi {
        let secrets = self.dir.path().join("secrets.json");
        std::fs::write(&secrets, r#"{"tcp_router": "secret"}"#).expect("written");
        RawRoutingApi {
            url: format!("https://{}", self.address),
            server_name: "routing-api".to_owned(),
            identity: self
                .authority
                .issue("tcp-router", &["tcp-router"])
                .expect("a certificate"),
            uaa_url: format!("https://{}", self.address),
            uaa_ca: self.authority.ca_file(),
            client_id: "tcp_router".to_owned(),
            client_secret_file: secrets,
        }
    }
}

impl Shared {
    /// Tells the subscriber of a route.
    pub(crate) async fn tell(&self, name: &str, route: &TcpRoute) {
        let event = Event {
            id: "0".to_owned(),
            name: name.to_owned(),
            data: serde_json::to_vec(route).expect("JSON").into(),
        };
        eventually("there is a subscriber", || self.subscriber.lock().is_some()).await;
        let subscriber = self.subscriber.lock().clone().expect("a subscriber");
        subscriber.send(event.encode()).await.expect("a subscriber");
    }

    /// Ends the present subscription.
    pub(crate) fn hang_up(&self) {
        self.subscriber.lock().take();
    }

    async fn answer(&self, path: &str) -> Response<Body> {
        match path {
            "/oauth/token" => json(r#"{"access_token": "token", "expires_in": 600, "token_type": "bearer"}"#),
            "/routing/v1/router_groups" => json(&format!(
                r#"[{{"guid": "{GROUP}", "name": "default-tcp", "type": "tcp", "reservable_ports": "1024-65535"}}]"#
            )),
            "/routing/v1/tcp_routes" => {
                self.lists.fetch_add(1, Ordering::Relaxed);
                let list = serde_json::to_string(&*self.list.lock()).expect("JSON");
                let mut holds = self.holds.subscribe();
                holds.wait_for(|holds| !holds).await.expect("open");
                json(&list)
            }
            "/routing/v1/tcp_routes/events" => {
                self.subscriptions.fetch_add(1, Ordering::Relaxed);
                if *self.refuses.borrow() {
                    return status(StatusCode::SERVICE_UNAVAILABLE);
                }
                let (subscriber, events) = mpsc::channel(16);
                *self.subscriber.lock() = Some(subscriber);
                let events = futures::stream::unfold(events, async |mut events| Some((events.recv().await?, events)));
                let body = StreamBody::new(events.map(|bytes| Ok(Frame::data(bytes))));
                let mut response = Response::new(body.boxed_unsync());
                let kind = http::HeaderValue::from_static("text/event-stream");
                response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                response
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }
}

fn json(text: &str) -> Response<Body> {
    let mut response = Response::new(Full::from(text.to_owned()).boxed_unsync());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = json("{}");
    *response.status_mut() = status;
    response
}
