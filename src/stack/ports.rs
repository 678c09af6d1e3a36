//! The ports of a stack: the default ones, or free ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::Rng as _;
use weir_component::{Description, Peer, Port};
use weir_error::ErrorKind;
use weir_files::Readers;

use crate::components::Table;
use crate::failure::Failure;
use crate::state::StateDir;

/// The range of automatic ports. It is below the range of ephemeral ports (from 32768 on Linux), so that no outgoing
/// connection has the port of a component that restarts.
const AUTOMATIC: std::ops::Range<u16> = 10_240..32_768;
/// The number of tries for one free port. The range would have to be nearly full to need them all.
const TRIES: usize = 1000;

/// The way in which ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// The ones that documentation and examples use
    Default,
    /// Free ones; the same as last time where they still are
    Auto,
}

/// One address for each port of the table of components, all on the loopback interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ports(Vec<Peer>);

impl Ports {
    /// Returns the ports that documentation and examples use.
    pub(crate) fn usual(table: &Table) -> Self {
        let peer = |(port, component): (&'static Port, &Description)| Peer {
            component: component.name,
            server_name: component.server_name(),
            port: *port,
            address: (Ipv4Addr::LOCALHOST, port.default).into(),
        };
        Self(table.ports().map(peer).collect())
    }

    /// Chooses the ports of the components of `table`, and makes sure that those of the components that run are free now.
    /// (Another program may take one before its component binds it. Then that component reports the port in use.)
    ///
    /// `fixed` are the numbers that the user wants for some ports, by their keys.
    pub(crate) fn choose(
        choice: Choice,
        fixed: &BTreeMap<String, u16>,
        table: &Table,
        running: &Table,
        state: &StateDir,
    ) -> Result<Self, Failure> {
        let fixed = || {
            let address = |(key, port): (&String, &u16)| (key.clone(), (Ipv4Addr::LOCALHOST, *port).into());
            fixed.iter().map(address)
        };
        match choice {
            Choice::Default => {
                let mut ports = Self::usual(table);
                ports.take(&fixed().collect());
                ports.check(running, state)?;
                Ok(ports)
            }
            Choice::Auto => {
                let free = |kept: &_| Self::free(table, kept).map_err(|error| Failure::io("no free ports", &error));
                let mut kept = Self::remembered(state)?;
                kept.extend(fixed());
                let ports = free(&kept)?;
                // A remembered port is in use, for example by a stack from a copy of this directory: all are chosen anew.
                if ports.taken(running).is_empty() {
                    return Ok(ports);
                }
                let ports = free(&fixed().collect())?;
                // Only a port that the user wants can be taken now.
                ports.check(running, state)?;
                Ok(ports)
            }
        }
    }

    /// Takes the addresses of `wanted` for the ports with these keys.
    fn take(&mut self, wanted: &BTreeMap<String, SocketAddr>) {
        for peer in &mut self.0 {
            if let Some(address) = wanted.get(peer.port.key) {
                peer.address = *address;
            }
        }
    }

    /// Returns the ports of the last start. They are kept so that clients of that stack find the next one.
    fn remembered(state: &StateDir) -> Result<BTreeMap<String, SocketAddr>, Failure> {
        let path = state.ports();
        let read = weir_files::read_or_set_aside(&path, |text| serde_json::from_slice(text));
        Ok(read.map_err(|error| Failure::file(&path, &error))?.unwrap_or_default())
    }

    /// Chooses a free port for each key that is not in `kept`.
    fn free(table: &Table, kept: &BTreeMap<String, SocketAddr>) -> io::Result<Self> {
        let mut seen = kept.values().map(SocketAddr::port).collect();
        let mut ports = Self::usual(table);
        for peer in &mut ports.0 {
            peer.address = match kept.get(peer.port.key) {
                Some(address) => *address,
                None => free_port(&mut seen)?,
            };
        }
        Ok(ports)
    }

    /// Writes the ports to `ports.json` for the next start.
    pub(crate) fn remember(&self, state: &StateDir) -> Result<(), Failure> {
        let path = state.ports();
        let addresses: BTreeMap<&str, SocketAddr> = self.named().collect();
        let text = serde_json::to_vec_pretty(&addresses)
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        weir_files::replace(&path, &text, Readers::Everybody).map_err(|error| Failure::file(&path, &error))
    }

    /// Returns all ports, in the order of the table.
    pub(crate) fn peers(&self) -> &[Peer] {
        &self.0
    }

    /// Returns the ports of the components in `running`.
    pub(crate) fn of<'p>(&'p self, running: &'p Table) -> impl Iterator<Item = &'p Peer> {
        self.0.iter().filter(|peer| running.has(peer.component))
    }

