//! The original's command line and configuration file: `nats-server -c nats.conf -a ADDRESS -p PORT …`, so that one program can
//! be swapped in a running deployment.
//!
//! Each flag and key is mapped to the configuration, passed over with a reason ([`Job::passed_over`]), or refused with one. A
//! flag wins over the file. What is refused is what would change who gets which message: a cluster of several nodes,
//! accounts, tokens, several users, leaf nodes and JetStream.

use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;
use weir_config::Secret;
use weir_error::{Classify, ErrorKind};
use weir_tls::IdentityFiles;

use crate::RawConfig;

mod conf;
mod keys;
mod run;
#[cfg(test)]
mod tests;

pub use conf::ConfError;
pub use run::run;

/// A command line, and the file that it names, that were understood.
#[derive(Debug)]
pub struct Job {
    /// What they mean.
    pub config: RawConfig,
    /// The flags and keys that have no effect, each with the reason.
    pub passed_over: Vec<(String, &'static str)>,
    host: Option<String>,
    port: Option<u16>,
    tls: Tls,
}

/// What flags and file say of TLS.
#[derive(Debug, Default)]
struct Tls {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    verify: bool,
}

/// Why a command line or a file cannot be used.
#[derive(Debug, Error)]
pub enum JobError {
    /// A flag that the original does not have.
    #[error("flag provided but not defined: -{0}")]
    UnknownFlag(String),
    /// A flag needs a value and there is none.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// The file cannot be read.
    #[error("configuration file `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The answer of the system.
        source: io::Error,
    },
    /// The file is not in the original's form.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// A key that the original does not have.
    #[error("unknown field `{0}`")]
    UnknownKey(String),
    /// A key or a flag has a value that it cannot have.
    #[error("`{key}` is `{value}`, and must be {expected}")]
    Value {
        /// The key or the flag.
        key: String,
        /// The value.
        value: String,
        /// What the value must be.
        expected: &'static str,
    },
    /// A key or a flag asks for something that this server does not have.
    #[error("`{key}` is not served: {reason}")]
    NotServed {
        /// The key or the flag.
        key: String,
        /// The reason why it is refused.
        reason: &'static str,
    },
}

impl Classify for JobError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// Flags without a value that have no effect here.
const SILENT: &[&str] = &[
    "D",
    "debug",
    "V",
    "trace",
    "VV",
    "DV",
    "DVV",
    "T",
    "logtime",
    "logtime_utc",
    "s",
    "syslog",
    "no_advertise",
];

/// Flags with a value that have no effect here.
const IDLE: &[&str] = &[
    "n",
    "name",
    "server_name",
    "client_advertise",
    "m",
    "http_port",
    "ms",
    "https_port",
    "P",
    "pid",
    "ports_file_dir",
    "l",
    "log",
    "r",
    "remote_syslog",
    "profile",
    "cluster",
    "cluster_listen",
    "cluster_advertise",
    "connect_retries",
    "cluster_name",
    "max_traced_msg_len",
    "sd",
    "store_dir",
];

/// Why logging, monitoring and names are passed over.
const ELSEWHERE: &str = "logs, metrics and names are the program's own";

impl Job {
    /// Reads the words behind the program's name, and the file that they name.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, JobError> {
        let mut job = Self {
            // The original asks nobody for a certificate and serves all networks, unless it is told otherwise.
            config: RawConfig {
                client_certificates: false,
                auth_timeout: weir_config::Duration::from_secs(2),
                write_deadline: weir_config::Duration::from_secs(10),
                ..RawConfig::default()
            },
            passed_over: Vec::new(),
            host: None,
            port: None,
            tls: Tls::default(),
        };
        let flags = flags(words)?;
        for (_, path) in flags.iter().filter(|(name, _)| matches!(name.as_str(), "c" | "config")) {
            let path = Path::new(path);
            let text = fs::read_to_string(path).map_err(|source| JobError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
            job.take_file(&text)?;
        }
        for (name, value) in flags {
            job.take_flag(&name, value)?;
        }
        job.finish()
    }

