//! What is measured, and what it should cost.

mod drains;
mod feed;
mod firehose;
mod log_cache;
mod logins;
mod nats;
mod relay;
mod streams;
mod tcp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::cpu::{Usages, between};
use crate::load::Generator;
use crate::meter::{Delays, Meter};
use crate::servers::{Programs, Servers};

/// Before the measurement: connections, caches and buffers find their size.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what is under way may take to arrive.
const DRAIN: Duration = Duration::from_secs(20);
/// When nothing came for so long, nothing more comes.
const QUIET: Duration = Duration::from_secs(1);

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) measure: Duration,
    pub(crate) runs: u32,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    pub(crate) targets: &'static [Target],
}

/// How it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Doppler and RLP; envelopes a second, or as many as are taken.
    Relay { rate: Option<u64> },
    /// Doppler and traffic controller, so many firehoses with subscriptions of their own.
    Firehose { subscriptions: usize, rate: u64 },
    /// Doppler and RLP, so many streams, each of one of as many sources, over so many connections.
    Streams {
        streams: usize,
        connections: usize,
        rate: u64,
    },
    /// Log cache: so many envelopes in, then reads and SQL.
    LogCache { envelopes: u64 },
    /// Syslog agent, one app bound to one drain; envelopes a second, or as many as are taken.
    Drain { over: Over, rate: Option<u64> },
    /// Syslog agent, a thousand apps bound to a drain each, three of them broken.
    DrainMany { rate: u64 },
    /// Syslog agent, syslog server and log cache.
    DrainFeed { rate: Option<u64> },
    /// UAA, so many who log in as often as they can.
    Logins { clients: usize },
    /// NATS, so many subscribers of one subject; messages a second, or as many as are taken.
    Nats { subscribers: usize, rate: Option<u64> },
    /// TCP router: round trips, new connections and streams.
    Tcp,
}

/// How a drain is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Tls,
    /// POSTs of many messages, over a network of that round trip.
    HttpsBatch {
        round_trip: Duration,
    },
}

/// A bound for one figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) figure: &'static str,
    pub(crate) bound: Bound,
}

/// From which side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

const fn at_most(figure: &'static str, bound: f64) -> Target {
    Target {
        figure,
        bound: Bound::AtMost(bound),
    }
}

const fn at_least(figure: &'static str, bound: f64) -> Target {
    Target {
        figure,
        bound: Bound::AtLeast(bound),
    }
}

/// CPU time of the servers for each envelope received by a consumer, µs.
pub(crate) const CPU: &str = "cpu µs/envelope";
/// CPU time of the servers for each envelope sent, µs.
pub(crate) const CPU_SENT: &str = "cpu µs/sent";
pub(crate) const LOST: &str = "lost %";
pub(crate) const P50: &str = "p50 ms";
pub(crate) const P99: &str = "p99 ms";
pub(crate) const MAX: &str = "max ms";
pub(crate) const SENT: &str = "sent/s";
pub(crate) const RECEIVED: &str = "received/s";
/// Most that the servers ever held in memory, together.
pub(crate) const PEAK: &str = "peak MiB";

