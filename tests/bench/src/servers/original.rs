//! The original's programs with the environment that their deployment jobs set (logging §8, §9, §11, §14).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{Part, Servers};

pub(super) fn start(servers: &mut Servers, folder: &Path, part: Part) -> anyhow::Result<()> {
    let (program, names): (&str, &[&str]) = match part {
        Part::Doppler => ("router", &["doppler"]),
        Part::Rlp => ("rlp", &["reverselogproxy"]),
        Part::TrafficController => ("trafficcontroller", &["trafficcontroller"]),
        Part::LogCache => ("log-cache", &["log-cache"]),
        Part::SyslogAgent => ("syslog-agent", &["metron"]),
        Part::SyslogServer => ("syslog-server", &["localhost", "log-cache"]),
        Part::Nats => ("nats-server", &["nats"]),
        Part::TcpRouter => return haproxy(servers, folder),
        Part::Uaa => anyhow::bail!("the original's UAA is a Java application server and is not measured here"),
    };
    let identity = servers.identity(program, names)?;
    let mut command = Command::new(folder.join(program));
    command.env_clear();
    let (ca, cert, key) = (&identity.ca, &identity.cert, &identity.key);
    let addresses = &servers.addresses;
    let nobody = addresses.nobody.to_string();
    match part {
        Part::Doppler => {
            command
                .env("ROUTER_PORT", addresses.doppler.port().to_string())
                .env("ROUTER_CA_FILE", ca)
                .env("ROUTER_CERT_FILE", cert)
                .env("ROUTER_KEY_FILE", key)
                .env("INGRESS_BUFFER_SIZE", "10000")
                .env("EGRESS_BUFFER_SIZE", "1000")
                .env("AGENT_GRPC_ADDRESS", nobody);
        }
        Part::Rlp => {
            command
                .env("RLP_PORT", addresses.rlp.port().to_string())
                .env("RLP_CA_FILE", ca)
                .env("RLP_CERT_FILE", cert)
                .env("RLP_KEY_FILE", key)
                .env("RLP_PPROF_PORT", "0")
                .env("MAX_EGRESS_STREAMS", "1000")
                .env("ROUTER_ADDRS", addresses.doppler.to_string())
                .env("AGENT_ADDR", nobody);
        }
        Part::TrafficController => {
            command
                .env("TRAFFIC_CONTROLLER_IP", "127.0.0.1")
                .env(
                    "TRAFFIC_CONTROLLER_OUTGOING_DROPSONDE_PORT",
                    addresses.traffic_controller.port().to_string(),
                )
                .env("TRAFFIC_CONTROLLER_OUTGOING_CERT_FILE", cert)
                .env("TRAFFIC_CONTROLLER_OUTGOING_KEY_FILE", key)
                .env("TRAFFIC_CONTROLLER_SYSTEM_DOMAIN", "bench.example")
                .env("TRAFFIC_CONTROLLER_DISABLE_ACCESS_CONTROL", "true")
                .env("TRAFFIC_CONTROLLER_API_HOST", "http://127.0.0.1:1")
                .env("TRAFFIC_CONTROLLER_UAA_HOST", "http://127.0.0.1:1")
                .env("TRAFFIC_CONTROLLER_UAA_CLIENT", "doppler")
                .env("TRAFFIC_CONTROLLER_UAA_CLIENT_SECRET", "unused")
                .env("TRAFFIC_CONTROLLER_UAA_CA_CERT", ca)
                .env("CC_CA_FILE", ca)
                .env("CC_CERT_FILE", cert)
                .env("CC_KEY_FILE", key)
                .env("CC_SERVER_NAME", "cc")
                .env("ROUTER_CA_FILE", ca)
                .env("ROUTER_CERT_FILE", cert)
                .env("ROUTER_KEY_FILE", key)
                .env("ROUTER_ADDRS", addresses.doppler.to_string())
                .env("AGENT_GRPC_ADDRESS", nobody);
        }
        Part::LogCache => {
            command
                .env("ADDR", addresses.log_cache.to_string())
                .env("CA_PATH", ca)
                .env("CERT_PATH", cert)
                .env("KEY_PATH", key)
                .env("METRICS_PORT", addresses.metrics.port().to_string());
        }
        Part::SyslogAgent => {
            let bindings = addresses.bindings.unwrap_or(addresses.nobody);
            command
                .env("AGENT_PORT", addresses.syslog_agent.port().to_string())
                .env("AGENT_CA_FILE_PATH", ca)
                .env("AGENT_CERT_FILE_PATH", cert)
                .env("AGENT_KEY_FILE_PATH", key)
                .env("CACHE_URL", format!("https://{bindings}"))
                .env("CACHE_CA_FILE_PATH", ca)
                .env("CACHE_CERT_FILE_PATH", cert)
                .env("CACHE_KEY_FILE_PATH", key)
                .env("CACHE_COMMON_NAME", "binding-cache")
                .env("CACHE_POLLING_INTERVAL", "1s")
                .env("WARN_ON_INVALID_DRAINS", "false")
                .env("LOGGREGATOR_AGENT_ADDR", nobody)
                .env("METRICS_PORT", addresses.status.port().to_string())
                .env("METRICS_CA_FILE_PATH", ca)
                .env("METRICS_CERT_FILE_PATH", cert)
                .env("METRICS_KEY_FILE_PATH", key);
        }
        Part::SyslogServer => {
            command
                .env("SYSLOG_PORT", addresses.syslog_server.port().to_string())
                .env("SYSLOG_TLS_CERT_PATH", cert)
                .env("SYSLOG_TLS_KEY_PATH", key)
                .env("SYSLOG_CLIENT_TRUSTED_CA_FILE", ca)
                .env("LOG_CACHE_ADDR", addresses.log_cache.to_string())
                .env("CA_PATH", ca)
                .env("CERT_PATH", cert)
                .env("KEY_PATH", key)
                .env("METRICS_PORT", addresses.other_metrics.port().to_string());
        }
        Part::Nats => {
            command.args(["--addr", "127.0.0.1", "--port", &addresses.nats.port().to_string()]);
        }
        // Refused above.
        Part::Uaa | Part::TcpRouter => {}
    }
    servers.spawn(program, &mut command)
}

/// Where distributions install HAProxy.
const HAPROXY: &str = "/usr/sbin/haproxy";

/// HAProxy in TCP mode, as the original's TCP router configures it (compute-routing §14).
fn haproxy(servers: &mut Servers, folder: &Path) -> anyhow::Result<()> {
    let routes = servers.addresses.tcp.context("a scenario with TCP routes")?;
    let mut text = format!(
        "global\n  maxconn 4000\ndefaults\n  timeout connect 30000ms\n  timeout client 300000ms\n  timeout server 300000ms\n  \
         maxconn 4000\nlisten health\n  mode http\n  bind {}\n  monitor-uri /health\n",
        servers.address(Part::TcpRouter)
    );
    for (external, backend) in routes.external.into_iter().zip(routes.backends) {
        let port = external.port();
        writeln!(
            text,
            "frontend frontend_{port}\n  mode tcp\n  bind {external}\n  default_backend backend_{port}\nbackend backend_{port}\n  \
             mode tcp\n  server server_{port} {backend}"
        )?;
    }
    let file = servers.path().join("haproxy.cfg");
    fs::write(&file, text)?;
    let beside = folder.join("haproxy");
    let program = if beside.is_file() { beside } else { HAPROXY.into() };
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    servers.spawn("haproxy", &mut command)
}
