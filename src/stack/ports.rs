//! Which ports a stack listens on: the usual ones, or free ones.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use weir_error::ErrorKind;
use weir_files::Readers;

use crate::failure::Failure;
use crate::state::StateDir;

/// Below the range from which systems take ports for outgoing connections, so that none of those is in the way when a
/// component restarts on its port.
const AUTOMATIC: std::ops::Range<u16> = 10_240..32_768;
/// Tries for one free port: the range would have to be nearly full to need them.
const TRIES: usize = 1000;

/// How the ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// The ones that documentation and examples use
    Default,
    /// Free ones; the same as last time where they still are
    Auto,
}

/// One address per face of the stack, all on the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    pub(crate) uaa: SocketAddr,
    pub(crate) agent: SocketAddr,
    pub(crate) loggregator_agent: SocketAddr,
    pub(crate) syslog_agent: SocketAddr,
    pub(crate) syslog_agent_status: SocketAddr,
    pub(crate) binding_cache: SocketAddr,
    pub(crate) doppler: SocketAddr,
    pub(crate) rlp: SocketAddr,
    pub(crate) rlp_gateway: SocketAddr,
    pub(crate) traffic_controller: SocketAddr,
    pub(crate) log_cache: SocketAddr,
    pub(crate) log_cache_gateway: SocketAddr,
    pub(crate) log_cache_proxy: SocketAddr,
    pub(crate) log_cache_syslog: SocketAddr,
    pub(crate) sql_http: SocketAddr,
}

impl Default for Ports {
    fn default() -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            uaa: at(8443),
            agent: at(3458),
            loggregator_agent: at(3459),
            syslog_agent: at(3460),
            syslog_agent_status: at(3461),
            binding_cache: at(9000),
            doppler: at(8082),
            rlp: at(8083),
            rlp_gateway: at(8088),
            traffic_controller: at(8081),
            log_cache: at(8080),
            log_cache_gateway: at(8084),
            log_cache_proxy: at(8085),
            log_cache_syslog: at(6067),
            sql_http: at(8086),
        }
    }
}

impl Ports {
    /// Chooses the ports and makes sure that they are free now. (Another program may take one before we do: then the
    /// component that needed it says so.)
    pub(crate) fn choose(choice: Choice, state: &StateDir) -> Result<Self, Failure> {
        match choice {
            Choice::Default => {
                let ports = Self::default();
                ports.check(state)?;
                Ok(ports)
            }
            Choice::Auto => match Self::remembered(state)?.filter(|ports| ports.taken().is_empty()) {
                Some(ports) => Ok(ports),
                None => Self::free().map_err(|error| Failure::io("no free ports", &error)),
            },
        }
    }

    /// The ports of the last start: clients that come back find what they know.
    fn remembered(state: &StateDir) -> Result<Option<Self>, Failure> {
        let path = state.ports();
        weir_files::read_or_set_aside(&path, |text| serde_json::from_slice(text))
            .map_err(|error| Failure::file(&path, &error))
    }

    /// Keeps them for the next start.
    pub(crate) fn remember(&self, state: &StateDir) -> Result<(), Failure> {
        let path = state.ports();
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        weir_files::replace(&path, &text, Readers::Everybody).map_err(|error| Failure::file(&path, &error))
    }

    /// Every address with the key under which `endpoints.json` has it.
    pub(crate) fn named(&self) -> [(&'static str, SocketAddr); 15] {
        [
            ("uaa", self.uaa),
            ("agent", self.agent),
            ("loggregator_agent", self.loggregator_agent),
            ("syslog_agent", self.syslog_agent),
            ("syslog_agent_status", self.syslog_agent_status),
            ("binding_cache", self.binding_cache),
            ("doppler", self.doppler),
            ("rlp", self.rlp),
            ("rlp_gateway", self.rlp_gateway),
            ("traffic_controller", self.traffic_controller),
            ("log_cache", self.log_cache),
            ("log_cache_gateway", self.log_cache_gateway),
            ("log_cache_proxy", self.log_cache_proxy),
            ("log_cache_syslog", self.log_cache_syslog),
            ("sql_http", self.sql_http),
        ]
    }

    /// The addresses that somebody else has, with their keys.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        let mut taken = Vec::new();
        for (key, address) in self.named() {
            if let Err(error) = TcpListener::bind(address) {
                taken.push(Taken { key, address, error });
            }
        }
        taken
    }

    fn check(&self, state: &StateDir) -> Result<(), Failure> {
        let taken = self.taken();
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

    fn free() -> io::Result<Self> {
        let mut seen = BTreeSet::new();
        let mut next = || free_port(&mut seen);
        Ok(Self {
            uaa: next()?,
            agent: next()?,
            loggregator_agent: next()?,
            syslog_agent: next()?,
            syslog_agent_status: next()?,
            binding_cache: next()?,
            doppler: next()?,
            rlp: next()?,
            rlp_gateway: next()?,
            traffic_controller: next()?,
            log_cache: next()?,
            log_cache_gateway: next()?,
            log_cache_proxy: next()?,
            log_cache_syslog: next()?,
            sql_http: next()?,
        })
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
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An address that cannot be had.
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

    /// Automatic ports are distinct and can be had.
    #[test]
    fn automatic_ports_are_free_and_distinct() {
        let ports = Ports::free().expect("some are free");
        assert!(ports.taken().is_empty());
        let distinct: BTreeSet<SocketAddr> = ports.named().into_iter().map(|(_, address)| address).collect();
        assert_eq!(distinct.len(), ports.named().len());
    }

    /// A second start takes the ports of the first, unless somebody has one of them now.
    #[test]
    fn automatic_ports_are_kept() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let first = Ports::choose(Choice::Auto, &state).expect("some are free");
        first.remember(&state).expect("written");
        assert_eq!(Ports::choose(Choice::Auto, &state).expect("free again"), first);
        let _taken = TcpListener::bind(first.doppler).expect("free");
        assert_ne!(
            Ports::choose(Choice::Auto, &state).expect("others are free").doppler,
            first.doppler
        );
    }

    /// A port in use is named with what it was for, and the way out is said.
    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let ports = Ports {
            rlp: address,
            ..Ports::free().expect("some are free")
        };
        let state = StateDir::at(std::path::Path::new("/x")).expect("absolute");
        let failure = ports.check(&state).expect_err("taken");
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
