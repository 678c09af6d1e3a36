//! The agents behind the forwarder agent, called downstreams.
//!
//! Some are configured, and others register with a file (logging §7). Such a file is YAML with `ingress: "PORT"`, a
//! port on the loopback interface, and optionally `protocol`. A file without `ingress` is skipped. A file with another
//! protocol (`otelcol`) is skipped with a warning.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use weir_config::{PeerAddr, yaml};

use crate::error::Error;
use crate::glob::Glob;

/// The longest name of a downstream, in bytes.
const MAX_NAME: usize = 64;

/// A downstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downstream {
    /// The name in metrics, logs and the ledger.
    pub name: String,
    /// The address on which the downstream listens.
    pub address: PeerAddr,
}

impl Downstream {
    /// Creates a configured downstream.
    ///
    /// # Errors
    /// Returns an error if the name is not valid.
    pub fn named(name: &str, address: PeerAddr) -> Result<Self, &'static str> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(usable) {
            return Err("must have a name of at most 64 letters, digits, `-`, `_`, `.` and `:`");
        }
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }

    /// Returns the hop at which losses on the way to this downstream are counted.
    ///
    /// Names of hops live as long as the process. The agent makes one for each downstream when it starts.
    pub(crate) fn hop(&self) -> &'static str {
        Box::leak(format!("egress {}", self.name).into_boxed_str())
    }
}

/// Returns all downstreams: the configured ones and those of the files. If two have one address, the first one is used.
pub(crate) fn all(configured: &[Downstream], files: &[Glob]) -> Result<Vec<Downstream>, Error> {
    let mut all: Vec<Downstream> = Vec::new();
    let found = files.iter().map(of_files).collect::<Result<Vec<_>, Error>>()?;
    for downstream in configured.iter().cloned().chain(found.into_iter().flatten()) {
        // Static and discovered downstreams may name one agent. Two links to it would deliver everything twice.
        match all.iter().find(|known| known.address == downstream.address) {
            None => all.push(downstream),
            Some(known) => tracing::warn!(
                address = %downstream.address,
                name = known.name,
                also = downstream.name,
                "a downstream is named twice, it gets everything once"
            ),
        }
    }
    Ok(all)
}

fn of_files(glob: &Glob) -> Result<Vec<Downstream>, Error> {
    let paths = glob.paths();
    if paths.is_empty() {
        tracing::info!(pattern = glob.as_str(), "no downstream files");
    }
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable {
            path: path.clone(),
            source,
        })?;
        found.extend(of_file(&path, &text)?);
    }
    Ok(found)
}

/// Returns the downstream that a file registers, if its protocol is supported.
fn of_file(path: &Path, text: &str) -> Result<Option<Downstream>, Error> {
    let malformed = |source| Error::Malformed {
        path: path.to_owned(),
        source,
    };
    let map = yaml::map(text).map_err(malformed)?;
    let file = path.display();
    let ingress = match map.get("ingress") {
        None | Some("") => {
            tracing::info!(%file, "a downstream file names no ingress port, it is passed over");
            return Ok(None);
        }
        Some(ingress) => ingress,
    };
    match map.get("protocol") {
        None | Some("" | "loggregator") => {}
        // The original's jobs also write files for OpenTelemetry collectors.
        Some(protocol) => {
            tracing::warn!(%file, protocol, "a downstream of another protocol is not served");
            return Ok(None);
        }
    }
    let port = ingress.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| malformed(yaml::YamlError::new("`ingress` is no port")))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Some(Downstream {
        name: address.to_string(),
        address: address.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Downstream>, Error> {
        of_file(Path::new("ingress_port.yml"), text)
    }

    fn at(port: u16) -> Downstream {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Downstream {
            name: address.to_string(),
            address: address.into(),
        }
    }

    /// A file registers a local port. Without a port or with another protocol it is skipped, and otherwise the error
    /// names the file.
    #[test]
    fn files_name_ports() {
        assert_eq!(read("---\ningress: \"3459\"\n").unwrap(), Some(at(3459)));
        assert_eq!(read("ingress: 3459\nprotocol: loggregator\n").unwrap(), Some(at(3459)));
        for text in [
            "",
            "other: x\n",
            "ingress: \"\"\n",
            "ingress: \"4317\"\nprotocol: otelcol\n",
        ] {
            assert_eq!(read(text).unwrap(), None, "{text:?}");
        }
        for text in [
            "ingress",
            "ingress: http\n",
            "ingress: 0",
            "ingress: 70000",
            "- ingress: 1",
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains("ingress_port.yml"), "{error}");
        }
    }

    /// Two downstreams with one address are one downstream with the first name.
    #[test]
    fn addresses_are_distinct() {
        let base = tempfile::tempdir().unwrap();
        for (name, text) in [("a.yml", "ingress: 7001"), ("b.yml", "ingress: 7002")] {
            std::fs::write(base.path().join(name), text).unwrap();
        }
        let configured = Downstream::named("syslog-agent", "127.0.0.1:7002".parse().unwrap()).unwrap();
        let glob = Glob::parse(&format!("{}/*.yml", base.path().display())).unwrap();
        assert_eq!(
            all(std::slice::from_ref(&configured), &[glob]).unwrap(),
            [configured, at(7001)]
        );
    }
}