    fn take_flag(&mut self, name: &str, value: String) -> Result<(), JobError> {
        match name {
            "c" | "config" => {}
            "a" | "addr" | "net" => self.host = Some(value),
            "p" | "port" => self.port = Some(port(name, &value)?),
            "user" => self.config.user = Some(value),
            "pass" => self.config.password = Some(Secret::new(value)),
            "tls" => {}
            "tlsverify" => self.tls.verify = true,
            "tlscert" => self.tls.cert = Some(value.into()),
            "tlskey" => self.tls.key = Some(value.into()),
            "tlscacert" => self.tls.ca = Some(value.into()),
            "routes" => self.take_routes(name, value.split(',').count())?,
            "auth" => {
                return Err(not_served(
                    name,
                    "clients are known by a user and a password, or a certificate",
                ));
            }
            "js" | "jetstream" => return Err(not_served(name, "messages are not stored")),
            _ => self.passed_over.push((format!("-{name}"), ELSEWHERE)),
        }
        Ok(())
    }

    /// A node names itself among the routes of its cluster, too.
    fn take_routes(&mut self, key: &str, nodes: usize) -> Result<(), JobError> {
        if nodes > 1 {
            let reason = "there is one node only, and clients of the others would not be reached";
            return Err(not_served(key, reason));
        }
        self.passed_over.push((key.to_owned(), "there is one node only"));
        Ok(())
    }

    fn finish(mut self) -> Result<Self, JobError> {
        let host = self.host.as_deref().unwrap_or("0.0.0.0");
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let address = host.trim_matches(['[', ']']).parse().map_err(|_| JobError::Value {
            key: "addr".to_owned(),
            value: host.to_owned(),
            expected: "an address of this machine",
        })?;
        let port = self.port.unwrap_or(4222);
        self.config.listen = std::net::SocketAddr::new(address, port).into();
        let Tls { cert, key, ca, verify } = std::mem::take(&mut self.tls);
        self.config.client_certificates = verify;
        self.config.identity = match (cert, key, ca) {
            (None, None, _) => None,
            (Some(cert), Some(key), ca) if ca.is_some() || !verify => Some(IdentityFiles {
                ca: ca.unwrap_or_default(),
                cert,
                key,
            }),
            (cert, key, ca) => {
                let given = [cert, key, ca].into_iter().flatten();
                let given: Vec<_> = given.map(|path| path.display().to_string()).collect();
                return Err(JobError::Value {
                    key: "tls".to_owned(),
                    value: given.join(", "),
                    expected: "a certificate, its key, and a CA where clients are verified",
                });
            }
        };
        Ok(self)
    }
}

/// The flags and their values, as Go's `flag` package takes them: one dash or two, a value behind `=` or in the next word.
fn flags<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Vec<(String, String)>, JobError> {
    let mut flags = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.as_ref().strip_prefix('-') else {
            return Err(JobError::UnknownFlag(word.as_ref().to_owned()));
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let takes_value = match name {
            "tls" | "tlsverify" | "js" | "jetstream" => false,
            "c" | "config" | "a" | "addr" | "net" | "p" | "port" | "user" | "pass" | "tlscert" | "tlskey"
            | "tlscacert" | "routes" | "auth" => true,
            _ if SILENT.contains(&name) => false,
            _ if IDLE.contains(&name) => true,
            _ => return Err(JobError::UnknownFlag(name.to_owned())),
        };
        let value = match value {
            Some(value) => value,
            None if takes_value => {
                let next = words.next().map(|word| word.as_ref().to_owned());
                next.ok_or_else(|| JobError::NoValue(name.to_owned()))?
            }
            None => String::new(),
        };
        if takes_value || value != "false" {
            flags.push((name.to_owned(), value));
        }
    }
    Ok(flags)
}

fn port(key: &str, value: &str) -> Result<u16, JobError> {
    match value {
        // A free one.
        "-1" => Ok(0),
        _ => value.parse().map_err(|_| JobError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: "a port",
        }),
    }
}

fn not_served(key: &str, reason: &'static str) -> JobError {
    JobError::NotServed {
        key: key.to_owned(),
        reason,
    }
}
