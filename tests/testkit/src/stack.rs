//! Starts a stack as a user does: `weir up` in a directory of its own, on free ports.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Emitter, Endpoints, Https, Ledgers, LogCache, eventually, weir_binary};

/// How long a stack may take to stop.
const STOP: Duration = Duration::from_secs(60);
/// How much of a stack's log is shown with a failure, in bytes.
const LOG_TAIL: usize = 6000;

/// How the components run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All components run in one process.
    Embedded,
    /// Each component runs in its own process, and is restarted when that process ends.
    Processes,
}

/// The configuration of a stack that has not started yet.
#[derive(Debug)]
pub struct StackBuilder {
    mode: Mode,
    env: Vec<(String, String)>,
}

impl StackBuilder {
    /// Sets a configuration key of a component through its environment variable, such as `DOPPLER__QUEUE__ENVELOPES`.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.env.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts the stack, and waits until it serves.
    ///
    /// # Errors
    /// Fails when the stack does not start. The error contains the end of its log.
    pub async fn start(self) -> anyhow::Result<Stack> {
        let base = tempfile::Builder::new().prefix("weir-test-").tempdir()?;
        Stack::start_in(base, self).await
    }
}

/// A running stack. Dropping this stops it and removes its directory.
#[derive(Debug)]
pub struct Stack {
    base: Option<TempDir>,
    state_dir: PathBuf,
    child: Child,
    builder: StackBuilder,
    endpoints: Endpoints,
}

impl Stack {
    /// Returns a builder of a stack that runs in `mode`.
    #[must_use]
    pub const fn builder(mode: Mode) -> StackBuilder {
        StackBuilder { mode, env: Vec::new() }
    }

    /// Starts a stack with its default configuration.
    ///
    /// # Errors
    /// Fails when the stack does not start. The error contains the end of its log.
    pub async fn start(mode: Mode) -> anyhow::Result<Self> {
        Self::builder(mode).start().await
    }

    async fn start_in(base: TempDir, builder: StackBuilder) -> anyhow::Result<Self> {
        let state_dir = base.path().join("state");
        let log = File::options()
            .create(true)
            .append(true)
            .open(base.path().join("up.log"))?;
        let mut command = Command::new(weir_binary()?);
        command
            .arg("--state-dir")
            .arg(&state_dir)
            .args(["up", "--ports", "auto"]);
        if builder.mode == Mode::Processes {
            command.arg("--processes");
        }
        // The environment of the test may name another stack, which this one must not use.
        command.env_remove("WEIR_STATE_DIR");
        command.envs(builder.env.iter().map(|(key, value)| (key, value)));
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("weir up")?;
        let mut starting = Starting {
            child: Some(child),
            log: base.path().join("up.log"),
        };
        let endpoints = eventually("weir up", async || {
            starting.check()?;
            Endpoints::read(&state_dir)
        })
        .await
        .map_err(|error| starting.explain(&error))?;
        let child = starting.child.take().context("the process that was started")?;
        Ok(Self {
            base: Some(base),
            state_dir,
            child,
            builder,
            endpoints,
        })
    }

    /// Returns the addresses of the stack.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Returns the state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Returns the value of the `Authorization` header with the firehose token.
    ///
    /// # Errors
    /// Fails when the file of the token cannot be read.
    pub fn token(&self) -> anyhow::Result<String> {
        let path = self.state_dir.join("token");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(format!("bearer {}", text.trim()))
    }

    /// Returns a connection to the agent that behaves as the original's clients do.
    ///
    /// # Errors
    /// Fails when the agent cannot be reached.
    pub async fn emitter(&self) -> anyhow::Result<Emitter> {
        Emitter::connect(&self.endpoints).await
    }

    /// Returns a client of the log cache.
    ///
    /// # Errors
    /// Fails when the certificates or the token cannot be read.
    pub fn log_cache(&self) -> anyhow::Result<LogCache> {
        let https = Https::new(self.endpoints.trusting()?).with_token(&self.token()?);
        Ok(LogCache::new(&self.endpoints, https))
    }

