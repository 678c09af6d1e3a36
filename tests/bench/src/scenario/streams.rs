//! Many streams of one source each: cost should follow what is delivered, not the number of streams.

use std::sync::Arc;

use weir_net::Channel;
use weir_testkit::logs_of;

use super::{Measured, Settings, drive, in_place};
use crate::load::{Generator, Template, source_names};
use crate::meter::Meter;
use crate::servers::{Part, Programs, Servers};
use crate::sinks::subscribe;

pub(super) async fn run(
    programs: &Programs,
    streams: usize,
    connections: usize,
    rate: u64,
    settings: Settings,
) -> anyhow::Result<Measured> {
    let servers = Servers::start(programs, &[Part::Doppler, Part::Rlp]).await?;
    let rlp = servers.target(servers.addresses.rlp, "reverselogproxy")?;
    let channels: Vec<Channel> = (0..connections).map(|_| Channel::new(&rlp)).collect();
    let names = source_names(streams);
    let mut meters = Vec::new();
    let mut sinks = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let meter = Arc::new(Meter::default());
        let request = logs_of([name.as_str()]);
        sinks.push(subscribe(&channels[index % connections], request, &meter));
        meters.push(meter);
    }
    let doppler = servers.target(servers.addresses.doppler, "doppler")?;
    let mut generator = Generator::open(&doppler, Template::lines(&names));
    in_place(&mut generator, &meters).await?;
    drive(&servers, &mut generator, &meters, Some(rate), 1, settings).await
}
