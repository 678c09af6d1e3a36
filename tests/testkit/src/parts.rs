//! Runs the components of a stack separately, as a deployment does: `weir <component> --config FILE`, with several
//! dopplers.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::bail;
use weir_tls::{Authority, IdentityFiles};

use crate::processes::{Processes, configuration};
use crate::{Emitter, Endpoints, Https, Ledgers, LogCache};

/// A token with the required length.
const TOKEN: &str = "the-token-of-a-test-stack-and-of-nothing-else";

/// Running components, each in its own process. Dropping this kills them.
#[derive(Debug)]
pub struct Parts {
    endpoints: Endpoints,
    dopplers: Vec<String>,
    processes: Processes,
}

impl Parts {
    /// Starts `dopplers` dopplers (`doppler-0`, …), and an agent, an RLP, a traffic controller and a log cache that use
    /// all of them.
    ///
    /// # Errors
    /// Fails when a component does not start.
    pub async fn start(dopplers: usize) -> anyhow::Result<Self> {
        let processes = Processes::new("weir-parts-")?;
        let certificates = Authority::open_or_create(&processes.path("certs"))?;
        let client = certificates.issue("client", &[])?;
        let ports = free_ports(dopplers + 6)?;
        let (of_dopplers, others) = ports.split_at(dopplers);
        let [agent, rlp, traffic_controller, log_cache, gateway, sql] = others else {
            bail!("six ports");
        };
        let endpoints = Endpoints {
            ca: client.ca,
            client_cert: client.cert,
            client_key: client.key,
            agent: agent.to_string(),
            loggregator_agent: agent.to_string(),
            doppler: of_dopplers.first().map(ToString::to_string).unwrap_or_default(),
            rlp: rlp.to_string(),
            traffic_controller: format!("wss://{traffic_controller}"),
            log_cache: log_cache.to_string(),
            log_cache_gateway: format!("https://{gateway}"),
            sql_http: format!("https://{sql}"),
            ..Endpoints::default()
        };
        let mut parts = Self {
            endpoints,
            dopplers: of_dopplers.iter().map(ToString::to_string).collect(),
            processes,
        };
        let token = parts.processes.path("token");
        write_secret(&token, TOKEN)?;

        let identity = |name: &str, names: &[&str]| certificates.issue(name, names);
        let doppler_identity = identity("doppler", &["doppler"])?;
        for (index, address) in of_dopplers.iter().enumerate() {
            let config = parts.config(address, &[], &doppler_identity);
            parts
                .processes
                .run(&format!("doppler-{index}"), "doppler", &config, *address)
                .await?;
        }
        let agent_identity = identity("agent", &["metron"])?;
        let config = parts.config(agent, &[("dopplers", parts.doppler_list())], &agent_identity);
        parts
            .processes
            .run("agent", "loggregator-agent", &config, *agent)
            .await?;
        let rlp_identity = identity("rlp", &["reverselogproxy"])?;
        let config = parts.config(rlp, &[("dopplers", parts.doppler_list())], &rlp_identity);
        parts.processes.run("rlp", "rlp", &config, *rlp).await?;
        let of_controller = identity("traffic-controller", &["trafficcontroller"])?;
        let keys = [
            ("dopplers", parts.doppler_list()),
            ("cert", format!("{:?}", of_controller.cert)),
            ("key", format!("{:?}", of_controller.key)),
            ("token_file", format!("{token:?}")),
        ];
        let config = parts.config(traffic_controller, &keys, &of_controller);
        parts
            .processes
            .run("traffic-controller", "traffic-controller", &config, *traffic_controller)
            .await?;
        let keys = [
            ("dopplers", parts.doppler_list()),
            ("gateway_listen", format!("\"{gateway}\"")),
            ("sql.listen", format!("\"{sql}\"")),
            ("sql.token_file", format!("{token:?}")),
        ];
        let config = parts.config(log_cache, &keys, &identity("log-cache", &["log-cache", "log_cache"])?);
        parts
            .processes
            .run("log-cache", "log-cache", &config, *log_cache)
            .await?;
        Ok(parts)
    }

    /// Returns all addresses. `doppler` is that of the first doppler.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Returns the value of the `Authorization` header.
    #[must_use]
    pub fn token(&self) -> String {
        format!("bearer {TOKEN}")
    }

    /// Returns a connection to the agent that behaves as the original's clients do.
    ///
    /// # Errors
    /// Fails when the certificates cannot be used.
    pub async fn emitter(&self) -> anyhow::Result<Emitter> {
        Emitter::connect(&self.endpoints).await
    }

    /// Returns a client of the log cache.
    ///
    /// # Errors
    /// Fails when the CA certificate cannot be read.
    pub fn log_cache(&self) -> anyhow::Result<LogCache> {
        let https = Https::new(self.endpoints.trusting()?).with_token(&self.token());
        Ok(LogCache::new(&self.endpoints, https))
    }

    /// Returns the ledgers of all processes by name.
    ///
    /// # Errors
    /// Fails when one cannot be read.
    pub fn ledgers(&self) -> anyhow::Result<Ledgers> {
        self.processes.ledgers()
    }

    /// Returns the ledgers when nothing is in flight any more.
    ///
    /// # Errors
    /// Fails when this does not happen in time.
    pub async fn ledgers_at_rest(&self) -> anyhow::Result<Ledgers> {
        Ledgers::at_rest(|| self.ledgers()).await
    }

    /// Kills a process with SIGKILL.
    ///
    /// # Errors
    /// Fails when there is no process with this name.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.processes.kill(name)
    }

    /// Starts a killed process again, at the same address.
    ///
    /// # Errors
    /// Fails when it does not start.
    pub async fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        self.processes.start_again(name).await
    }

    /// Returns the standard error of a process.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        self.processes.log(name)
    }

    fn doppler_list(&self) -> String {
        format!("{:?}", self.dopplers)
    }

    /// Returns the TOML configuration of a component.
    fn config(&self, listen: &SocketAddr, keys: &[(&str, String)], identity: &IdentityFiles) -> String {
        configuration(*listen, keys.iter().cloned(), identity)
    }
}

/// Returns free ports of the loopback interface. All are held until the last one is found, so that none comes twice.
fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

fn write_secret(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
