//! Tests of a forwarder agent between producers and several downstreams, over mTLS.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests spawn, wait and fail as they like"
)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::task::JoinHandle;
use weir_agents_forwarder::{Config, Error, RawConfig, Server};
use weir_agents_lib::bounds::RawBounds;
use weir_agents_lib::testing::{PATIENCE, Peer, Pki, free_port, numbered};
use weir_config::ByteSize;
use weir_eventually::eventually;
use weir_flow::{Ledger, LedgerSnapshot, LogContext};
use weir_net::Channel;
use weir_rpc::producer::{Pace, Producer, Report};
use weir_service::Trigger;

/// A running forwarder agent.
struct Forwarder {
    address: SocketAddr,
    trigger: Trigger,
    context: LogContext,
    running: JoinHandle<Result<(), Error>>,
}

impl Forwarder {
    /// Starts an agent with the downstreams `one`, `two` and `three` at these addresses.
    async fn start(pki: &Pki, downstreams: &[SocketAddr], raw: RawConfig) -> Self {
        let names = ["one", "two", "three"].map(str::to_owned);
        let raw = RawConfig {
            downstreams: names
                .into_iter()
                .zip(downstreams.iter().map(|address| (*address).into()))
                .collect(),
            ..raw
        };
        Self::bind(pki, raw).await.unwrap()
    }

    async fn bind(pki: &Pki, raw: RawConfig) -> Result<Self, Error> {
        let (trigger, context) = LogContext::in_memory("forwarder-agent");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            identity: pki.agent.clone(),
            downstream_files: if raw.downstream_files == RawConfig::default().downstream_files {
                Vec::new()
            } else {
                raw.downstream_files
            },
            ..raw
        };
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone()).await?;
        Ok(Self {
            address: server.local_addr(),
            trigger,
            context,
            running: tokio::spawn(server.run()),
        })
    }

    fn channel(&self, pki: &Pki) -> Channel {
        Channel::new(&pki.target(self.address))
    }

    fn producer(&self, pki: &Pki) -> Producer {
        Producer::new(
            &pki.target(self.address),
            Ledger::in_memory("producer"),
            &self.context.tasks,
            Pace::default(),
        )
    }

    fn ledger(&self) -> LedgerSnapshot {
        self.context.ledger.snapshot()
    }

    async fn stop(self) -> Arc<Ledger> {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        self.context.ledger
    }
}

/// Returns a configuration with a small buffer and a short drain time.
fn small() -> RawConfig {
    RawConfig {
        buffer: RawBounds {
            envelopes: 1000,
            bytes: ByteSize::mib(64),
        },
        drain: weir_config::Duration::from_millis(100),
        ..RawConfig::default()
    }
}

fn dropped(ledger: &LedgerSnapshot) -> Vec<(&str, &str, u64)> {
    ledger
        .dropped
        .iter()
        .map(|drop| (drop.hop.as_str(), drop.reason.as_str(), drop.count))
        .collect()
}

async fn flushed(producer: &mut Producer) -> Report {
    tokio::time::timeout(PATIENCE, producer.flush()).await.unwrap().unwrap()
}

/// Every downstream gets every envelope once, in order and with the default tags. The ledger counts each delivery.
#[tokio::test]
async fn everything_goes_to_every_downstream() {
    let pki = Pki::new();
    let peers = [Peer::start(&pki.agent, 0), Peer::start(&pki.agent, 0)];
    let config = RawConfig {
        tags: BTreeMap::from([("job".to_owned(), "cell".to_owned())]),
        ..RawConfig::default()
    };
    let forwarder = Forwarder::start(&pki, &peers.each_ref().map(Peer::address), config).await;
    let mut producer = forwarder.producer(&pki);
    for first in (0..5000).step_by(100) {
        producer.send(numbered("app", first, 100)).await.unwrap();
    }
    assert_eq!(flushed(&mut producer).await, Report { sent: 5000, lost: 0 });
    for peer in &peers {
        let received = peer.received();
        assert!(received.iter().map(|envelope| envelope.timestamp).eq(0..5000));
        assert!(received.iter().all(|envelope| envelope.tags["job"] == "cell"));
    }
    drop(producer);
    let ledger = forwarder.stop().await.snapshot();
    assert_eq!(
        (ledger.received, ledger.sent, ledger.dropped_total()),
        (5000, 10_000, 0)
    );
    assert_eq!(ledger.in_flight, 0);
}

