//! The server processes under measurement: Weir's components, or the original's.

mod original;
mod weir;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use weir_net::Target;
use weir_tls::{Authority, ClientTls, IdentityFiles};

use crate::cpu::{Usages, usage};

/// Opens the firehose and SQL of the servers under measurement, which listen on the loopback interface only.
const TOKEN: &str = "the-token-of-the-benchmark-and-nothing-else";

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);

/// Whose programs.
#[derive(Debug, Clone)]
pub(crate) enum Programs {
    /// The `weir` program.
    Weir(PathBuf),
    /// The folder with the original's.
    Original(PathBuf),
}

impl Programs {
    /// What is to be measured: Weir, and the original where there is one.
    pub(crate) fn find(
        weir: Option<PathBuf>,
        original: Option<PathBuf>,
        only_original: bool,
    ) -> anyhow::Result<Vec<Self>> {
        let mut programs = Vec::new();
        if !only_original {
            programs.push(Self::Weir(match weir {
                Some(path) => path,
                None => weir_testkit::weir_binary()?.to_owned(),
            }));
        }
        if let Some(folder) = original {
            ensure!(
                folder.join("router").is_file(),
                "`{}` has no program `router`",
                folder.display()
            );
            programs.push(Self::Original(folder));
        }
        Ok(programs)
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Weir(_) => "weir",
            Self::Original(_) => "original",
        }
    }
}

/// What a scenario needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Doppler,
    Rlp,
    TrafficController,
    LogCache,
    SyslogAgent,
    SyslogServer,
    Uaa,
    Nats,
    TcpRouter,
}

/// The routes of a TCP router: an echo and a source of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpRoutes {
    /// The routing API that knows them.
    pub(crate) api: SocketAddr,
    pub(crate) external: [SocketAddr; 2],
    pub(crate) backends: [SocketAddr; 2],
}

/// Where a server can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) doppler: SocketAddr,
    pub(crate) rlp: SocketAddr,
    pub(crate) traffic_controller: SocketAddr,
    pub(crate) log_cache: SocketAddr,
    pub(crate) sql: SocketAddr,
    pub(crate) syslog_agent: SocketAddr,
    pub(crate) syslog_server: SocketAddr,
    pub(crate) uaa: SocketAddr,
    pub(crate) nats: SocketAddr,
    /// Where the syslog agent finds its bindings.
    pub(crate) bindings: Option<SocketAddr>,
    /// External ports of a TCP router.
    pub(crate) external: [SocketAddr; 2],
    /// What a TCP router is to serve.
    pub(crate) tcp: Option<TcpRoutes>,
    /// The address of a port that no scenario calls.
    gateway: SocketAddr,
    status: SocketAddr,
    metrics: SocketAddr,
    other_metrics: SocketAddr,
    /// Nobody listens there.
    nobody: SocketAddr,
}

/// Running servers; killed when dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    dir: TempDir,
    authority: Authority,
    client: IdentityFiles,
    pub(crate) addresses: Addresses,
    children: BTreeMap<String, Child>,
    pub(crate) token: String,
}

impl Servers {
    /// Starts these parts and waits until they listen.
    pub(crate) async fn start(programs: &Programs, parts: &[Part]) -> anyhow::Result<Self> {
        let mut servers = Self::prepare()?;
        for part in parts {
            servers.launch(programs, *part).await?;
        }
        Ok(servers)
    }

    /// Certificates and addresses, and no server yet.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("weir-bench-").tempdir()?;
        let authority = Authority::open_or_create(&dir.path().join("certs"))?;
        let client = authority.issue("client", &[])?;
        let servers = Self {
            dir,
            authority,
            client,
            addresses: Addresses::free()?,
            children: BTreeMap::new(),
            token: format!("bearer {TOKEN}"),
        };
        servers.write_token()?;
        Ok(servers)
    }

    /// Starts a part and waits until it listens.
    pub(crate) async fn launch(&mut self, programs: &Programs, part: Part) -> anyhow::Result<()> {
        match programs {
            Programs::Weir(program) => weir::start(self, program, part)?,
            Programs::Original(folder) => original::start(self, folder, part)?,
        }
        self.listening(self.address(part)).await
    }

    const fn address(&self, part: Part) -> SocketAddr {
        match part {
            Part::Doppler => self.addresses.doppler,
            Part::Rlp => self.addresses.rlp,
            Part::TrafficController => self.addresses.traffic_controller,
            Part::LogCache => self.addresses.log_cache,
            Part::SyslogAgent => self.addresses.syslog_agent,
            Part::SyslogServer => self.addresses.syslog_server,
            Part::Uaa => self.addresses.uaa,
            Part::Nats => self.addresses.nats,
            Part::TcpRouter => self.addresses.status,
        }
    }

    /// The identity of a server.
    pub(crate) fn identity(&self, name: &str, names: &[&str]) -> anyhow::Result<IdentityFiles> {
        Ok(self.authority.issue(name, names)?)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The file with the token that opens firehose and SQL.
    fn token_file(&self) -> PathBuf {
        self.path().join("token")
    }

    /// The file in which UAA leaves the secrets of its clients.
    pub(crate) fn client_secrets(&self) -> PathBuf {
        self.path().join("client-secrets.json")
    }

    fn write_token(&self) -> anyhow::Result<()> {
        let mut file = File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.token_file())?;
        Ok(file.write_all(TOKEN.as_bytes())?)
    }

    /// Starts a process; what it prints goes to a file.
    fn spawn(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let log = File::create(self.path().join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        self.children.insert(name.to_owned(), child);
        Ok(())
    }

    /// Waits until a server listens at `address`.
    pub(crate) async fn listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).await.is_err() {
            for (name, child) in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    let log = std::fs::read_to_string(self.dir.path().join(format!("{name}.log")));
                    let log = log.unwrap_or_default();
                    bail!("{name} ended with {status}: {}", log.lines().last().unwrap_or_default());
                }
            }
            ensure!(Instant::now() < deadline, "nobody listens on {address}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A gRPC server as our clients call it.
    pub(crate) fn target(&self, address: SocketAddr, server_name: &str) -> anyhow::Result<Target> {
        Ok(Target {
            address: address.to_string(),
            server_name: server_name.to_owned(),
            tls: ClientTls::mutual(&self.client)?,
        })
    }

    /// TLS of clients without a certificate.
    pub(crate) fn trusting(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::trusting(&self.client.ca)?)
    }

    /// What each server used so far.
    pub(crate) fn usages(&self) -> anyhow::Result<Usages> {
        self.children
            .iter()
            .map(|(name, child)| Ok((name.clone(), usage(child.id())?)))
            .collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Addresses {
    /// Free ports of the loopback interface; all are held until the last was chosen.
    fn free() -> anyhow::Result<Self> {
        let mut held = Vec::new();
        let mut next = || -> anyhow::Result<SocketAddr> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            held.push(listener);
            Ok(address)
        };
        Ok(Self {
            doppler: next()?,
            rlp: next()?,
            traffic_controller: next()?,
            log_cache: next()?,
            sql: next()?,
            syslog_agent: next()?,
            syslog_server: next()?,
            uaa: next()?,
            nats: next()?,
            bindings: None,
            external: [next()?, next()?],
            tcp: None,
            gateway: next()?,
            status: next()?,
            metrics: next()?,
            other_metrics: next()?,
            nobody: next()?,
        })
    }
}
