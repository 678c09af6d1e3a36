//! Runs components as processes, `weir <component> --config FILE`, with all files in one folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use weir_tls::IdentityFiles;

use crate::{Ledgers, eventually, weir_binary};

/// Running components. Dropping this kills them.
#[derive(Debug)]
pub(crate) struct Processes {
    dir: TempDir,
    processes: BTreeMap<String, Process>,
}

#[derive(Debug)]
struct Process {
    component: &'static str,
    address: SocketAddr,
    child: Child,
}

/// Returns the TOML configuration of a component. Keys of tables follow all other keys, as TOML requires.
pub(crate) fn configuration<K: AsRef<str>>(
    listen: SocketAddr,
    keys: impl IntoIterator<Item = (K, String)>,
    identity: &IdentityFiles,
) -> String {
    let mut text = format!("listen = \"{listen}\"\n");
    for (key, value) in keys {
        let _infallible = writeln!(text, "{} = {value}", key.as_ref());
    }
    let IdentityFiles { ca, cert, key } = identity;
    let _infallible = writeln!(text, "[identity]\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}");
    text
}

impl Processes {
    /// Creates the folder, whose name begins with `prefix`, without any process.
    pub(crate) fn new(prefix: &str) -> anyhow::Result<Self> {
        Ok(Self {
            dir: tempfile::Builder::new().prefix(prefix).tempdir()?,
            processes: BTreeMap::new(),
        })
    }

    /// Returns the path of a file or folder in the folder of the processes.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the process `name`, which runs `component`, and waits until it listens.
    pub(crate) async fn run(
        &mut self,
        name: &str,
        component: &'static str,
        config: &str,
        address: SocketAddr,
    ) -> anyhow::Result<()> {
        fs::write(self.path(&format!("{name}.toml")), config)?;
        let process = Process {
            component,
            address,
            child: self.spawn(name, component)?,
        };
        self.processes.insert(name.to_owned(), process);
        self.listening(name).await
    }

    fn spawn(&self, name: &str, component: &str) -> anyhow::Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))?;
        Command::new(weir_binary()?)
            .arg(component)
            .arg("--config")
            .arg(self.path(&format!("{name}.toml")))
            .arg("--ledger")
            .arg(self.ledger(name))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("weir")
    }

    async fn listening(&mut self, name: &str) -> anyhow::Result<()> {
        let log = self.path(&format!("{name}.log"));
        let process = self
            .processes
            .get_mut(name)
            .with_context(|| format!("no process {name}"))?;
        let mut ended = None;
        let up = eventually(name, async || {
            ended = ended.or(process.child.try_wait()?);
            if ended.is_some() {
                return Ok(());
            }
            TcpStream::connect(process.address).await.map(drop)
        })
        .await;
        let shown = || fs::read_to_string(&log).unwrap_or_default();
        if let Some(status) = ended {
            bail!("{name} ended with {status}:\n{}", shown());
        }
        up.with_context(shown)
    }

    fn process(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.processes
            .get_mut(name)
            .with_context(|| format!("no process {name}"))
    }

    /// Kills a process with SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.process(name)?;
        process.child.kill()?;
        process.child.wait()?;
        Ok(())
    }

    /// Stops a process with SIGTERM, and waits for its end.
    pub(crate) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.process(name)?;
        let pid = Pid::from_raw(i32::try_from(process.child.id())?).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        let status = eventually("the end of a process", async || {
            process.child.try_wait()?.context("it runs")
        })
        .await?;
        anyhow::ensure!(status.success(), "{name} ended with {status}:\n{}", self.log(name));
        Ok(())
    }

    /// Starts a stopped or killed process again, at the same address.
    pub(crate) async fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        let component = self.process(name)?.component;
        let child = self.spawn(name, component)?;
        self.process(name)?.child = child;
        self.listening(name).await
    }

    /// Returns the ledgers of all processes by name.
    pub(crate) fn ledgers(&self) -> anyhow::Result<Ledgers> {
        let ledgers: Vec<(String, PathBuf, &str)> = self
            .processes
            .iter()
            .map(|(name, process)| (name.clone(), self.ledger(name), process.component))
            .collect();
        Ledgers::read_each(
            ledgers
                .iter()
                .map(|(name, path, component)| (name.as_str(), path.as_path(), *component)),
        )
    }

    fn ledger(&self, name: &str) -> PathBuf {
        self.path(&format!("ledger-{name}"))
    }

    /// Returns the resident memory of a process in bytes.
    pub(crate) fn resident_bytes(&mut self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process(name)?.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(number.context("VmRSS")? * 1024)
    }

    /// Returns the standard error of a process.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

impl Drop for Processes {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the components said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.processes.keys() {
                eprintln!("--- {name}\n{}", self.log(name));
            }
        }
        for process in self.processes.values_mut() {
            drop(process.child.kill());
            drop(process.child.wait());
        }
    }
}
