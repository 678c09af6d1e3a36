//! Doppler and RLP with one consumer of everything: the two raw hops of each envelope.

use std::sync::Arc;

use weir_net::Channel;
use weir_testkit::any;

use super::{Measured, Settings, drive, in_place};
use crate::load::{Generator, Template, source_names};
use crate::meter::Meter;
use crate::servers::{Part, Programs, Servers};
use crate::sinks::subscribe;

/// Sources that the lines are of.
const SOURCES: usize = 20;

pub(super) async fn run(programs: &Programs, rate: Option<u64>, settings: Settings) -> anyhow::Result<Measured> {
    let servers = Servers::start(programs, &[Part::Doppler, Part::Rlp]).await?;
    let meters = [Arc::new(Meter::default())];
    let rlp = Channel::new(&servers.target(servers.addresses.rlp, "reverselogproxy")?);
    let _sink = subscribe(&rlp, any(), &meters[0]);
    let doppler = servers.target(servers.addresses.doppler, "doppler")?;
    let mut generator = Generator::open(&doppler, Template::lines(&source_names(SOURCES)));
    in_place(&mut generator, &meters).await?;
    drive(&servers, &mut generator, &meters, rate, 1, settings).await
}