    /// Returns a `weir` command that uses this stack.
    ///
    /// # Errors
    /// Fails when the program cannot be found.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(weir_binary()?);
        command.env("WEIR_STATE_DIR", &self.state_dir).stdin(Stdio::null());
        Ok(command)
    }

    /// Returns the ledgers of all components as their files have them.
    ///
    /// # Errors
    /// Fails when one cannot be read.
    pub fn ledgers(&self) -> anyhow::Result<Ledgers> {
        Ledgers::read(&self.state_dir.join("ledger"))
    }

    /// Returns the ledgers when nothing is in flight, and no counts change except those of the stack's own telemetry.
    ///
    /// # Errors
    /// Fails when this does not happen in time.
    pub async fn ledgers_at_rest(&self) -> anyhow::Result<Ledgers> {
        Ledgers::at_rest(|| self.ledgers()).await
    }

    /// Kills the process of `component` with SIGKILL. Its supervisor starts it again. Returns the process id of the
    /// killed process, for [`Stack::wait_for_restart`].
    ///
    /// # Errors
    /// Fails when the component has no process of its own.
    pub fn kill(&self, component: &str) -> anyhow::Result<i32> {
        self.signal(component, Signal::KILL)
    }

    /// Sends a signal to the process of `component`.
    ///
    /// # Errors
    /// Fails when the component has no process of its own.
    pub fn signal(&self, component: &str, signal: Signal) -> anyhow::Result<i32> {
        let now = Endpoints::read(&self.state_dir)?;
        let pid = *now
            .pids
            .get(component)
            .with_context(|| format!("no pid of {component}"))?;
        let own = now.pids.values().filter(|other| **other == pid).count() == 1;
        if !own {
            bail!("{component} has no process of its own: start the stack with `Mode::Processes`");
        }
        kill_process(pid_of(pid)?, signal)?;
        Ok(pid)
    }

    /// Returns the resident memory of all processes of the stack in bytes.
    ///
    /// # Errors
    /// Fails when a process has ended.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// Returns the largest resident memory that the processes of the stack have had so far, in bytes, summed over them.
    ///
    /// # Errors
    /// Fails when a process has ended.
    pub fn peak_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> anyhow::Result<u64> {
        let mut pids: Vec<i32> = Endpoints::read(&self.state_dir)?.pids.into_values().collect();
        pids.sort_unstable();
        pids.dedup();
        let mut kib = 0;
        for pid in pids {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find(|line| line.starts_with(what));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            kib += number.and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(kib * 1024)
    }

    /// Returns the lines in which the logs report a panic.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        self.logs()
            .iter()
            .flat_map(|path| {
                let text = std::fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let found: Vec<String> = text
                    .lines()
                    .filter(|line| line.contains("panicked"))
                    .map(str::to_owned)
                    .collect();
                found
            })
            .collect()
    }

    fn logs(&self) -> Vec<PathBuf> {
        let components = std::fs::read_dir(self.state_dir.join("logs"))
            .into_iter()
            .flatten()
            .flatten();
        let up = self.state_dir.parent().map(|base| base.join("up.log"));
        up.into_iter().chain(components.map(|entry| entry.path())).collect()
    }

    /// Waits until `component` runs in another process than `old`, and accepts connections.
    ///
    /// # Errors
    /// Fails when it does not do so in time.
    pub async fn wait_for_restart(&self, component: &str, old: i32) -> anyhow::Result<()> {
        let address = self.listens(component)?;
        eventually(&format!("{component} is back"), async || {
            let now = Endpoints::read(&self.state_dir)?;
            match now.pids.get(component) {
                Some(pid) if *pid != old => {}
                other => bail!("pid {other:?}, was {old}"),
            }
            TcpStream::connect(&address).await?;
            Ok(())
        })
        .await
    }

    /// The address at which `component` listens, by its configuration file.
    fn listens(&self, component: &str) -> anyhow::Result<String> {
        let path = self.state_dir.join(format!("config/{component}.toml"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut lines = text.lines();
        let address = lines.find_map(|line| line.strip_prefix("listen = \"")?.strip_suffix('"'));
        Ok(address
            .with_context(|| format!("{component} has no `listen`"))?
            .to_owned())
    }

    /// Stops the stack with SIGINT, as Ctrl-C does, and returns its exit status.
    ///
    /// # Errors
    /// Fails when it does not stop in time.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(pid_of(i32::try_from(self.child.id())?)?, Signal::INT)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        bail!("weir up did not stop within {} s:\n{}", STOP.as_secs(), self.log())
    }

    /// Stops the stack, and starts it again in the same directory.
    ///
    /// # Errors
    /// Fails when it does not stop without an error, or does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let status = self.stop()?;
        if !status.success() {
            bail!("weir up ended with {status}:\n{}", self.log());
        }
        let base = self.base.take().context("the directory of a running stack")?;
        let builder = StackBuilder {
            mode: self.builder.mode,
            env: self.builder.env.clone(),
        };
        let fresh = Self::start_in(base, builder).await?;
        *self = fresh;
        Ok(())
    }

    /// Returns the end of the stack's terminal output, and of its components' logs.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = String::new();
        let logs = std::fs::read_dir(self.state_dir.join("logs"))
            .into_iter()
            .flatten()
            .flatten();
        let up = self.state_dir.parent().map(|base| base.join("up.log"));
        for path in up.into_iter().chain(logs.map(|entry| entry.path())) {
            text.push_str(&format!("--- {}\n{}\n", path.display(), tail(&path)));
        }
        text
    }
}

impl Drop for Stack {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the stack said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        // After `restart`, the replaced value has neither a directory nor a process.
        drop(self.stop());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A stack that does not serve yet. Dropping this kills it.
struct Starting {
    child: Option<Child>,
    log: PathBuf,
}

impl Starting {
    fn check(&mut self) -> anyhow::Result<()> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => bail!("it ended with {status}"),
            _ => Ok(()),
        }
    }

    fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!("{error:#}\n{}", tail(&self.log))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_TAIL);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

fn pid_of(pid: i32) -> anyhow::Result<Pid> {
    Pid::from_raw(pid).with_context(|| format!("{pid} is no process"))
}
