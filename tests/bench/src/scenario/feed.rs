//! From the syslog agent over the log cache's syslog server into the log cache: how the original's log cache is fed.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::task::JoinHandle;
use weir_net::Channel;
use weir_proto::logcache_v1::{MetaRequest, MetaResponse};
use weir_testkit::drains::{Certificate, Controller, DrainItem};

use super::{Measured, Settings, drive, in_place};
use crate::load::{Generator, Template, source_names};
use crate::meter::Meter;
use crate::servers::{Part, Programs, Servers};

const META: &str = "/logcache.v1.Egress/Meta";

/// Sources that the lines are of.
const SOURCES: usize = 20;

/// Between two looks into the log cache: seldom, since it has to answer.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(programs: &Programs, rate: Option<u64>, settings: Settings) -> anyhow::Result<Measured> {
    let mut servers = Servers::prepare()?;
    servers.launch(programs, Part::LogCache).await?;
    servers.launch(programs, Part::SyslogServer).await?;
    let identity = servers.identity("drain", &[])?;
    let shown = Certificate {
        cert: std::fs::read_to_string(&identity.cert)?,
        key: std::fs::read_to_string(&identity.key)?,
    };
    let ca = std::fs::read_to_string(&identity.ca)?;
    let url = format!(
        "syslog-tls://localhost:{}?drain-data=all",
        servers.addresses.syslog_server.port()
    );
    let controller = Controller::start(&servers.identity("bindings", &["binding-cache"])?).await?;
    controller.set_aggregates([DrainItem::new("", url).trusting(&ca).showing(&shown)]);
    servers.addresses.bindings = Some(controller.address());
    servers.launch(programs, Part::SyslogAgent).await?;

    let meter = Arc::new(Meter::default());
    let log_cache = Channel::new(&servers.target(servers.addresses.log_cache, "log-cache")?);
    let _looking = Looking::start(log_cache, &meter);
    let target = servers.target(servers.addresses.syslog_agent, "metron")?;
    let mut generator = Generator::open(&target, Template::lines(&source_names(SOURCES)));
    let meters = [meter];
    in_place(&mut generator, &meters).await?;
    drive(&servers, &mut generator, &meters, rate, 1, settings).await
}

/// Looks how many envelopes the log cache has, until dropped.
struct Looking(JoinHandle<anyhow::Result<()>>);

impl Looking {
    fn start(channel: Channel, meter: &Arc<Meter>) -> Self {
        let meter = Arc::clone(meter);
        Self(tokio::spawn(async move {
            // What a node has itself: else the original's answer is up to a second old.
            let request = MetaRequest { local_only: true }.encode_to_vec();
            loop {
                let answer = channel.unary(META, request.clone()).await?;
                let sources = MetaResponse::decode(answer)?.meta;
                let stored = sources.values().map(|meta| meta.count + meta.expired).sum::<i64>();
                meter.set(u64::try_from(stored)?);
                tokio::time::sleep(LOOK).await;
            }
        }))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}
