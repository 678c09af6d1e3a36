//! A syslog agent as a process of its own, with whatever its test wants it to have, and its bindings from a
//! [`Controller`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use weir_flow::LogContext;
use weir_net::Target;
use weir_rpc::producer::{Pace, Producer};
use weir_tls::{Authority, ClientTls, IdentityFiles};

use super::controller::{Controller, DrainItem};
use super::ports::steady_port;
use crate::processes::{Processes, configuration};
use crate::{Books, Emitter, Https, eventually};

const AGENT: &str = "syslog-agent";
const CACHE: &str = "binding-cache";

/// How a drain is doing, as the agent says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DrainStatus {
    /// Which binding.
    pub binding: String,
    /// Whose lines.
    pub app: String,
    /// Where to, without secrets.
    pub url: String,
    /// `connecting`, `flowing`, `retrying`, `spilling`, `over_limit`, `removed`.
    pub state: String,
    /// Lines that wait.
    pub waiting_lines: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Lines that were lost.
    pub lost: u64,
    /// Why it does not flow.
    pub last_error: Option<String>,
    /// Age of the oldest line that waits.
    pub lag_ms: f64,
}

/// An agent before it starts.
#[derive(Debug, Default)]
pub struct AgentBuilder {
    keys: BTreeMap<String, String>,
    state_dir: Option<PathBuf>,
    /// The keys of a binding cache between it and the feed, if there is to be one.
    cache: Option<BTreeMap<String, String>>,
}

impl AgentBuilder {
    /// Sets a key of its configuration, `spill.bytes`, to a value in TOML.
    #[must_use]
    pub fn key(mut self, key: &str, value: impl ToString) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// Keeps its backlog there instead of in its own folder.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Gets its bindings from a binding cache, which gets them from the feed: small pages, asked for often. These keys of
    /// the cache's configuration are set, to values in TOML.
    #[must_use]
    pub fn with_binding_cache(mut self, keys: &[(&str, &str)]) -> Self {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.cache = Some(keys.collect());
        self
    }

    /// Starts it, without bindings.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(self) -> anyhow::Result<DrainAgent> {
        let processes = Processes::new("weir-drains-")?;
        let authority = Authority::open_or_create(&processes.path("certs"))?;
        let client = authority.issue("client", &[])?;
        let identity = authority.issue(AGENT, &["metron", "localhost"])?;
        let controller = Controller::start(&authority.issue("controller", &["binding-cache"])?).await?;
        let (address, status) = (steady_port()?, steady_port()?);
        let mut agent = DrainAgent {
            processes,
            controller,
            address,
            status,
            cache: None,
            client,
        };
        if let Some(keys) = self.cache {
            agent
                .run_cache(keys, &authority.issue(CACHE, &["binding-cache", "localhost"])?)
                .await?;
        }
        let bindings = agent.cache.unwrap_or_else(|| agent.controller.address());
        let state_dir = self.state_dir.unwrap_or_else(|| agent.processes.path("state"));
        let mut keys = BTreeMap::from([
            ("status_listen".to_owned(), format!("\"{status}\"")),
            ("state_dir".to_owned(), format!("{state_dir:?}")),
            ("cache.address".to_owned(), format!("\"{bindings}\"")),
        ]);
        keys.extend(self.keys);
        let config = configuration(address, keys, &identity);
        agent.processes.run(AGENT, AGENT, &config, address).await?;
        Ok(agent)
    }
}

/// An agent at work.
#[derive(Debug)]
pub struct DrainAgent {
    processes: Processes,
    /// Where its bindings come from.
    pub controller: Controller,
    address: SocketAddr,
    status: SocketAddr,
    cache: Option<SocketAddr>,
    client: IdentityFiles,
}

impl DrainAgent {
    /// One to be started.
    #[must_use]
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    /// One with its default configuration and without bindings.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Replaces all bindings, and waits until the agent has them.
    ///
    /// # Errors
    /// When it does not take them.
    pub async fn bind(&self, items: impl IntoIterator<Item = DrainItem>) -> anyhow::Result<()> {
        let items: Vec<DrainItem> = items.into_iter().collect();
        self.controller.set(items);
        let wanted = self.controller.revision();
        eventually("the agent has the bindings", async || {
            let answer = self.https()?.get(&self.status_url()).await?;
            let has = answer.header("etag");
            ensure!(has == wanted, "it has {has}, wanted {wanted}");
            Ok::<_, anyhow::Error>(())
        })
        .await
        .with_context(|| self.log())
    }

