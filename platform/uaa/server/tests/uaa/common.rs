//! UAAs for tests, on each kind of database, and an HTTPS client that follows no redirects and keeps no cookies.

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

/// Returns the configuration of a test, with cheap hashes and all files in one folder.
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

/// Returns the address with its password, which is no secret in a test.
fn reveal(database: &DatabaseUrl) -> String {
    database.reveal_for_tests()
}

impl Uaa {
    /// Starts a UAA on a database, with a changed configuration. Its clock stands still until [`Uaa::pass`].
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

    /// Runs SQL on the database, past the UAA.
    pub async fn sql(&self, text: &'static str) {
        let database = weir_db::Database::open(&self.database).await.unwrap();
        database.execute(weir_db::sql(text)).await.unwrap();
        database.close().await;
    }

    /// Starts another node of this UAA, with its database, files and external URL, at another address.
    pub async fn another_node(&self) -> Self {
        self.another_node_with(|_| {}).await
    }

    /// Starts another node of this UAA with a changed configuration.
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

    /// Moves the clock of the UAA forward.
    pub fn pass(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }

    /// Stops the UAA in order. Returns its folder and database.
    pub async fn stop(self) -> (tempfile::TempDir, DatabaseUrl) {
        self.trigger.fire();
        self.running.await.unwrap();
        self.context.finish(Duration::from_secs(20)).await.unwrap();
        (self.folder, self.database)
    }

    /// Stops the UAA, and starts it with its folder and database and a changed configuration.
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

    /// Sends `POST /oauth/token` as a client.
    pub async fn token_as(&self, client: &str, secret: &str, fields: &[(&str, &str)]) -> Answer {
        self.client
            .post("/oauth/token")
            .basic(client, secret)
            .form(fields)
            .send()
            .await
    }

    /// Requests the password grant, as the cf CLI does.
    pub async fn login(&self, user: &str, password: &str) -> Answer {
        let fields = [("grant_type", "password"), ("username", user), ("password", password)];
        self.token_as("cf", "", &fields).await
    }

    /// Returns an access token of the administrator.
    pub async fn admin_token(&self) -> String {
        let answer = self.login("admin", &self.admin_password()).await;
        answer.ok()["access_token"].as_str().unwrap().to_owned()
    }

    /// Returns a client's own token.
    pub async fn client_token(&self, client: &str) -> String {
        let fields = [("grant_type", "client_credentials")];
        let answer = self.token_as(client, &self.secret(client), &fields).await;
        answer.ok()["access_token"].as_str().unwrap().to_owned()
    }

    /// Returns a token with all rights.
    pub async fn root(&self) -> String {
        self.client_token("admin").await
    }

    /// Creates a user. Returns the id.
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

    /// Adds a user to a group, which is created if it does not exist.
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

    /// Creates a client.
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

    /// Returns the sources that the bearer of a token may read.
    pub async fn reads(&self, token: &str) -> Vec<String> {
        let rights = self.client.get("/weir/v1/rights").bearer(token).send().await.ok();
        texts(&rights["sources"]).into_iter().map(str::to_owned).collect()
    }

    /// Returns the answer of `/check_token` for a token.
    pub async fn check(&self, token: &str) -> Answer {
        let secret = self.secret("doppler");
        let request = self.client.post("/check_token").basic("doppler", &secret);
        request.form(&[("token", token)]).send().await
    }
}

/// A database server of one kind, on which tests start UAAs.
pub struct Ground {
    server: DatabaseServer,
}

impl Ground {
    /// Starts the server. Returns `None`, with the reason on stderr, if it is not installed.
    pub async fn new(kind: Kind) -> Option<Self> {
        Some(Self {
            server: DatabaseServer::start(kind).await?,
        })
    }

    /// Starts a UAA on an empty database.
    pub async fn uaa(&self) -> Uaa {
        self.uaa_with(|_| {}).await
    }

    /// Starts two nodes of one UAA at the same moment, on an empty database.
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

    /// Starts a UAA on an empty database, with a changed configuration.
    pub async fn uaa_with(&self, change: impl FnOnce(&mut RawConfig)) -> Uaa {
        Uaa::on(tempfile::tempdir().unwrap(), self.server.database().await, change).await
    }
}

/// Returns the claims of a token without verification.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Returns the header of a token.
pub fn header_of(token: &str) -> Value {
    let payload = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Returns the texts of a JSON array.
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

/// A request under construction.
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A response with its whole body.
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

    /// Sends a request whose body may be too large. The server may close the connection before it has read all of it, which is
    /// an `Err`.
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

    /// Asserts a status. Returns the JSON of the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts the status 200. Returns the JSON of the body.
    #[track_caller]
    pub fn ok(&self) -> Value {
        self.expect(200)
    }

    /// Asserts a refusal with a status and an error code. Returns the JSON of the body.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["error"], error, "{body}");
        assert!(body["error_description"].is_string(), "{body}");
        body
    }
}

/// Returns a parameter of a URL's query.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Returns the query string of parameters.
pub fn query(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