/// An absent downstream delays nobody. It loses its own oldest envelopes, fairly to sources and counted at its own hop,
/// and gets the rest when it appears.
#[tokio::test]
async fn an_absent_downstream_loses_only_its_own_envelopes() {
    let pki = Pki::new();
    let (there, place) = (Peer::start(&pki.agent, 0), free_port());
    let forwarder = Forwarder::start(&pki, &[there.address(), place], small()).await;
    let channel = forwarder.channel(&pki);
    for batch in 0..50 {
        for batch in [numbered("noisy", batch * 100, 100), numbered("quiet", batch, 1)] {
            channel
                .unary("/loggregator.v2.Ingress/Send", batch.bytes().clone())
                .await
                .unwrap();
        }
    }
    eventually("all of it at the one that is there", || {
        there.received_envelopes() == 5050
    })
    .await;
    let late = Peer::start(&pki.agent, place.port());
    eventually("the rest at the one that came late", || {
        let lost = forwarder.ledger().dropped_total();
        late.received_envelopes() as u64 + lost == 5050
    })
    .await;
    let of = |source: &str| {
        late.received()
            .iter()
            .filter(|envelope| envelope.source_id == source)
            .map(|envelope| envelope.timestamp)
            .collect::<Vec<_>>()
    };
    assert!(of("quiet").into_iter().eq(0..50), "the quiet source lost nothing");
    let noisy = of("noisy");
    assert!(noisy.is_sorted() && noisy.last() == Some(&4999), "the newest were kept");
    let ledger = forwarder.stop().await.snapshot();
    let lost = 5000 - noisy.len() as u64;
    assert_eq!(dropped(&ledger), [("egress two", "buffer_full", lost)]);
    assert_eq!(ledger.sent, 5050 + 5050 - lost);
}

/// A batch is taken when both downstreams have it, and not before.
#[tokio::test]
async fn taken_waits_for_every_downstream() {
    let pki = Pki::new();
    let (quick, slow) = (Peer::start(&pki.agent, 0), Peer::stalled(&pki.agent));
    let forwarder = Forwarder::start(&pki, &[quick.address(), slow.address()], RawConfig::default()).await;
    let mut producer = forwarder.producer(&pki);
    producer.send(numbered("app", 0, 10)).await.unwrap();
    eventually("ten at both", || {
        quick.received_envelopes() == 10 && slow.received_envelopes() == 10
    })
    .await;
    // The first downstream has acknowledged.
    eventually("ten sent", || forwarder.ledger().sent == 10).await;
    assert_eq!(producer.untaken(), 10);
    slow.settle();
    assert_eq!(flushed(&mut producer).await, Report { sent: 10, lost: 0 });
}

/// Producers wait for a downstream that is absent for a moment. If it stays absent for longer than the patience, they
/// do not wait any more, and its envelopes are still sent when it appears.
#[tokio::test]
async fn producers_wait_only_for_the_patience() {
    let pki = Pki::new();
    let (there, place) = (Peer::start(&pki.agent, 0), free_port());
    let config = RawConfig {
        patience: weir_config::Duration::from_millis(300),
        ..RawConfig::default()
    };
    let forwarder = Forwarder::start(&pki, &[there.address(), place], config).await;
    let mut producer = forwarder.producer(&pki);
    producer.send(numbered("app", 0, 10)).await.unwrap();
    assert_eq!(
        flushed(&mut producer).await.lost,
        0,
        "waited for, and then not any more"
    );
    producer.send(numbered("app", 10, 10)).await.unwrap();
    assert_eq!(flushed(&mut producer).await.lost, 0, "not waited for");
    let late = Peer::start(&pki.agent, place.port());
    eventually("all at the late one", || late.received_envelopes() == 20).await;
    eventually("all settled", || forwarder.ledger().in_flight == 0).await;
    assert!(late.received().iter().map(|envelope| envelope.timestamp).eq(0..20));
    drop(late.kill());
    producer.send(numbered("app", 20, 10)).await.unwrap();
    assert_eq!(flushed(&mut producer).await.sent, 30);
    assert_eq!(there.received_envelopes(), 30);
}

/// When the agent stops, envelopes for an absent downstream are counted, and those for the others are delivered.
#[tokio::test]
async fn a_stop_drains_each_downstream() {
    let pki = Pki::new();
    let there = Peer::start(&pki.agent, 0);
    let forwarder = Forwarder::start(&pki, &[there.address(), free_port()], small()).await;
    let channel = forwarder.channel(&pki);
    let batch = numbered("app", 0, 500);
    channel
        .unary("/loggregator.v2.Ingress/Send", batch.bytes().clone())
        .await
        .unwrap();
    let ledger = forwarder.stop().await.snapshot();
    assert_eq!(there.received_envelopes(), 500);
    assert_eq!((ledger.received, ledger.sent, ledger.in_flight), (500, 500, 0));
    assert_eq!(dropped(&ledger), [("egress two", "shutting_down", 500)]);
}

