//! Weir's components, each `weir <component> --config FILE` as in production.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use weir_tls::IdentityFiles;

use super::{Part, Servers};

/// The keys that a scenario sets; everything else keeps its default.
#[derive(Debug, Serialize)]
struct Config {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dopplers: Option<Vec<String>>,
    identity: IdentityFiles,
}

pub(super) fn start(servers: &mut Servers, program: &Path, part: Part) -> anyhow::Result<()> {
    let (component, names): (&str, &[&str]) = match part {
        Part::Doppler => ("doppler", &["doppler"]),
        Part::Rlp => ("rlp", &["reverselogproxy"]),
        Part::TrafficController => ("traffic-controller", &["trafficcontroller"]),
        Part::LogCache => ("log-cache", &["log-cache", "log_cache"]),
    };
    let identity = servers.identity(component, names)?;
    let config = Config {
        listen: servers.address(part).to_string(),
        dopplers: (part != Part::Doppler).then(|| vec![servers.addresses.doppler.to_string()]),
        identity,
    };
    let file = servers.path().join(format!("{component}.toml"));
    fs::write(&file, toml::to_string(&config)?)?;
    let mut command = Command::new(program);
    command
        .arg(component)
        .arg("--config")
        .arg(&file)
        .arg("--ledger")
        .arg(servers.path().join("ledger"));
    servers.spawn(component, &mut command)
}