/// Everything, in the order of the table.
pub(crate) const SCENARIOS: [Scenario; 26] = [
    Scenario {
        name: "relay-20k",
        what: "doppler + RLP, one consumer of everything, 20,000/s",
        kind: Kind::Relay { rate: Some(20_000) },
        targets: &[
            at_most(CPU, 2.0),
            at_most(LOST, 0.0),
            at_most(P50, 1.0),
            at_most(P99, 10.0),
        ],
    },
    Scenario {
        name: "relay-50k",
        what: "the same at 50,000/s",
        kind: Kind::Relay { rate: Some(50_000) },
        targets: &[at_most(CPU, 2.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "relay-100k",
        what: "the same at 100,000/s",
        kind: Kind::Relay { rate: Some(100_000) },
        targets: &[at_most(CPU, 2.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "relay-max",
        what: "the same, as fast as the doppler takes them",
        kind: Kind::Relay { rate: None },
        targets: &[],
    },
    Scenario {
        name: "firehose-1",
        what: "doppler + traffic controller, one firehose, 10,000/s",
        kind: Kind::Firehose {
            subscriptions: 1,
            rate: 10_000,
        },
        targets: &[at_most(CPU, 4.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "firehose-4",
        what: "the same with four subscriptions",
        kind: Kind::Firehose {
            subscriptions: 4,
            rate: 10_000,
        },
        targets: &[at_most(CPU, 2.5), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "firehose-1-50k",
        what: "one firehose, 50,000/s",
        kind: Kind::Firehose {
            subscriptions: 1,
            rate: 50_000,
        },
        targets: &[at_most(CPU, 4.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "firehose-4-20k",
        what: "four subscriptions, 20,000/s",
        kind: Kind::Firehose {
            subscriptions: 4,
            rate: 20_000,
        },
        targets: &[at_most(CPU, 2.5), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "streams-50",
        what: "doppler + RLP, 50 streams of one source each over one connection, 10,000/s",
        kind: Kind::Streams {
            streams: 50,
            connections: 1,
            rate: 10_000,
        },
        targets: &[at_most(CPU, 3.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "streams-50-conns",
        what: "the same over 50 connections",
        kind: Kind::Streams {
            streams: 50,
            connections: 50,
            rate: 10_000,
        },
        targets: &[at_most(CPU, 3.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "log-cache",
        what: "1,000,000 envelopes of 214 bytes from 1,000 sources in, then reads and SQL",
        kind: Kind::LogCache { envelopes: 1_000_000 },
        targets: &[
            at_most(log_cache::INGEST_CPU, 2.0),
            at_most(log_cache::RESIDENT, 180.0),
            at_most(log_cache::READ_P99, 5.0),
            at_most(log_cache::SQL_COUNT, 100.0),
            at_most(log_cache::SQL_REGEX, 500.0),
        ],
    },
    Scenario {
        name: "drain-tcp-10k",
        what: "syslog agent, one TCP drain, 10,000/s",
        kind: Kind::Drain {
            over: Over::Tcp,
            rate: Some(10_000),
        },
        targets: &[at_most(CPU, 3.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-tcp-20k",
        what: "the same at 20,000/s",
        kind: Kind::Drain {
            over: Over::Tcp,
            rate: Some(20_000),
        },
        targets: &[at_most(CPU, 3.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-tcp-50k",
        what: "the same at 50,000/s",
        kind: Kind::Drain {
            over: Over::Tcp,
            rate: Some(50_000),
        },
        targets: &[at_most(CPU, 3.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-tcp-max",
        what: "the same, as fast as the agent takes them",
        kind: Kind::Drain {
            over: Over::Tcp,
            rate: None,
        },
        targets: &[at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-tls-20k",
        what: "syslog agent, one TLS drain, 20,000/s",
        kind: Kind::Drain {
            over: Over::Tls,
            rate: Some(20_000),
        },
        targets: &[at_most(CPU, 4.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-tls-50k",
        what: "the same at 50,000/s",
        kind: Kind::Drain {
            over: Over::Tls,
            rate: Some(50_000),
        },
        targets: &[at_most(CPU, 4.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-https-batch",
        what: "syslog agent, one https-batch drain 50 ms away, 25,000/s",
        kind: Kind::Drain {
            over: Over::HttpsBatch {
                round_trip: Duration::from_millis(50),
            },
            rate: Some(25_000),
        },
        targets: &[at_least(RECEIVED, 20_000.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "drain-1000",
        what: "syslog agent, 1,000 TCP drains, one dead, one at 1 KB/s, one refusing TLS, 2,000/s over all",
        kind: Kind::DrainMany { rate: 2_000 },
        targets: &[at_most(LOST, 0.0), at_most(P99, 100.0), at_most(PEAK, 200.0)],
    },
    Scenario {
        name: "drain-feed",
        what: "syslog agent, syslog server and log cache, 5,000/s",
        kind: Kind::DrainFeed { rate: Some(5_000) },
        targets: &[at_most(CPU, 8.0), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "logins",
        what: "UAA, 100 clients that log in as often as they can, and one that asks for the keys",
        kind: Kind::Logins { clients: 100 },
        targets: &[at_most(logins::KEYS_P99, 5.0)],
    },
    Scenario {
        name: "nats-1",
        what: "NATS, one subscriber, as fast as the server takes messages of 128 bytes",
        kind: Kind::Nats {
            subscribers: 1,
            rate: None,
        },
        targets: &[at_most(nats::CPU_MESSAGE, 0.61), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "nats-4",
        what: "the same with four subscribers",
        kind: Kind::Nats {
            subscribers: 4,
            rate: None,
        },
        targets: &[at_most(nats::CPU_MESSAGE, 1.37), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "nats-1-20k",
        what: "one subscriber, 20,000/s",
        kind: Kind::Nats {
            subscribers: 1,
            rate: Some(20_000),
        },
        targets: &[at_most(nats::CPU_MESSAGE, 1.8), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "nats-4-20k",
        what: "four subscribers, 20,000/s",
        kind: Kind::Nats {
            subscribers: 4,
            rate: Some(20_000),
        },
        targets: &[at_most(nats::CPU_MESSAGE, 3.2), at_most(LOST, 0.0)],
    },
    Scenario {
        name: "tcp",
        what: "TCP router: round trips of 1 KB over 64 connections, new connections with one, streams of 1 GiB",
        kind: Kind::Tcp,
        targets: &[
            at_most(tcp::ROUND_TRIP_CPU, 11.5),
            at_most(tcp::CONNECTION_CPU, 60.6),
            at_most(tcp::STREAM_CPU, 0.46),
        ],
    },
];

/// What came out of one scenario with one set of programs.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) programs: &'static str,
    pub(crate) figures: Vec<(&'static str, f64)>,
    /// CPU time by process in µs for each envelope sent, and memory.
    pub(crate) processes: BTreeMap<String, ProcessFigures>,
    pub(crate) error: Option<String>,
}

/// The share of one process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct ProcessFigures {
    pub(crate) cpu_micros_per_sent: f64,
    pub(crate) resident_mib: f64,
    pub(crate) peak_mib: f64,
}

impl Outcome {
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|(figure, _)| *figure == name)
            .map(|(_, value)| *value)
    }
}

/// Runs a scenario as often as wanted and keeps the median of each figure.
pub(crate) async fn run(scenario: Scenario, programs: &Programs, settings: Settings) -> Outcome {
    let mut runs = Vec::new();
    let mut error = None;
    for _ in 0..settings.runs {
        match once(scenario, programs, settings).await {
            Ok(measured) => runs.push(measured),
            Err(failure) => error = Some(format!("{failure:#}")),
        }
    }
    let (figures, processes) = median(runs);
    Outcome {
        scenario,
        programs: programs.name(),
        figures,
        processes,
        error,
    }
}

async fn once(scenario: Scenario, programs: &Programs, settings: Settings) -> anyhow::Result<Measured> {
    match scenario.kind {
        Kind::Relay { rate } => relay::run(programs, rate, settings).await,
        Kind::Firehose { subscriptions, rate } => firehose::run(programs, subscriptions, rate, settings).await,
        Kind::Streams {
            streams,
            connections,
            rate,
        } => streams::run(programs, streams, connections, rate, settings).await,
        Kind::LogCache { envelopes } => log_cache::run(programs, envelopes).await,
        Kind::Drain { over, rate } => drains::run(programs, over, rate, settings).await,
        Kind::DrainMany { rate } => drains::run_many(programs, rate, settings).await,
        Kind::DrainFeed { rate } => feed::run(programs, rate, settings).await,
        Kind::Logins { clients } => logins::run(programs, clients, settings).await,
        Kind::Nats { subscribers, rate } => nats::run(programs, subscribers, rate, settings).await,
        Kind::Tcp => tcp::run(programs, settings).await,
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    pub(crate) figures: Vec<(&'static str, f64)>,
    pub(crate) processes: BTreeMap<String, ProcessFigures>,
}

/// The run in the middle, figure by figure; processes as in the first run.
fn median(runs: Vec<Measured>) -> (Vec<(&'static str, f64)>, BTreeMap<String, ProcessFigures>) {
    let Some(first) = runs.first() else {
        return Default::default();
    };
    let figures = first
        .figures
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            let mut values: Vec<f64> = runs
                .iter()
                .filter_map(|run| run.figures.get(index).map(|(_, value)| *value))
                .collect();
            values.sort_by(f64::total_cmp);
            (*name, values[values.len() / 2])
        })
        .collect();
    (figures, first.processes.clone())
}

/// Drives a load through `servers` to consumers that are in place, and works out what it cost. `copies` is how many
/// consumers each envelope reaches.
pub(crate) async fn drive(
    servers: &Servers,
    generator: &mut Generator,
    meters: &[Arc<Meter>],
    rate: Option<u64>,
    copies: u64,
    settings: Settings,
) -> anyhow::Result<Measured> {
    generator.run(rate, WARM_UP).await?;
    settle(meters, None).await;
    let (sent_before, due_before, got_before) = (generator.sent(), generator.due(), received(meters));
    for meter in meters {
        meter.reset_delays();
    }
    let before = servers.usages()?;
    let elapsed = generator.run(rate, settings.measure).await?;
    let sent = generator.sent() - sent_before;
    let due = (generator.due() - due_before) * copies;
    settle(meters, Some(got_before + due)).await;
    let after = servers.usages()?;
    let got = received(meters) - got_before;
    let delays = Delays::of(meters);
    Ok(figures(elapsed, sent, got, due, delays, &between(&before, &after)))
}

fn received(meters: &[Arc<Meter>]) -> u64 {
    meters.iter().map(|meter| meter.envelopes()).sum()
}

/// Waits until `all` arrived, or nothing more does.
async fn settle(meters: &[Arc<Meter>], all: Option<u64>) {
    let deadline = Instant::now() + DRAIN;
    let (mut last, mut since) = (received(meters), Instant::now());
    while Instant::now() < deadline && since.elapsed() < QUIET && all.is_none_or(|all| last < all) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = received(meters);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn figures(elapsed: Duration, sent: u64, got: u64, due: u64, delays: Delays, used: &Usages) -> Measured {
    let micros: f64 = used.values().map(|usage| usage.cpu.as_secs_f64() * 1e6).sum();
    let seconds = elapsed.as_secs_f64();
    let expected = due as f64;
    let peak: u64 = used.values().map(|usage| usage.peak).sum();
    let figures = vec![
        (SENT, sent as f64 / seconds),
        (RECEIVED, got as f64 / seconds),
        (LOST, (expected - got as f64).max(0.0) / expected.max(1.0) * 100.0),
        (P50, delays.p50),
        (P99, delays.p99),
        (MAX, delays.max),
        (CPU, micros / (got as f64).max(1.0)),
        (CPU_SENT, micros / (sent as f64).max(1.0)),
        (PEAK, peak as f64 / 1_048_576.0),
    ];
    Measured {
        figures,
        processes: processes(used, sent as f64),
    }
}

/// The share of each process.
#[expect(clippy::cast_precision_loss, reason = "memory far below 2^52")]
pub(crate) fn processes(used: &Usages, sent: f64) -> BTreeMap<String, ProcessFigures> {
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    used.iter()
        .map(|(name, usage)| {
            let figures = ProcessFigures {
                cpu_micros_per_sent: usage.cpu.as_secs_f64() * 1e6 / sent.max(1.0),
                resident_mib: mib(usage.resident),
                peak_mib: mib(usage.peak),
            };
            (name.clone(), figures)
        })
        .collect()
}

/// Sends until every consumer has got something, so that all of them are in place.
pub(crate) async fn in_place(generator: &mut Generator, meters: &[Arc<Meter>]) -> anyhow::Result<()> {
    let deadline = Instant::now() + DRAIN;
    while meters.iter().any(|meter| meter.envelopes() == 0) {
        anyhow::ensure!(Instant::now() < deadline, "nothing arrives at a consumer");
        generator.run(Some(1000), Duration::from_millis(200)).await?;
    }
    Ok(())
}