/// A killed downstream costs the envelopes in flight to it, and is used again when it is back.
#[tokio::test]
async fn a_killed_downstream_is_counted() {
    let pki = Pki::new();
    let mut victim = Peer::stalled(&pki.agent);
    let there = Peer::start(&pki.agent, 0);
    let place = victim.address();
    let forwarder = Forwarder::start(&pki, &[there.address(), place], RawConfig::default()).await;
    let mut producer = forwarder.producer(&pki);
    producer.send(numbered("app", 0, 100)).await.unwrap();
    eventually("a hundred at the victim", || victim.received_envelopes() == 100).await;
    drop(victim.kill());
    assert_eq!(flushed(&mut producer).await, Report { sent: 100, lost: 100 });
    victim = Peer::start(&pki.agent, place.port());
    producer.send(numbered("app", 100, 100)).await.unwrap();
    assert_eq!(flushed(&mut producer).await, Report { sent: 200, lost: 100 });
    assert_eq!((there.received_envelopes(), victim.received_envelopes()), (200, 100));
    assert_eq!(dropped(&forwarder.ledger()), [("egress two", "peer_lost", 100)]);
}

/// Two downstreams accept nothing and are killed. A line that is lost for both is one lost line for its producer, and
/// is counted at both hops.
#[tokio::test]
async fn a_line_lost_for_two_downstreams_is_lost_once() {
    let pki = Pki::new();
    let victims = [Peer::stalled(&pki.agent), Peer::stalled(&pki.agent)];
    let places = victims.each_ref().map(Peer::address);
    let forwarder = Forwarder::start(&pki, &places, RawConfig::default()).await;
    let mut producer = forwarder.producer(&pki);
    producer.send(numbered("app", 0, 100)).await.unwrap();
    for victim in &victims {
        eventually("a hundred at the victim", || victim.received_envelopes() == 100).await;
    }
    for victim in victims {
        drop(victim.kill());
    }
    assert_eq!(flushed(&mut producer).await, Report { sent: 100, lost: 100 });
    assert_eq!(
        dropped(&forwarder.ledger()),
        [("egress one", "peer_lost", 100), ("egress two", "peer_lost", 100)]
    );
}

/// Files register downstreams. One with another protocol is skipped, and a broken one is an error.
#[tokio::test]
async fn files_name_downstreams() {
    let pki = Pki::new();
    let peer = Peer::start(&pki.agent, 0);
    let files = tempfile::tempdir().unwrap();
    let write = |job: &str, text: &str| {
        let config = files.path().join(job).join("config");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("ingress_port.yml"), text).unwrap();
    };
    write(
        "loggregator_agent",
        &format!("ingress: \"{}\"\n", peer.address().port()),
    );
    write("otel-collector", "ingress: \"4317\"\nprotocol: otelcol\n");
    write("quiet", "---\n");
    let config = || RawConfig {
        downstream_files: vec![format!("{}/*/config/ingress_port.yml", files.path().display())],
        ..RawConfig::default()
    };
    let forwarder = Forwarder::bind(&pki, config()).await.unwrap();
    let mut producer = forwarder.producer(&pki);
    producer.send(numbered("app", 0, 10)).await.unwrap();
    assert_eq!(flushed(&mut producer).await, Report { sent: 10, lost: 0 });
    assert_eq!(peer.received_envelopes(), 10);
    write("broken", "ingress: [");
    let Err(error) = Forwarder::bind(&pki, config()).await else {
        panic!("a broken file is an error")
    };
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

/// Without a downstream, all envelopes are counted as having no destination.
#[tokio::test]
async fn without_downstreams_everything_is_counted() {
    let pki = Pki::new();
    let config = RawConfig {
        downstream_files: vec!["/nonexistent/*/ingress_port.yml".to_owned()],
        ..RawConfig::default()
    };
    let forwarder = Forwarder::bind(&pki, config).await.unwrap();
    let mut producer = forwarder.producer(&pki);
    producer.send(numbered("app", 0, 10)).await.unwrap();
    assert_eq!(flushed(&mut producer).await, Report { sent: 10, lost: 10 });
    let ledger = forwarder.stop().await.snapshot();
    assert_eq!(dropped(&ledger), [("egress", "no_destination", 10)]);
}
