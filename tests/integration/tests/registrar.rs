//! The route registrar at a NATS server: what it publishes when routes come, change and go, and when NATS or a router starts
//! again.

#![allow(clippy::disallowed_methods, reason = "tests spawn and wait as they like")]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use weir_nats_client::{NatsClient, NatsSettings, Subscription};
use weir_net::{AnswerLimits, HttpsClient};
use weir_platform_route_registrar as registrar;
use weir_service::{Context, Trigger};
use weir_testkit::eventually;
use weir_tls::{Authority, ClientTls, IdentityFiles};

/// How long the end of a component may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running NATS server.
struct Nats {
    address: SocketAddr,
    trigger: Trigger,
    context: Context,
}

impl Nats {
    async fn start(listen: SocketAddr, identity: &IdentityFiles) -> anyhow::Result<Self> {
        let raw = weir_platform_nats::RawConfig {
            listen: listen.into(),
            identity: Some(identity.clone()),
            ..weir_platform_nats::RawConfig::default()
        };
        let (trigger, context) = Context::new("nats");
        let config = weir_platform_nats::Config::try_from(raw)?;
        let server = weir_platform_nats::Server::bind(config, context.clone()).await?;
        let address = server.local_addr();
        context.tasks.spawn("nats", async move { server.run().await.ok() });
        Ok(Self {
            address,
            trigger,
            context,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.trigger.fire();
        Ok(self.context.finish(DEADLINE).await?)
    }
}

fn settings(nats: SocketAddr, identity: &IdentityFiles) -> NatsSettings {
    NatsSettings {
        servers: vec![nats.into()],
        identity: Some(identity.clone()),
        server_name: Some("nats".to_owned()),
        ..NatsSettings::default()
    }
}

/// The messages of routing: the subject and the names of the routes.
struct Heard(Subscription);

impl Heard {
    async fn subscribe(client: &NatsClient) -> anyhow::Result<Self> {
        let mut state = client.state();
        state.wait_for(|state| state.is_connected()).await?;
        let subscription = client.subscribe("router.*", None).await?;
        client.flush().await?;
        Ok(Self(subscription))
    }

    /// The next message that is not a start of a router.
    async fn next(&mut self) -> anyhow::Result<(String, Value)> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.0.next()).await?;
            let message = message.ok_or_else(|| anyhow::anyhow!("the subscription ended"))?;
            if message.subject != "router.start" {
                return Ok((message.subject, serde_json::from_slice(&message.payload)?));
            }
        }
    }

    async fn expect(&mut self, subject: &str, uri: &str) -> anyhow::Result<Value> {
        let (got, message) = self.next().await?;
        anyhow::ensure!(got == subject && message["uris"] == json!([uri]), "{got}: {message}");
        Ok(message)
    }
}

/// Whether the registrar says that a route is in this state.
async fn state_is((client, url): &(HttpsClient, String), name: &str, wanted: &str) -> anyhow::Result<()> {
    let limits = AnswerLimits {
        deadline: DEADLINE,
        body: 1 << 20,
    };
    let answer = client.send(Request::get(url).body(Bytes::new())?, limits).await?;
    let status: registrar::status::Status = serde_json::from_slice(answer.body())?;
    let state = status
        .routes
        .iter()
        .find(|route| route.name == name)
        .map(|route| route.state.as_str());
    anyhow::ensure!(state == Some(wanted), "{state:?}");
    Ok(())
}

fn write_routes(path: &Path, uris: &[&str]) -> anyhow::Result<()> {
    let route =
        |uri: &&str| json!({"name": uri, "uris": [uri], "port": 8080, "registration_interval": "1h", "app_id": "app"});
    let routes: Vec<Value> = uris.iter().map(route).collect();
    let new = path.with_extension("new");
    fs::write(&new, json!({ "routes": routes }).to_string())?;
    Ok(fs::rename(new, path)?)
}