    async fn run_cache(&mut self, keys: BTreeMap<String, String>, identity: &IdentityFiles) -> anyhow::Result<()> {
        let address = steady_port()?;
        let IdentityFiles { ca, cert, key } = identity;
        let mut all = BTreeMap::from([
            (
                "api.url".to_owned(),
                format!("\"https://{}\"", self.controller.address()),
            ),
            ("api.server_name".to_owned(), "\"binding-cache\"".to_owned()),
            ("api.identity.ca".to_owned(), format!("{ca:?}")),
            ("api.identity.cert".to_owned(), format!("{cert:?}")),
            ("api.identity.key".to_owned(), format!("{key:?}")),
            ("api.interval".to_owned(), "\"200ms\"".to_owned()),
            ("api.batch_size".to_owned(), "50".to_owned()),
        ]);
        all.extend(keys);
        let config = configuration(address, all, identity);
        self.processes.run(CACHE, CACHE, &config, address).await?;
        self.cache = Some(address);
        Ok(())
    }

    /// What the binding cache says about itself.
    ///
    /// # Errors
    /// When there is none, or it does not say.
    pub async fn cache_status(&self) -> anyhow::Result<serde_json::Value> {
        let address = self.cache.context("no binding cache")?;
        let answer = self.https()?.get(&format!("https://{address}/v1/status")).await?;
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }

    /// Kills the binding cache.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_cache(&mut self) -> anyhow::Result<()> {
        self.processes.kill(CACHE)
    }

    /// How all drains are doing.
    ///
    /// # Errors
    /// When the agent does not say.
    pub async fn status(&self) -> anyhow::Result<Vec<DrainStatus>> {
        let answer = self.https()?.get(&self.status_url()).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }

    /// Says that the drains at this host and port can be reached, as `weir drain probe` does.
    ///
    /// # Errors
    /// When the agent does not take it.
    pub async fn reached(&self, place: &str) -> anyhow::Result<()> {
        let url = format!("{}/reached?address={place}", self.status_url());
        let answer = self.https()?.post(&url, "text/plain", "*/*", "").await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        Ok(())
    }

    /// How the drains of `app` are doing.
    ///
    /// # Errors
    /// When the agent does not say.
    pub async fn status_of(&self, app: &str) -> anyhow::Result<Vec<DrainStatus>> {
        let mut all = self.status().await?;
        all.retain(|status| status.app == app);
        Ok(all)
    }

    /// Waits until what the agent says of the only drain of `app` is as it should be.
    ///
    /// # Errors
    /// When it does not become so: what it says instead.
    pub async fn says(&self, app: &str, wanted: impl Fn(&DrainStatus) -> bool) -> anyhow::Result<DrainStatus> {
        eventually(&format!("the drain of {app}"), async || {
            let all = self.status_of(app).await?;
            let found = all.iter().find(|status| wanted(status)).cloned();
            found.with_context(|| format!("{all:?}"))
        })
        .await
        .with_context(|| self.log())
    }

    /// A connection to it, as one of the original's clients.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn emitter(&self) -> anyhow::Result<Emitter> {
        Ok(Emitter::open(&self.target()?))
    }

    /// A producer that knows what became of what it sent, of which so many envelopes may be on the way.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn producer(&self, window: u64) -> anyhow::Result<Producer> {
        let (_, context) = LogContext::in_memory("producer");
        let pace = Pace {
            window,
            ..Pace::default()
        };
        Ok(Producer::new(
            &self.target()?,
            context.ledger,
            &context.service.tasks,
            pace,
        ))
    }

    fn target(&self) -> anyhow::Result<Target> {
        Ok(Target {
            address: self.address.to_string(),
            server_name: "metron".to_owned(),
            tls: ClientTls::mutual(&self.client)?,
        })
    }

    /// Its ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn books(&self) -> anyhow::Result<Books> {
        self.processes.books()
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.processes.kill(AGENT)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not stop, or says that something went wrong.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.processes.stop(AGENT).await
    }

    /// Starts it again, at the same address with the same backlog.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.processes.start_again(AGENT).await
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident_bytes(&mut self) -> anyhow::Result<u64> {
        self.processes.resident_bytes(AGENT)
    }

    /// What it wrote to its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.processes.log(AGENT)
    }

    /// Where its backlog is, unless it was told otherwise.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.processes.path("state")
    }

    fn status_url(&self) -> String {
        format!("https://{}/v1/drains", self.status)
    }

    fn https(&self) -> anyhow::Result<Https> {
        Ok(Https::new(ClientTls::mutual(&self.client)?))
    }
}
