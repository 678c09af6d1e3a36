//! Weir's components, each `weir <component> --config FILE` as in production.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use toml::{Table, Value};

use super::{Part, Servers};

pub(super) fn start(servers: &mut Servers, program: &Path, part: Part) -> anyhow::Result<()> {
    let (component, names): (&str, &[&str]) = match part {
        Part::Doppler => ("doppler", &["doppler"]),
        Part::Rlp => ("rlp", &["reverselogproxy"]),
        Part::TrafficController => ("traffic-controller", &["trafficcontroller"]),
        Part::LogCache => ("log-cache", &["log-cache", "log_cache"]),
        Part::SyslogAgent => ("syslog-agent", &["metron"]),
        Part::SyslogServer => ("log-cache-syslog", &["localhost"]),
        Part::Uaa => ("uaa", &["localhost"]),
        Part::Nats => ("nats", &["nats"]),
        Part::TcpRouter => ("tcp-router", &["tcp-router"]),
    };
    let identity = servers.identity(component, names)?;
    let doppler = Value::from(vec![servers.addresses.doppler.to_string()]);
    // The keys that a scenario needs; everything else keeps its default.
    let mut config = Table::new();
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    if part != Part::TcpRouter {
        set("listen", servers.address(part).to_string().into());
    }
    // Publishers and subscribers of the bench use no TLS, as those of nats-server's own do not.
    if !matches!(part, Part::Nats | Part::TcpRouter) {
        set("identity", Value::try_from(&identity)?);
    }
    match part {
        Part::Doppler | Part::Nats => {}
        Part::Rlp => set("dopplers", doppler),
        Part::TrafficController => {
            set("dopplers", doppler);
            set("cert", identity.cert.display().to_string().into());
            set("key", identity.key.display().to_string().into());
            set("token_file", servers.token_file().display().to_string().into());
        }
        Part::LogCache => {
            let mut sql = Table::new();
            sql.insert("listen".to_owned(), servers.addresses.sql.to_string().into());
            sql.insert(
                "token_file".to_owned(),
                servers.token_file().display().to_string().into(),
            );
            set("sql", sql.into());
            set("gateway_listen", servers.addresses.gateway.to_string().into());
            // It is fed by the bench itself.
            set("dopplers", Value::Array(Vec::new()));
        }
        Part::SyslogAgent => {
            set("status_listen", servers.addresses.status.to_string().into());
            set(
                "state_dir",
                servers.path().join("syslog-agent").display().to_string().into(),
            );
            if let Some(bindings) = servers.addresses.bindings {
                let mut cache = Table::new();
                cache.insert("address".to_owned(), bindings.to_string().into());
                set("cache", cache.into());
            }
        }
        Part::SyslogServer => {
            set("log_cache", servers.addresses.log_cache.to_string().into());
        }
        Part::TcpRouter => {
            let routes = servers.addresses.tcp.context("a scenario with TCP routes")?;
            let secret = servers.path().join("tcp-router-secret");
            fs::write(&secret, "secret")?;
            let api = format!("https://{}", routes.api);
            let api = [
                ("url", Value::from(api.clone())),
                ("server_name", "routing-api".into()),
                ("identity", Value::try_from(&identity)?),
                ("uaa_url", api.into()),
                ("uaa_ca", identity.ca.display().to_string().into()),
                ("client_id", "tcp_router".into()),
                ("client_secret_file", secret.display().to_string().into()),
            ];
            set("health", servers.address(part).to_string().into());
            set("external_address", routes.external[0].ip().to_string().into());
            set(
                "routing_api",
                Table::from_iter(api.map(|(key, value)| (key.to_owned(), value))).into(),
            );
            // All clients of the bench have one address.
            let limits = [
                ("connections", Value::from(4000)),
                ("connections_per_address", 4000.into()),
            ];
            set(
                "limits",
                Table::from_iter(limits.map(|(key, value)| (key.to_owned(), value))).into(),
            );
        }
        Part::Uaa => {
            let file = |name: &str| servers.path().join(name).display().to_string();
            set("identity", {
                let mut shown = Table::new();
                shown.insert("cert".to_owned(), identity.cert.display().to_string().into());
                shown.insert("key".to_owned(), identity.key.display().to_string().into());
                shown.into()
            });
            set("database", format!("sqlite://{}", file("uaa.db")).into());
            set("admin_password_file", file("admin-password").into());
            set(
                "client_secrets_file",
                servers.client_secrets().display().to_string().into(),
            );
            set("master_key_file", file("master-key").into());
        }
    }
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