/// Setup: a NATS server with mTLS, a registrar with one fixed route and a file of routes, all with an interval of an hour; a
/// client that listens. Must hold: routes are registered when they come and unregistered when they go; all are registered at
/// once when a router starts, and when NATS was away; at the end all are unregistered.
#[tokio::test(flavor = "multi_thread")]
async fn routes_are_told_at_once() -> anyhow::Result<()> {
    let base = tempfile::tempdir()?;
    let authority = Authority::open_or_create(&base.path().join("certs"))?;
    let identity = authority.issue("nats", &[])?;
    let nats = Nats::start("127.0.0.1:0".parse()?, &identity).await?;
    let address = nats.address;
    let client = NatsClient::connect(&settings(address, &identity), "test").await?;
    let mut heard = Heard::subscribe(&client).await?;

    let file = base.path().join("routes.json");
    let fixed = serde_json::from_value(json!({
        "name": "fixed", "uris": ["fixed.example"], "tls_port": 8443, "server_cert_domain_san": "fixed", "tags": {"a": "b"},
        "registration_interval": "1h",
    }))?;
    let raw = registrar::RawConfig {
        listen: "127.0.0.1:0".parse()?,
        identity: identity.clone(),
        host: "10.0.0.7".to_owned(),
        availability_zone: "z1".to_owned(),
        nats: Some(settings(address, &identity)),
        dynamic_config_globs: vec![file.display().to_string()],
        dynamic_config_interval: weir_config::Duration::from_millis(20),
        routes: vec![fixed],
        ..registrar::RawConfig::default()
    };
    let (trigger, context) = Context::new("route-registrar");
    let server = registrar::Server::bind(registrar::Config::try_from(raw)?, context.clone()).await?;
    let states = HttpsClient::of("nats", &ClientTls::mutual(&identity)?)?;
    let states = (states, format!("https://{}/v1/routes", server.local_addr()));
    context.tasks.spawn("registrar", async move { server.run().await.ok() });

    let message = heard.expect("router.register", "fixed.example").await?;
    let id = message["private_instance_id"].clone();
    let expected = json!({
        "uris": ["fixed.example"], "host": "10.0.0.7", "tls_port": 8443, "tags": {"a": "b"}, "private_instance_id": id,
        "server_cert_domain_san": "fixed", "availability_zone": "z1",
    });
    anyhow::ensure!(message == expected, "{message}");

    write_routes(&file, &["one.example"])?;
    let message = heard.expect("router.register", "one.example").await?;
    anyhow::ensure!(
        message["app"] == "app" && message["private_instance_id"] == id,
        "{message}"
    );
    write_routes(&file, &["two.example"])?;
    heard.expect("router.unregister", "one.example").await?;
    heard.expect("router.register", "two.example").await?;

    client.publish_json("router.start", &json!({})).await?;
    let both = [heard.next().await?, heard.next().await?];
    let names = |both: &[(String, Value)]| {
        let mut names: Vec<String> = both
            .iter()
            .map(|(subject, message)| format!("{subject} {}", message["uris"][0]))
            .collect();
        names.sort();
        names
    };
    let expected = ["router.register \"fixed.example\"", "router.register \"two.example\""];
    anyhow::ensure!(names(&both) == expected, "{both:?}");

    // While NATS is away, a new route cannot be registered. It is as soon as NATS is back, long before its interval is over.
    nats.stop().await?;
    write_routes(&file, &["three.example"])?;
    eventually("the new route has failed", async || {
        state_is(&states, "three.example", "failed").await
    })
    .await?;
    let nats = Nats::start(address, &identity).await?;
    eventually("the new route is registered", async || {
        state_is(&states, "three.example", "registered").await
    })
    .await?;

    let mut state = client.state();
    state.wait_for(|state| state.is_connected()).await?;
    trigger.fire();
    let mut left = BTreeSet::from(["fixed.example", "three.example"]);
    while !left.is_empty() {
        // What was owed for `two.example` since NATS was away may come, too.
        let (subject, message) = heard.next().await?;
        if subject == "router.unregister" {
            left.retain(|uri| message["uris"] != json!([uri]));
        }
    }
    context.finish(DEADLINE).await?;
    nats.stop().await
}
