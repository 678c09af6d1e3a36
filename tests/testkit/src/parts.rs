//! The components of a stack one by one, as a deployment runs them: `weir <component> --config FILE`, several dopplers.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::bail;
use weir_tls::{Authority, IdentityFiles};

use crate::processes::{Processes, configuration};
use crate::{Books, Emitter, Endpoints, Https, LogCache};

/// At least this many characters make a token.
const TOKEN: &str = "the-token-of-a-test-stack-and-of-nothing-else";

/// Running components, each a process; killed when dropped.
#[derive(Debug)]
pub struct Parts {
    endpoints: Endpoints,
    dopplers: Vec<String>,
    processes: Processes,
}

impl Parts {
    /// So many dopplers (`doppler-0`, …) with an agent, an RLP, a traffic controller and a log cache that use all of them.
    ///
    /// # Errors
    /// When one does not come up.
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

    /// Where everything listens; `doppler` is the first one.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The token, as the `Authorization` header wants it.
    #[must_use]
    pub fn token(&self) -> String {
        format!("bearer {TOKEN}")
    }

    /// A connection to the agent, as one of the original's clients.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub async fn emitter(&self) -> anyhow::Result<Emitter> {
        Emitter::connect(&self.endpoints).await
    }

    /// The faces of the log cache.
    ///
    /// # Errors
    /// When the CA cannot be read.
    pub fn log_cache(&self) -> anyhow::Result<LogCache> {
        let https = Https::new(self.endpoints.trusting()?).with_token(&self.token());
        Ok(LogCache::new(&self.endpoints, https))
    }

    /// The ledgers of all processes by their names.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn books(&self) -> anyhow::Result<Books> {
        self.processes.books()
    }

    /// The ledgers once nothing is in flight any more.
    ///
    /// # Errors
    /// When the parts do not come to rest.
    pub async fn books_at_rest(&self) -> anyhow::Result<Books> {
        Books::at_rest(|| self.books()).await
    }

    /// Kills a process with SIGKILL.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.processes.kill(name)
    }

    /// Starts a killed process again, at the same address.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        self.processes.start_again(name).await
    }

    /// What a process wrote to its standard error.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        self.processes.log(name)
    }

    fn doppler_list(&self) -> String {
        format!("{:?}", self.dopplers)
    }

    /// The TOML of a component.
    fn config(&self, listen: &SocketAddr, keys: &[(&str, String)], identity: &IdentityFiles) -> String {
        configuration(*listen, keys.iter().cloned(), identity)
    }
}

/// Free ports of the loopback interface; all are held until the last was chosen.
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
