//! Runs rsyslog and syslog-ng, which write down what they parsed.
//!
//! The programs are searched in `WEIR_RECEIVERS`, in `~/.cache/weir/receivers` (where `tests/clients/receivers` unpacks
//! them), and among the installed programs. Their configuration raises their size limits, so that they parse all that
//! was sent.

mod rsyslog;
mod syslog_ng;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::pki::Pki;
use super::ports::steady_port;
use crate::{Skip, eventually};

/// The program to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// rsyslog.
    Rsyslog,
    /// syslog-ng.
    SyslogNg,
}

impl Product {
    /// All programs.
    pub const ALL: [Self; 2] = [Self::Rsyslog, Self::SyslogNg];

    /// Returns the name of the executable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsyslog => "rsyslogd",
            Self::SyslogNg => "syslog-ng",
        }
    }
}

/// A message as the program parsed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The priority: facility times 8 plus severity.
    pub pri: u32,
    /// The time stamp, with the precision of the program.
    pub timestamp: String,
    /// HOSTNAME.
    pub hostname: String,
    /// APP-NAME.
    pub app_name: String,
    /// PROCID.
    pub procid: String,
    /// MSGID, or an empty text if there was none.
    pub msgid: String,
    /// The structured data by element and parameter, with escapes resolved.
    pub structured_data: BTreeMap<String, BTreeMap<String, String>>,
    /// The message without its final newline.
    pub message: Vec<u8>,
}

/// A running program. Dropping this ends it.
#[derive(Debug)]
pub struct Daemon {
    product: Product,
    dir: TempDir,
    tcp: SocketAddr,
    tls: SocketAddr,
    child: Child,
}

/// The location of a program and its modules.
#[derive(Debug, Clone)]
struct Installed {
    program: PathBuf,
    /// The folder into which the program was unpacked, or none if it is installed.
    root: Option<PathBuf>,
}

/// The values of a configuration.
#[derive(Debug)]
struct Setting<'a> {
    dir: &'a Path,
    tcp: SocketAddr,
    tls: SocketAddr,
}

impl Daemon {
    /// Starts the program with a certificate of `pki` for 127.0.0.1. Returns a [`Skip`] where the program or one of its
    /// modules is missing.
    ///
    /// # Errors
    /// Fails when the program does not start.
    pub async fn start(product: Product, pki: &Pki) -> anyhow::Result<Result<Self, Skip>> {
        let Some(installed) = find(product) else {
            return Ok(Err(Skip(format!(
                "no {}: `tests/clients/receivers` unpacks it, or set WEIR_RECEIVERS",
                product.name()
            ))));
        };
        let dir = tempfile::Builder::new().prefix("weir-receiver-").tempdir()?;
        pki.issue(&["127.0.0.1", "localhost"])?.write(dir.path(), "server")?;
        std::fs::write(dir.path().join("ca.crt"), &pki.ca)?;
        let setting = Setting {
            dir: dir.path(),
            tcp: steady_port()?,
            tls: steady_port()?,
        };
        let log = File::create(dir.path().join("daemon.log"))?;
        let command = match product {
            Product::Rsyslog => rsyslog::command(&installed, &setting)?,
            Product::SyslogNg => syslog_ng::command(&installed, &setting)?,
        };
        let mut command = match command {
            Ok(command) => command,
            Err(skip) => return Ok(Err(skip)),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let (tcp, tls) = (setting.tcp, setting.tls);
        let daemon = Self {
            product,
            dir,
            tcp,
            tls,
            child,
        };
        for address in [tcp, tls] {
            let up = eventually(product.name(), async || TcpStream::connect(address).await.map(drop)).await;
            up.with_context(|| daemon.log())?;
        }
        Ok(Ok(daemon))
    }

    /// The drain URL of its TCP port, without parameters.
    #[must_use]
    pub fn tcp_url(&self) -> String {
        format!("syslog://{}", self.tcp)
    }

    /// The drain URL of its TLS port, without parameters.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("syslog-tls://{}", self.tls)
    }

    /// Waits until the program has written `count` messages, and returns all messages in order.
    ///
    /// # Errors
    /// Fails when they do not arrive in time, or one cannot be read.
    pub async fn parsed(&self, count: usize) -> anyhow::Result<Vec<Parsed>> {
        let path = self.dir.path().join("messages");
        let (mut got, mut seen) = (0, 0);
        eventually(self.product.name(), async || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(seen))?;
            let mut more = Vec::new();
            seen += file.read_to_end(&mut more)? as u64;
            got += more.iter().filter(|byte| **byte == b'\n').count();
            ensure!(got >= count, "{got} of {count} messages");
            Ok::<_, anyhow::Error>(())
        })
        .await
        .with_context(|| self.log())?;
        let read = match self.product {
            Product::Rsyslog => rsyslog::read,
            Product::SyslogNg => syslog_ng::read,
        };
        let lines = BufReader::new(File::open(&path)?).split(b'\n');
        lines
            .map(|line| {
                let line = line?;
                read(&line).with_context(|| String::from_utf8_lossy(&line).into_owned())
            })
            .collect()
    }

    /// Returns the program's own log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process(pid, Signal::TERM);
        }
        // Its messages were read already, so it need not end in order.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn find(product: Product) -> Option<Installed> {
    let named = std::env::var_os("WEIR_RECEIVERS").map(PathBuf::from);
    let caches = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    let unpacked = named
        .into_iter()
        .chain(caches.map(|cache| cache.join("weir/receivers")));
    for root in unpacked {
        let program = root.join("usr/sbin").join(product.name());
        if program.is_file() {
            return Some(Installed {
                program,
                root: Some(root),
            });
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(product.name()))
        .find(|program| program.is_file())
        .map(|program| Installed { program, root: None })
}

impl Installed {
    /// Returns the folders with libraries of the unpacked program, or those of the system.
    fn libraries(&self) -> Vec<PathBuf> {
        let root = self.root.as_deref().unwrap_or_else(|| Path::new("/"));
        let mut folders = Vec::new();
        for base in ["usr/lib", "lib", "usr/lib64", "lib64"] {
            let base = root.join(base);
            // Debian names these folders by architecture.
            let inner = std::fs::read_dir(&base).into_iter().flatten().flatten();
            folders.extend(
                inner
                    .map(|entry| entry.path())
                    .filter(|path| path.to_string_lossy().ends_with("-linux-gnu")),
            );
            folders.push(base);
        }
        folders
    }

    /// Returns the folder `name` among the library folders.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.libraries()
            .into_iter()
            .map(|folder| folder.join(name))
            .find(|folder| folder.is_dir())
    }

    /// Returns a command that finds the program's own libraries.
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        if self.root.is_some() {
            let mut folders = self.libraries();
            folders.extend(self.folder("syslog-ng"));
            command.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
        }
        Ok(command)
    }
}

/// A JSON string whose bytes may be no UTF-8.
#[derive(Debug, Clone, Default)]
struct Text(Vec<u8>);

impl Text {
    fn utf8(self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.0)?)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(bytes.to_vec()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
