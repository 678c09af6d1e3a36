//! A router for one test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use weir_flow::LogContext;
use weir_platform_gorouter_proxy::{Config, Error, RawCertificate, RawConfig, Server};
use weir_platform_gorouter_table::{Registered, Registration, Registry};
use weir_service::{Shutdown, Trigger};
use weir_tls::{Authority, IdentityFiles};

/// A router that serves until it is dropped.
pub(crate) struct Router {
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: SocketAddr,
    pub(crate) registry: Arc<Registry>,
    pub(crate) authority: Authority,
    pub(crate) stop: Trigger,
    pub(crate) at_once: Trigger,
    pub(crate) status_address: Option<SocketAddr>,
    pub(crate) routes_address: Option<SocketAddr>,
    running: parking_lot::Mutex<Option<JoinHandle<Result<(), Error>>>>,
    _directory: TempDir,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.fire();
    }
}

/// A router with the configuration that `change` makes of the default one.
pub(crate) async fn router_with(change: impl FnOnce(&mut RawConfig)) -> Router {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::open_or_create(directory.path()).expect("a CA");
    let identity = authority
        .issue("gorouter", &["gorouter", "localhost"])
        .expect("a certificate");
    let mut raw = RawConfig {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        listen_tls: Some("127.0.0.1:0".parse().expect("an address")),
        certificates: vec![RawCertificate {
            cert: identity.cert.clone(),
            key: identity.key.clone(),
        }],
        identity: Some(identity),
        ..RawConfig::default()
    };
    // Nothing listens there: routes come from the test.
    raw.nats.servers = vec!["127.0.0.1:9".parse().expect("an address")];
    change(&mut raw);
    let config = Config::try_from(raw).expect("valid");
    let (stop, context) = LogContext::in_memory("gorouter");
    let server = Server::bind(config, context).await.expect("bound");
    let (at_once, end) = Shutdown::new();
    Router {
        status_address: server.status_addr(),
        routes_address: server.routes_addr(),
        address: server.local_addr().expect("a port"),
        tls_address: server.tls_addr().expect("a port"),
        registry: Arc::clone(server.registry()),
        authority,
        stop,
        at_once,
        running: parking_lot::Mutex::new(Some(tokio::spawn(server.run_until(end)))),
        _directory: directory,
    }
}

/// A router with the default configuration.
pub(crate) async fn router() -> Router {
    router_with(|_| {}).await
}

impl Router {
    /// A route to `backend`, of which only the address is known.
    pub(crate) fn route(&self, route: &str, backend: SocketAddr) {
        self.register(route, backend, |_| {});
    }

    /// A route to `backend`, whose registration says what `change` makes of it.
    pub(crate) fn register(&self, route: &str, backend: SocketAddr, change: impl FnOnce(&mut Registration<'_>)) {
        let host = backend.ip().to_string();
        let mut registration = Registration::plain(&host, backend.port());
        change(&mut registration);
        let registered = self.registry.register(route, &registration, Instant::now());
        assert!(
            matches!(registered, Registered::Added | Registered::Updated),
            "{registered:?}"
        );
    }

    /// Waits until a router that was asked to stop has done so.
    pub(crate) async fn ended(&self) {
        let running = self.running.lock().take().expect("once");
        soon(running).await.expect("no panic").expect("ran");
    }

    /// Another certificate of the router's CA.
    pub(crate) fn issue(&self, name: &str, names: &[&str]) -> IdentityFiles {
        self.authority.issue(name, names).expect("a certificate")
    }
}

/// Waits for what must not take for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("in time")
}
