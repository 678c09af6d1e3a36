//! Runs a syslog agent as a process, with a configuration of the test's choice and bindings from a [`Controller`].

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
use crate::{Emitter, Https, Ledgers, eventually};

const AGENT: &str = "syslog-agent";
const CACHE: &str = "binding-cache";

/// The state of a drain, as the agent reports it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DrainStatus {
    /// The id of the binding.
    pub binding: String,
    /// The app whose lines are sent.
    pub app: String,
    /// The drain URL, without secrets.
    pub url: String,
    /// One of `connecting`, `flowing`, `retrying`, `spilling`, `over_limit`, `removed`.
    pub state: String,
    /// The number of lines that wait.
    pub waiting_lines: u64,
    /// The size of the waiting lines in bytes.
    pub waiting_bytes: u64,
    /// The number of lines that were lost.
    pub lost: u64,
    /// The last error, if the drain does not take lines.
    pub last_error: Option<String>,
    /// The age of the oldest waiting line in milliseconds.
    pub lag_ms: f64,
}

/// The configuration of an agent that has not started yet.
#[derive(Debug, Default)]
pub struct AgentBuilder {
    keys: BTreeMap<String, String>,
    state_dir: Option<PathBuf>,
    /// The configuration keys of a binding cache between the agent and the feed, if there is one.
    cache: Option<BTreeMap<String, String>>,
}

impl AgentBuilder {
    /// Sets a configuration key, such as `spill.bytes`, to a value in TOML.
    #[must_use]
    pub fn key(mut self, key: &str, value: impl ToString) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// Keeps the backlog in `dir` instead of in the agent's own folder.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Puts a binding cache between the agent and the feed. The cache reads the feed often, in small pages. `keys` are
    /// keys of its configuration, with values in TOML.
    #[must_use]
    pub fn with_binding_cache(mut self, keys: &[(&str, &str)]) -> Self {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.cache = Some(keys.collect());
        self
    }

    /// Starts the agent without bindings.
    ///
    /// # Errors
    /// Fails when the agent does not start.
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

/// A running syslog agent.
#[derive(Debug)]
pub struct DrainAgent {
    processes: Processes,
    /// The source of its bindings.
    pub controller: Controller,
    address: SocketAddr,
    status: SocketAddr,
    cache: Option<SocketAddr>,
    client: IdentityFiles,
}

impl DrainAgent {
    /// Returns a builder with the default configuration.
    #[must_use]
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    /// Starts an agent with the default configuration and without bindings.
    ///
    /// # Errors
    /// Fails when the agent does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Replaces all bindings, and waits until the agent has applied them.
    ///
    /// # Errors
    /// Fails when the agent does not apply them in time.
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

    /// Returns the status document of the binding cache.
    ///
    /// # Errors
    /// Fails when there is no binding cache, or it does not answer.
    pub async fn cache_status(&self) -> anyhow::Result<serde_json::Value> {
        let address = self.cache.context("no binding cache")?;
        let answer = self.https()?.get(&format!("https://{address}/v1/status")).await?;
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }

    /// Kills the binding cache with SIGKILL.
    ///
    /// # Errors
    /// Fails when there is no binding cache.
    pub fn kill_cache(&mut self) -> anyhow::Result<()> {
        self.processes.kill(CACHE)
    }

    /// Returns the states of all drains.
    ///
    /// # Errors
    /// Fails when the agent does not answer.
    pub async fn status(&self) -> anyhow::Result<Vec<DrainStatus>> {
        let answer = self.https()?.get(&self.status_url()).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }

    /// Reports to the agent that the drains at `place`, a host and port, can be reached. `weir drain probe` does this.
    ///
    /// # Errors
    /// Fails when the agent does not accept the report.
    pub async fn report_reachable(&self, place: &str) -> anyhow::Result<()> {
        let url = format!("{}/reached?address={place}", self.status_url());
        let answer = self.https()?.post(&url, "text/plain", "*/*", "").await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        Ok(())
    }

    /// Returns the states of the drains of `app`.
    ///
    /// # Errors
    /// Fails when the agent does not answer.
    pub async fn status_of(&self, app: &str) -> anyhow::Result<Vec<DrainStatus>> {
        let mut all = self.status().await?;
        all.retain(|status| status.app == app);
        Ok(all)
    }

    /// Waits until the state of the only drain of `app` fulfils `wanted`.
    ///
    /// # Errors
    /// Fails with the last state when it does not do so in time.
    pub async fn wait_for_status(
        &self,
        app: &str,
        wanted: impl Fn(&DrainStatus) -> bool,
    ) -> anyhow::Result<DrainStatus> {
        eventually(&format!("the drain of {app}"), async || {
            let all = self.status_of(app).await?;
            let found = all.iter().find(|status| wanted(status)).cloned();
            found.with_context(|| format!("{all:?}"))
        })
        .await
        .with_context(|| self.log())
    }

    /// Returns a connection to the agent that behaves as the original's clients do.
    ///
    /// # Errors
    /// Fails when the certificates cannot be used.
    pub fn emitter(&self) -> anyhow::Result<Emitter> {
        Ok(Emitter::open(&self.target()?))
    }

    /// Returns a producer that learns which envelopes were acknowledged, with up to `window` envelopes in flight.
    ///
    /// # Errors
    /// Fails when the certificates cannot be used.
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

    /// Returns the agent's ledger.
    ///
    /// # Errors
    /// Fails when the ledger cannot be read.
    pub fn ledgers(&self) -> anyhow::Result<Ledgers> {
        self.processes.ledgers()
    }

    /// Kills the agent with SIGKILL.
    ///
    /// # Errors
    /// Fails when the agent does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.processes.kill(AGENT)
    }

    /// Stops the agent with SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// Fails when the agent does not stop, or ends with an error.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.processes.stop(AGENT).await
    }

    /// Starts the agent again, at the same address and with the same backlog.
    ///
    /// # Errors
    /// Fails when the agent does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.processes.start_again(AGENT).await
    }

    /// Returns the agent's resident memory in bytes.
    ///
    /// # Errors
    /// Fails when the agent does not run.
    pub fn resident_bytes(&mut self) -> anyhow::Result<u64> {
        self.processes.resident_bytes(AGENT)
    }

    /// Returns the agent's standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.processes.log(AGENT)
    }

    /// Returns the default folder of the backlog. [`AgentBuilder::state_dir`] can set another one.
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
