//! A UAA of its own for each test, on each kind of database, and a client that follows nothing and hides nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use url::form_urlencoded;
use weir_config::{ListenAddr, Secret};
use weir_db::DatabaseUrl;
use weir_db::servers::{Kind, Server as DatabaseServer};
use weir_platform_uaa_server::{Config, RawConfig, RawIdentity, Server};
use weir_service::{Clock, Context, ManualClock, Trigger, clock};
use weir_tls::{ALPN_HTTP1, Authority, ClientTls, server_name};

mod browsing;

pub use browsing::{Browser, hidden_fields};

/// A running UAA.
pub struct Uaa {
    pub url: String,
    pub ca: std::path::PathBuf,
    pub folder: tempfile::TempDir,
    pub first_start: Option<weir_platform_uaa_server::FirstStart>,
    pub client: Client,
    pub hands: ManualClock,
    database: DatabaseUrl,
    trigger: Trigger,
    context: Context,
    running: tokio::task::JoinHandle<()>,
}

/// The configuration of a test: quick hashes, one file for everything.
pub fn config(folder: &Path, database: &DatabaseUrl) -> RawConfig {
    let authority = Authority::open_or_create(&folder.join("tls")).unwrap();
    let identity = authority.issue("uaa", &[]).unwrap();
    let mut raw = RawConfig {
        listen: ListenAddr::loopback(0),
        identity: RawIdentity {
            ca: identity.ca,
            cert: identity.cert,
            key: identity.key,
        },
        database: Secret::new(reveal(database)),
        admin_password_file: folder.join("admin-password"),
        client_secrets_file: folder.join("client-secrets.json"),
        master_key_file: folder.join("master-key"),
        ..RawConfig::default()
    };
    raw.hashing.memory = weir_config::ByteSize::kib(64);
    raw.hashing.passes = 1;
    raw.passwords.shortest = 1;
    raw
}

/// The address with what is secret in it: there is nothing secret in a test's.
fn reveal(database: &DatabaseUrl) -> String {
    database.reveal_for_tests()
}

impl Uaa {
    /// One on a database, with something changed. Its time stands still until it is moved.
    pub async fn on(folder: tempfile::TempDir, database: DatabaseUrl, change: impl FnOnce(&mut RawConfig)) -> Self {
        let raw = config(folder.path(), &database);
        Self::launch(folder, database, raw, change, clock::now_nanos()).await
    }

    async fn launch(
        folder: tempfile::TempDir,
        database: DatabaseUrl,
        mut raw: RawConfig,
        change: impl FnOnce(&mut RawConfig),
        now: i64,
    ) -> Self {
        change(&mut raw);
        let (trigger, context) = Context::new("uaa");
        let (hands, clock) = Clock::manual(now);
        let context = context.with_clock(clock);
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap();
        let ca = folder.path().join("tls/ca.crt");
        let address = server.local_addr();
        let first_start = server.first_start().cloned();
        let url = server.external_url().to_owned();
        let running = tokio::spawn(async move { server.run().await.unwrap() });
        Self {
            client: Client::new(address, &ca),
            url,
            ca,
            folder,
            first_start,
            hands,
            database,
            trigger,
            context,
            running,
        }
    }

    /// Changes its database behind its back.
    pub async fn sql(&self, text: &'static str) {
        let database = weir_db::Database::open(&self.database).await.unwrap();
        database.execute(weir_db::sql(text)).await.unwrap();
        database.close().await;
    }

    /// Another node of the same UAA: the same database and files, an address of its own behind the same name.
    pub async fn another_node(&self) -> Self {
        self.another_node_with(|_| {}).await
    }