    /// Returns each address with its key in `endpoints.json`.
    fn named(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.0.iter().map(|peer| (peer.port.key, peer.address))
    }

    /// Returns the addresses of components in `running` that cannot be bound.
    pub(crate) fn taken(&self, running: &Table) -> Vec<Taken> {
        let taken = |peer: &Peer| {
            let error = TcpListener::bind(peer.address).err()?;
            Some(Taken {
                key: peer.port.key,
                address: peer.address,
                error,
            })
        };
        self.of(running).filter_map(taken).collect()
    }

    fn check(&self, running: &Table, state: &StateDir) -> Result<(), Failure> {
        let taken = self.taken(running);
        if taken.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = taken.iter().map(ToString::to_string).collect();
        Err(
            Failure::new(ErrorKind::Conflict, format!("ports: {}", list.join("; "))).with_hint(format!(
                "stop who has them, or take free ones with `weir{} up --ports auto`",
                state.as_flag()
            )),
        )
    }
}

fn free_port(seen: &mut BTreeSet<u16>) -> io::Result<SocketAddr> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let port = rand::rng().random_range(AUTOMATIC);
        if !seen.insert(port) {
            continue;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            // The listener closes here, and the component binds the port again. `weir up` retries if it is taken in between.
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An address that cannot be bound.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) key: &'static str,
    pub(crate) address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(formatter, "`{address}` for {key} is in use"),
            _ => write!(formatter, "`{address}` for {key}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::table;

    fn free() -> Ports {
        Ports::free(table(), &BTreeMap::new()).expect("some are free")
    }

    fn at(ports: &Ports, key: &str) -> SocketAddr {
        ports.named().find(|(found, _)| *found == key).expect("a port").1
    }

    /// Automatic ports are distinct and can be bound.
    #[test]
    fn automatic_ports_are_free_and_distinct() {
        let ports = free();
        assert!(ports.taken(table()).is_empty());
        let distinct: BTreeSet<SocketAddr> = ports.named().map(|(_, address)| address).collect();
        assert_eq!(distinct.len(), ports.named().count());
    }

    /// A second start takes the ports of the first, unless one of them is in use.
    #[test]
    fn automatic_ports_are_kept() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let choose =
            |running| Ports::choose(Choice::Auto, &BTreeMap::new(), table(), running, &state).expect("some are free");
        let first = choose(table());
        first.remember(&state).expect("written");
        assert_eq!(choose(table()), first);
        let doppler = at(&first, "doppler");
        let _taken = TcpListener::bind(doppler).expect("free");
        assert_ne!(at(&choose(table()), "doppler"), doppler);
        let others = table().only(&["uaa"]).expect("a component");
        assert_eq!(choose(&others), first, "the port of one that does not run may be taken");
    }

    /// A component that is new since the last start gets a free port, and the others keep theirs.
    #[test]
    fn a_new_component_gets_a_free_port() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let older = table().only(&["log-cache"]).expect("a component");
        let before = Ports::free(&older, &BTreeMap::new()).expect("some are free");
        before.remember(&state).expect("written");
        let now = Ports::choose(Choice::Auto, &BTreeMap::new(), table(), table(), &state).expect("some are free");
        assert!(before.named().all(|(key, address)| at(&now, key) == address));
        let distinct: BTreeSet<SocketAddr> = now.named().map(|(_, address)| address).collect();
        assert_eq!(distinct.len(), table().ports().count());
    }

    /// A port that the user wants is taken as it is, also beside automatic ones; if somebody has it, that is said.
    #[test]
    fn wanted_ports_are_taken() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let wanted = BTreeMap::from([("rlp".to_owned(), address.port())]);
        let choose = || Ports::choose(Choice::Auto, &wanted, table(), table(), &state);
        let failure = choose().expect_err("taken");
        assert_eq!(failure.kind(), ErrorKind::Conflict);
        drop(listener);
        assert_eq!(at(&choose().expect("free"), "rlp"), address);
    }

    /// The failure names the port in use and its component, and the hint has the flag for other ports.
    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut ports = free();
        for peer in &mut ports.0 {
            if peer.port.key == "rlp" {
                peer.address = address;
            }
        }
        let state = StateDir::at(std::path::Path::new("/x")).expect("absolute");
        let failure = ports.check(table(), &state).expect_err("taken");
        assert_eq!(failure.kind(), ErrorKind::Conflict);
        assert_eq!(
            failure.to_string(),
            format!(
                "error: ports: `{address}` for rlp is in use\n\
                 hint: stop who has them, or take free ones with `weir --state-dir /x up --ports auto`"
            )
        );
    }
}
