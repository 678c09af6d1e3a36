//! A routing API with an issuer of tokens, and a client of it that says what it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tempfile::TempDir;
use weir_auth::access::ByGroups;
use weir_auth::testing::TestIssuer;
use weir_auth::{Authorizer, Verifier};
use weir_config::{ListenAddr, Secret};
use weir_db::DatabaseUrl;
use weir_db::servers::{Kind, Server as Databases};
use weir_net::{AnswerLimits, HttpsClient};
use weir_platform_routing_api::{Config, RawConfig, Server};
use weir_service::{Context, Trigger};
use weir_tls::{Authority, ClientTls, IdentityFiles};

/// All scopes of the routing API.
pub(crate) const ALL: [&str; 4] = [
    "routing.routes.read",
    "routing.routes.write",
    "routing.router_groups.read",
    "routing.router_groups.write",
];

const LIMITS: AnswerLimits = AnswerLimits {
    deadline: Duration::from_secs(20),
    body: 16 << 20,
};

/// The certificates and the issuer of a deployment, and its database.
pub(crate) struct Deployment {
    pub(crate) issuer: Arc<TestIssuer>,
    pub(crate) authority: Authority,
    pub(crate) dir: TempDir,
    pub(crate) database: DatabaseUrl,
    _databases: Arc<Databases>,
}

/// A routing API that runs.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) is_active: bool,
    pub(crate) token: String,
    pub(crate) identity: IdentityFiles,
    https: HttpsClient,
    trigger: Trigger,
    running: tokio::task::JoinHandle<()>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Deployment {
    /// A deployment with a database of its own on this server.
    pub(crate) async fn on(databases: &Arc<Databases>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            issuer: TestIssuer::new(),
            authority: Authority::open_or_create(&dir.path().join("certs")).unwrap(),
            database: databases.database().await,
            dir,
            _databases: Arc::clone(databases),
        }
    }

    pub(crate) async fn on_sqlite() -> Self {
        let databases = Databases::start(Kind::Sqlite).await.unwrap();
        Self::on(&Arc::new(databases)).await
    }

    pub(crate) async fn start(&self) -> Api {
        self.start_with(|_| ()).await
    }

    /// Starts a routing API with another configuration.
    pub(crate) async fn start_with(&self, change: impl FnOnce(&mut RawConfig)) -> Api {
        let identity = self.authority.issue("routing-api", &["routing-api"]).unwrap();
        let mut raw = RawConfig {
            listen: "127.0.0.1:0".parse::<ListenAddr>().unwrap(),
            identity: identity.clone(),
            database: Secret::new(self.database.reveal_for_tests()),
            ..RawConfig::default()
        };
        raw.lock.retry = weir_config::Duration::from_millis(20);
        change(&mut raw);
        let (trigger, context) = Context::new("routing-api");
        let checks_tokens = !raw.disable_access_control;
        let config = Config::try_from(raw).unwrap();
        let server = if checks_tokens {
            let verifier = self.verifier(&context);
            let authorizer: Arc<dyn Authorizer> = Arc::<Verifier>::clone(&verifier);
            Server::with_authorizer(config, context.clone(), authorizer, Some(&verifier)).await
        } else {
            Server::bind(config, context.clone()).await
        };
        let server = server.unwrap();
        let tls = ClientTls::mutual(&identity).unwrap();
        Api {
            address: server.local_addr(),
            is_active: server.is_active(),
            token: self.issuer.token("operator", &ALL),
            identity,
            https: HttpsClient::of("routing-api", &tls).unwrap(),
            trigger,
            running: tokio::spawn(async move {
                server.run().await.unwrap();
                context.finish(Duration::from_secs(20)).await.unwrap();
            }),
        }
    }

    fn verifier(&self, context: &Context) -> Arc<Verifier> {
        let mut config = self.issuer.config();
        config.audiences = vec!["routing".to_owned()];
        Verifier::start(
            &config,
            Arc::<TestIssuer>::clone(&self.issuer),
            Arc::new(ByGroups::new()),
            context.clock.clone(),
            &context.shutdown,
            &context.tasks,
        )
    }
}

impl Api {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}/routing/v1{path}", self.address)
    }

    /// Makes a request with this value of `Authorization`; without the header if it is empty.
    pub(crate) async fn ask(&self, method: Method, path: &str, authorization: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(method).uri(self.url(path));
        let mut request = request.body(body.into()).unwrap();
        if !authorization.is_empty() {
            let authorization = authorization.parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        let (head, body) = self.https.send(request, LIMITS).await.unwrap().into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Makes a request with a token that may do everything.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.ask(method, path, &format!("bearer {}", self.token), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body).await
    }

    /// The guid of the group that is there from the start.
    pub(crate) async fn default_group(&self) -> String {
        let groups = self.get("/router_groups").await.json();
        groups[0]["guid"].as_str().unwrap().to_owned()
    }

    /// Stops it and waits until it has stopped.
    pub(crate) async fn stop(self) {
        self.trigger.fire();
        self.running.await.unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn begin_to_stop(&self) {
        self.trigger.fire();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks a refusal, to the letter.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, name: &str, message: &str) {
        let said: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let expected = serde_json::json!({"name": name, "message": message});
        assert_eq!((self.status.as_u16(), &said), (status, &expected), "{self:?}");
    }

    /// Checks a success without a body.
    #[track_caller]
    pub(crate) fn done(&self, status: u16) {
        assert_eq!((self.status.as_u16(), &self.body[..]), (status, &b""[..]), "{self:?}");
    }
}