    /// Another node with something changed.
    pub async fn another_node_with(&self, change: impl FnOnce(&mut RawConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut raw = config(folder.path(), &self.database);
        raw.master_key_file = self.folder.path().join("master-key");
        raw.client_secrets_file = self.folder.path().join("client-secrets.json");
        raw.admin_password_file = self.folder.path().join("admin-password");
        raw.external_url = self.url.clone();
        let now = self.context.clock.now_nanos();
        Self::launch(folder, self.database.clone(), raw, change, now).await
    }

    /// Moves its clock forward.
    pub fn pass(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }

    /// Stops in order; what it kept stays.
    pub async fn stop(self) -> (tempfile::TempDir, DatabaseUrl) {
        self.trigger.fire();
        self.running.await.unwrap();
        self.context.finish(Duration::from_secs(20)).await.unwrap();
        (self.folder, self.database)
    }

    /// Stops, and starts again on what it kept.
    pub async fn restart(self, change: impl FnOnce(&mut RawConfig)) -> Self {
        let (folder, database) = self.stop().await;
        Self::on(folder, database, change).await
    }

    pub fn issuer(&self) -> String {
        format!("{}/oauth/token", self.url)
    }

    pub fn admin_password(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("admin-password"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub fn secret(&self, client: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("client-secrets.json")).unwrap();
        let secrets: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        secrets[client].clone()
    }

    /// `POST /oauth/token` as a client.
    pub async fn token_as(&self, client: &str, secret: &str, fields: &[(&str, &str)]) -> Answer {
        self.client
            .post("/oauth/token")
            .basic(client, secret)
            .form(fields)
            .send()
            .await
    }

    /// The password grant, as the cf CLI asks for it.
    pub async fn login(&self, user: &str, password: &str) -> Answer {
        let fields = [("grant_type", "password"), ("username", user), ("password", password)];
        self.token_as("cf", "", &fields).await
    }

    /// The administrator's access token.
    pub async fn admin_token(&self) -> String {
        let answer = self.login("admin", &self.admin_password()).await;
        answer.ok()["access_token"].as_str().unwrap().to_owned()
    }

    /// A client's own token.
    pub async fn client_token(&self, client: &str) -> String {
        let fields = [("grant_type", "client_credentials")];
        let answer = self.token_as(client, &self.secret(client), &fields).await;
        answer.ok()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token that may do everything.
    pub async fn root(&self) -> String {
        self.client_token("admin").await
    }

    /// Makes a user; its id.
    pub async fn add_user(&self, name: &str, password: &str) -> String {
        let root = self.root().await;
        let body = serde_json::json!({
            "userName": name,
            "password": password,
            "emails": [{"value": format!("{name}@example.com"), "primary": true}],
            "name": {"givenName": "Given", "familyName": "Family"},
        });
        let answer = self.client.post("/Users").bearer(&root).json(&body).send().await;
        answer.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Puts a user into a group, which is made if there is none.
    pub async fn add_to_group(&self, user: &str, group: &str) -> String {
        let root = self.root().await;
        let path = format!("/Groups?filter=displayName+eq+%22{group}%22");
        let found = self.client.get(&path).bearer(&root).send().await;
        let id = match found.ok()["resources"][0]["id"].as_str() {
            Some(id) => id.to_owned(),
            None => {
                let body = serde_json::json!({ "displayName": group });
                let made = self.client.post("/Groups").bearer(&root).json(&body).send().await;
                made.expect(201)["id"].as_str().unwrap().to_owned()
            }
        };
        let body = serde_json::json!({"value": user, "type": "USER", "origin": "uaa"});
        let path = format!("/Groups/{id}/members");
        self.client
            .post(&path)
            .bearer(&root)
            .json(&body)
            .send()
            .await
            .expect(201);
        id
    }

    /// Makes a client.
    pub async fn add_client(&self, client: Value) {
        let root = self.root().await;
        self.client
            .post("/oauth/clients")
            .bearer(&root)
            .json(&client)
            .send()
            .await
            .expect(201);
    }

    /// The sources that the bearer of a token may read.
    pub async fn reads(&self, token: &str) -> Vec<String> {
        let rights = self.client.get("/weir/v1/rights").bearer(token).send().await.ok();
        texts(&rights["sources"]).into_iter().map(str::to_owned).collect()
    }

    /// What `/check_token` says.
    pub async fn check(&self, token: &str) -> Answer {
        let secret = self.secret("doppler");
        let request = self.client.post("/check_token").basic("doppler", &secret);
        request.form(&[("token", token)]).send().await
    }
}

/// Where UAAs of one kind of database are started.
pub struct Ground {
    server: DatabaseServer,
}

impl Ground {
    /// `None`, with the reason on stderr, where the server is not installed.
    pub async fn new(kind: Kind) -> Option<Self> {
        Some(Self {
            server: DatabaseServer::start(kind).await?,
        })
    }

    /// A fresh UAA.
    pub async fn uaa(&self) -> Uaa {
        self.uaa_with(|_| {}).await
    }

    /// Two nodes of one fresh UAA that start at the same moment.
    pub async fn pair(&self) -> (Uaa, Uaa) {
        let database = self.server.database().await;
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut raw = config(two.path(), &database);
        raw.master_key_file = one.path().join("master-key");
        raw.client_secrets_file = one.path().join("client-secrets.json");
        raw.admin_password_file = one.path().join("admin-password");
        let second = Uaa::launch(two, database.clone(), raw, |_| {}, clock::now_nanos());
        tokio::join!(Uaa::on(one, database, |_| {}), second)
    }

    /// A fresh UAA with something changed.
    pub async fn uaa_with(&self, change: impl FnOnce(&mut RawConfig)) -> Uaa {
        Uaa::on(tempfile::tempdir().unwrap(), self.server.database().await, change).await
    }
}

/// The claims of a token, unchecked.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The header of a token.
pub fn header_of(token: &str) -> Value {
    let payload = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A list of texts.
pub fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

/// An HTTPS client.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: ClientTls,
}

/// A request that is being put together.
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    pub fn new(address: SocketAddr, ca: &Path) -> Self {
        Self {
            address,
            tls: ClientTls::trusting(ca).unwrap().with_alpn(&[ALPN_HTTP1]),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        Request {
            client: self.clone(),
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }
}

impl Request {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub fn basic(self, id: &str, secret: &str) -> Self {
        let pair = STANDARD.encode(format!("{id}:{secret}"));
        self.header("authorization", &format!("Basic {pair}"))
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("bearer {token}"))
    }

    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish()
            .into();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into();
        self.header("content-type", "application/json")
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// As `send`, for what may be cut off: a server need not read to its end what is too large.
    pub async fn try_send(self) -> Result<Answer, hyper::Error> {
        let stream = TcpStream::connect(self.client.address).await.unwrap();
        let name = server_name("localhost").unwrap();
        let stream = self.client.tls.connector().connect(name, stream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(header::HOST, self.client.address.to_string())
            .body(Full::new(self.body))
            .unwrap();
        request.headers_mut().extend(self.headers);
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The JSON of a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        self.expect(200)
    }

    /// Demands a refusal: status, code.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["error"], error, "{body}");
        assert!(body["error_description"].is_string(), "{body}");
        body
    }
}

/// A parameter of a URL's query.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A query string.
pub fn query(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
