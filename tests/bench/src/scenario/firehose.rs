//! Doppler and traffic controller: each line converted to v1, one WebSocket frame each.

use std::sync::Arc;

use super::{Measured, Settings, drive, in_place};
use crate::load::{Generator, Template, source_names};
use crate::meter::Meter;
use crate::servers::{Part, Programs, Servers};
use crate::sinks::firehose;

/// Sources that the lines are of.
const SOURCES: usize = 20;

pub(super) async fn run(
    programs: &Programs,
    subscriptions: usize,
    rate: u64,
    settings: Settings,
) -> anyhow::Result<Measured> {
    let servers = Servers::start(programs, &[Part::Doppler, Part::TrafficController]).await?;
    let tls = servers.trusting()?;
    let address = servers.addresses.traffic_controller.to_string();
    let mut meters = Vec::new();
    let mut sinks = Vec::new();
    for index in 0..subscriptions {
        let meter = Arc::new(Meter::default());
        let path = format!("/firehose/bench-{index}");
        sinks.push(firehose(&address, &path, &servers.token, &tls, &meter).await?);
        meters.push(meter);
    }
    let doppler = servers.target(servers.addresses.doppler, "doppler")?;
    let mut generator = Generator::open(&doppler, Template::lines(&source_names(SOURCES)));
    in_place(&mut generator, &meters).await?;
    let copies = subscriptions as u64;
    drive(&servers, &mut generator, &meters, Some(rate), copies, settings).await
}
