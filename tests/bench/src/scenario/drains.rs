//! The syslog agent: what a line costs on its way to a drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;
use weir_testkit::drains::{Behaviour, Controller, DrainItem, DrainReceiver, Pki, steady_port};
use weir_tls::{ALPN_H2, ALPN_HTTP1};

use super::{Measured, Over, Settings, drive, in_place};
use crate::load::{BATCH, Generator, Template, source_names};
use crate::meter::Meter;
use crate::remote::{Remote, delayed};
use crate::servers::{Part, Programs, Servers};

/// Bindings of the scenario with many.
const MANY: usize = 1000;
/// Which of them are broken; none is the first of a batch, whose delay is measured.
const DEAD: usize = 150;
const SLOW: usize = 550;
const REFUSING: usize = 950;

pub(super) async fn run(
    programs: &Programs,
    over: Over,
    rate: Option<u64>,
    settings: Settings,
) -> anyhow::Result<Measured> {
    let pki = Pki::new("the drain's CA")?;
    let certificate = pki.issue(&["localhost", "127.0.0.1"])?;
    let meter = Arc::new(Meter::default());
    let remote = match over {
        Over::Tcp => Remote::syslog(None, &meter).await?,
        Over::Tls => Remote::syslog(Some(certificate.server(&[], None)?), &meter).await?,
        Over::HttpsBatch { .. } => Remote::https(certificate.server(&[ALPN_H2, ALPN_HTTP1], None)?, &meter).await?,
    };
    let (url, _network) = match over {
        Over::Tcp => (format!("syslog://{}", remote.address), None),
        Over::Tls => (format!("syslog-tls://{}", remote.address), None),
        Over::HttpsBatch { round_trip } => {
            let network = delayed(remote.address, round_trip / 2).await?;
            (format!("https-batch://{}/lines", network.address), Some(network))
        }
    };
    let sources = source_names(1);
    let bound = DrainItem::new(&sources[0], url).trusting(&pki.ca);
    let (servers, _bindings) = agent(programs, [bound]).await?;
    let target = servers.target(servers.addresses.syslog_agent, "metron")?;
    let mut generator = Generator::open(&target, Template::lines(&sources));
    let meters = [meter];
    in_place(&mut generator, &meters).await?;
    drive(&servers, &mut generator, &meters, rate, 1, settings).await
}

/// An agent that has these bindings.
async fn agent(
    programs: &Programs,
    bindings: impl IntoIterator<Item = DrainItem>,
) -> anyhow::Result<(Servers, Controller)> {
    let mut servers = Servers::prepare()?;
    let controller = Controller::start(&servers.identity("bindings", &["binding-cache"])?).await?;
    controller.set(bindings);
    servers.addresses.bindings = Some(controller.address());
    servers.launch(programs, Part::SyslogAgent).await?;
    Ok((servers, controller))
}

pub(super) async fn run_many(programs: &Programs, rate: u64, settings: Settings) -> anyhow::Result<Measured> {
    let pki = Pki::new("the drains' CA")?;
    let meter = Arc::new(Meter::default());
    let remote = Remote::syslog(None, &meter).await?;
    let slow = DrainReceiver::tcp(Behaviour::Slow(1024)).await?;
    let config = pki.issue(&["127.0.0.1"])?.server(&[], None)?;
    let refusing = DrainReceiver::tls(config, Behaviour::RefuseTls).await?;
    let dead = format!("syslog://{}", steady_port()?);
    let well = format!("syslog://{}", remote.address);
    let sources = source_names(MANY);
    let items = sources.iter().enumerate().map(|(index, source)| match index {
        DEAD => DrainItem::new(source, &dead),
        SLOW => DrainItem::new(source, slow.url()),
        REFUSING => DrainItem::new(source, refusing.url()).trusting(&pki.ca),
        _ => DrainItem::new(source, &well),
    });
    let (servers, _bindings) = agent(programs, items).await?;
    let templates = sources.chunks(BATCH).enumerate().map(|(part, sources)| {
        let broken = [DEAD, SLOW, REFUSING]
            .iter()
            .filter(|index| **index / BATCH == part)
            .count();
        Template::lines(sources).reaching((BATCH - broken) as u64)
    });
    let target = servers.target(servers.addresses.syslog_agent, "metron")?;
    let mut generator = Generator::open_all(&target, templates.collect());
    let meters = [meter];
    in_place(&mut generator, &meters).await?;
    // All connections are made before anything is measured.
    let deadline = Instant::now() + Duration::from_secs(60);
    while remote.connections() < MANY as u64 - 3 {
        ensure!(Instant::now() < deadline, "{} connections", remote.connections());
        generator.run(Some(rate), Duration::from_millis(500)).await?;
    }
    drive(&servers, &mut generator, &meters, Some(rate), 1, settings).await
}
