//! rsyslog and syslog-ng as the field runs them, writing down what they parsed.
//!
//! They are found in `WEIR_RECEIVERS`, in `~/.cache/weir/receivers` (where `tests/clients/receivers` unpacks them), or
//! installed. Their own limits are configured up: what they parse must be what was sent.

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

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// rsyslog.
    Rsyslog,
    /// syslog-ng.
    SyslogNg,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Rsyslog, Self::SyslogNg];

    /// Its program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsyslog => "rsyslogd",
            Self::SyslogNg => "syslog-ng",
        }
    }
}

/// A message as it was parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Facility and severity.
    pub pri: u32,
    /// When, with whatever precision.
    pub timestamp: String,
    /// From where.
    pub hostname: String,
    /// Of what.
    pub app_name: String,
    /// Of which.
    pub procid: String,
    /// Empty if there was none.
    pub msgid: String,
    /// Elements and their parameters, escapes resolved.
    pub structured_data: BTreeMap<String, BTreeMap<String, String>>,
    /// Without the newline that ends it.
    pub message: Vec<u8>,
}

/// A program that runs; ended when dropped.
#[derive(Debug)]
pub struct Daemon {
    product: Product,
    dir: TempDir,
    tcp: SocketAddr,
    tls: SocketAddr,
    child: Child,
}

/// Where a program and what it needs are.
#[derive(Debug, Clone)]
struct Installed {
    program: PathBuf,
    /// The folder that it was unpacked into, if it was.
    root: Option<PathBuf>,
}

/// What a configuration is made of.
#[derive(Debug)]
struct Setting<'a> {
    dir: &'a Path,
    tcp: SocketAddr,
    tls: SocketAddr,
}

impl Daemon {
    /// Starts it with a certificate of `pki` for 127.0.0.1; says why not where it, or a module that it needs, is not there.
    ///
    /// # Errors
    /// When it does not come up.
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

    /// Waits until it has written `count` messages, and gives all of them in order.
    ///
    /// # Errors
    /// When they do not come, or one cannot be read.
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

    /// What it says about itself.
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
        // It has nothing to say any more.
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
    /// The folders with libraries: of what was unpacked, or the system's.
    fn libraries(&self) -> Vec<PathBuf> {
        let root = self.root.as_deref().unwrap_or_else(|| Path::new("/"));
        let mut folders = Vec::new();
        for base in ["usr/lib", "lib", "usr/lib64", "lib64"] {
            let base = root.join(base);
            // Debian's folders are named by the architecture.
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

    /// The folder `name` among them.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.libraries()
            .into_iter()
            .map(|folder| folder.join(name))
            .find(|folder| folder.is_dir())
    }

    /// Its command, finding its own libraries.
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

/// A JSON string that need not be UTF-8.
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
