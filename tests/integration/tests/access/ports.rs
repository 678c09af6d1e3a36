//! Checks each port of docs/security.md on a running stack.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::net::TcpStream;
use weir_testkit::{Mode, Stack};
use weir_tls::{Authority, ClientTls, IdentityFiles};

use super::wire::{address, refusal};

/// What a port requires before it serves a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// A client certificate of the stack's CA. The server's certificate has this name.
    Certificate(&'static str),
    /// A client certificate as for `Certificate`, once the server has sent its first line, which is not encrypted.
    CertificateAfterGreeting(&'static str),
    /// Nothing at the level of TLS. The interface requires a token (see `tokens`), what OAuth defines, or what a backend
    /// wants.
    NoCertificate,
    /// Nothing: the port has no TLS.
    Plain,
}

/// How long a server may take to refuse a client.
const REFUSED: Duration = Duration::from_secs(20);
/// How long a server is silent when it accepts the certificate, and waits for a request.
const SILENCE: Duration = Duration::from_secs(1);

/// Every port by its key in `endpoints.json`.
const PORTS: [(&str, Demand); 23] = [
    ("agent", Demand::Certificate("metron")),
    ("loggregator_agent", Demand::Certificate("metron")),
    ("syslog_agent", Demand::Certificate("metron")),
    ("syslog_agent_status", Demand::Certificate("metron")),
    ("binding_cache", Demand::Certificate("binding-cache")),
    ("doppler", Demand::Certificate("doppler")),
    ("rlp", Demand::Certificate("reverselogproxy")),
    ("log_cache", Demand::Certificate("log-cache")),
    ("log_cache_gateway", Demand::Certificate("log-cache")),
    ("log_cache_syslog", Demand::Certificate("log-cache-syslog")),
    ("traffic_controller", Demand::NoCertificate),
    ("rlp_gateway", Demand::NoCertificate),
    ("log_cache_proxy", Demand::NoCertificate),
    ("sql_http", Demand::NoCertificate),
    ("uaa", Demand::NoCertificate),
    ("nats", Demand::CertificateAfterGreeting("nats")),
    ("routing_api", Demand::Certificate("routing-api")),
    ("route_registrar", Demand::Certificate("route-registrar")),
    ("router_https", Demand::NoCertificate),
    ("router_http", Demand::Plain),
    ("router_status", Demand::Plain),
    ("tcp_router", Demand::Plain),
    ("names_proxy", Demand::Plain),
];

/// Returns the rows of the table in docs/security.md: the keys of each row, and what its port requires.
fn documented() -> anyhow::Result<Vec<(Vec<String>, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (_, table) = text.split_once("## Every port").context("the section")?;
    let (table, _) = table.split_once("\n## ").context("the end of the section")?;
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    Ok(rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let who = cells.get(1).copied().unwrap_or_default();
            let keys = who.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (keys, cells.get(2).copied().unwrap_or_default().to_owned())
        })
        .collect())
}

/// Setup: a running stack. Must hold: the listening ports, the ports in docs/security.md and the ports of this test are
/// the same. Each one accepts and refuses clients at the level of TLS as the table says: without a certificate, with
/// one of another CA, and with one of the stack's CA.
#[tokio::test(flavor = "multi_thread")]
async fn every_port_demands_what_is_documented() -> anyhow::Result<()> {
    let documented = documented()?;
    let stack = Stack::start(Mode::Embedded).await?;
    let text = std::fs::read(stack.state_dir().join("endpoints.json"))?;
    let endpoints: Value = serde_json::from_slice(&text)?;
    let endpoints = endpoints.as_object().context("an object")?;

    let listening: BTreeSet<&str> = endpoints
        .iter()
        .filter(|(_, value)| value.as_str().is_some_and(|text| text.contains("127.0.0.1:")))
        .map(|(key, _)| key.as_str())
        .collect();
    let walked: BTreeSet<&str> = PORTS.iter().map(|(key, _)| *key).collect();
    let named: BTreeSet<&str> = documented
        .iter()
        .flat_map(|(keys, _)| keys)
        .map(String::as_str)
        .collect();
    assert_eq!(listening, walked, "a port that nobody looks at");
    assert_eq!(named, walked, "docs/security.md names other ports");

    let known = stack.endpoints().mutual()?;
    let nameless = stack.endpoints().trusting()?;
    let elsewhere = tempfile::tempdir()?;
    let foreign = Authority::open_or_create(elsewhere.path())?.issue("client", &[])?;
    let foreign = ClientTls::mutual(&IdentityFiles {
        ca: stack.endpoints().ca.clone(),
        ..foreign
    })?;
    for (key, demand) in PORTS {
        let url = endpoints[key].as_str().context("an address")?;
        let (_, says) = documented
            .iter()
            .find(|(keys, _)| keys.iter().any(|named| named == key))
            .context("a row")?;
        let (name, closed) = match demand {
            Demand::Certificate(name) | Demand::CertificateAfterGreeting(name) => (name, true),
            Demand::NoCertificate | Demand::Plain => ("localhost", false),
        };
        ensure!(says.contains("CA") == closed, "{key}: docs/security.md says {says}");
        if demand == Demand::Plain {
            ensure!(says.contains("nothing"), "{key}: docs/security.md says {says}");
            TcpStream::connect(address(url)).await.with_context(|| key.to_owned())?;
            continue;
        }
        let greets = matches!(demand, Demand::CertificateAfterGreeting(_));
        let patience = if closed { REFUSED } else { SILENCE };
        let refused = refusal(&nameless, url, name, greets, patience).await?;
        ensure!(refused.is_some() == closed, "{key}, no certificate: {refused:?}");
        if closed {
            let refused = refusal(&foreign, url, name, greets, REFUSED).await?;
            ensure!(refused.is_some(), "{key} took a foreign certificate");
        }
        let refused = refusal(&known, url, name, greets, SILENCE).await?;
        ensure!(refused.is_none(), "{key}, a certificate of the stack: {refused:?}");
    }
    Ok(())
}
