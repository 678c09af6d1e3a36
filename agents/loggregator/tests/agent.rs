//! Tests of the agent in one process, with real producers and simulated dopplers, over mTLS.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use prost::Message as _;
use weir_agents_loggregator::{RawBounds, RawConfig};
use weir_config::ByteSize;
use weir_flow::{Ledger, LogContext};
use weir_proto::loggregator_v2 as v2;
use weir_proto::loggregator_v2::ingress_client::IngressClient;
use weir_rpc::producer::{Pace, Producer, Report};

use weir_eventually::eventually;

use common::{Agent, Peer, Pki, log, numbered};

/// All three methods of the original's service are answered, and the envelopes arrive with default tags.
#[tokio::test]
async fn ordinary_clients_are_served() {
    let pki = Pki::new();
    let doppler = Peer::start(&pki.doppler, 0);
    let config = RawConfig {
        tags: [("job".to_owned(), "cell".to_owned())].into(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, &[doppler.address()], config).await;
    let mut client = IngressClient::new(agent.channel(&pki).tonic());
    client.sender(stream::iter([log("a"), log("b")])).await.unwrap();
    client
        .batch_sender(stream::iter([v2::EnvelopeBatch {
            batch: vec![log("c"), log("d")],
        }]))
        .await
        .unwrap();
    client.send(v2::EnvelopeBatch { batch: vec![log("e")] }).await.unwrap();
    eventually("five envelopes", || doppler.received().len() == 5).await;
    let mut received = doppler.received();
    received.sort_by(|one, other| one.source_id.cmp(&other.source_id));
    let sources: Vec<_> = received.iter().map(|envelope| envelope.source_id.as_str()).collect();
    assert_eq!(sources, ["a", "b", "c", "d", "e"]);
    assert!(received.iter().all(|envelope| envelope.tags["job"] == "cell"));
    let ledger = agent.stop().await;
    let counts = ledger.snapshot();
    assert_eq!(
        (counts.received, counts.sent, counts.dropped_total(), counts.in_flight),
        (5, 5, 0, 0)
    );
}

/// One invalid envelope in a batch is counted. The others pass, and the stream goes on.
#[tokio::test]
async fn a_malformed_envelope_costs_only_itself() {
    let pki = Pki::new();
    let doppler = Peer::start(&pki.doppler, 0);
    let agent = Agent::start(&pki, &[doppler.address()], RawConfig::default()).await;
    let good = log("good").encode_to_vec();
    // The source id of the second envelope is not UTF-8.
    let mut batch = Vec::new();
    for envelope in [&good[..], b"\x12\x02\xff\xfe", &good[..]] {
        weir_envelope::wire::put_bytes(&mut batch, 1, envelope);
    }
    agent
        .channel(&pki)
        .unary("/loggregator.v2.Ingress/Send", Bytes::from(batch))
        .await
        .unwrap();
    eventually("two envelopes", || doppler.received().len() == 2).await;
    let counts = agent.stop().await.snapshot();
    assert_eq!((counts.received, counts.sent, counts.dropped_total()), (3, 2, 1));
    assert_eq!(counts.dropped[0].reason, "malformed");
}

/// Envelopes that arrive while there is no doppler wait, and are delivered in order when one starts.
#[tokio::test]
async fn the_buffer_outlives_a_missing_doppler() {
    let pki = Pki::new();
    let place = common::free_port();
    let agent = Agent::start(&pki, &[place], RawConfig::default()).await;
    let mut producer = agent.producer(&pki);
    for first in 0..10 {
        producer.send(numbered("app", first * 100, 100)).await.unwrap();
    }
    let doppler = Peer::start(&pki.doppler, place.port());
    assert_eq!(producer.flush().await.unwrap(), Report { sent: 1000, lost: 0 });
    let timestamps: Vec<_> = doppler.received().iter().map(|envelope| envelope.timestamp).collect();
    assert_eq!(timestamps, (0..1000).collect::<Vec<_>>());
}

/// A doppler is killed under load and restarted. Every envelope is delivered or counted as lost by the agent.
#[tokio::test]
async fn a_killed_doppler_loses_nothing_uncounted() {
    let pki = Pki::new();
    let mut doppler = Peer::start(&pki.doppler, 0);
    let place = doppler.address();
    let agent = Agent::start(&pki, &[place], RawConfig::default()).await;
    let mut producer = agent.producer(&pki);
    let mut delivered = 0;
    for round in 0..3 {
        for batch in 0..50 {
            producer
                .send(numbered("app", (round * 50 + batch) * 100, 100))
                .await
                .unwrap();
            if batch == 25 && round < 2 {
                delivered += doppler.kill().len() as u64;
                doppler = Peer::start(&pki.doppler, place.port());
            }
        }
    }
    producer.flush().await.unwrap();
    delivered += doppler.received().len() as u64;
    let ledger = agent.stop().await;
    let counts = ledger.snapshot();
    assert_eq!(counts.received, 15_000);
    assert_eq!(counts.sent + counts.dropped_total(), 15_000, "{counts:?}");
    assert!(
        delivered + counts.dropped_total() >= 15_000,
        "{delivered} arrived, {counts:?}"
    );
    assert!(
        counts.dropped.iter().all(|drop| drop.reason == "peer_lost"),
        "{counts:?}"
    );
}

/// If a doppler stops in order while another is running, nothing is lost and the other one takes over.
#[tokio::test]
async fn a_stopping_doppler_loses_nothing() {
    let pki = Pki::new();
    let (first, second) = (Peer::start(&pki.doppler, 0), Peer::start(&pki.doppler, 0));
    let agent = Agent::start(&pki, &[first.address(), second.address()], RawConfig::default()).await;
    let mut producer = agent.producer(&pki);
    let mut sent = 0;
    let mut stopped = false;
    while !stopped || sent < 20_000 {
        producer.send(numbered("app", sent, 100)).await.unwrap();
        sent += 100;
        assert!(sent < 10_000_000, "only one of them gets anything");
        if !stopped && first.received_envelopes() > 100 && second.received_envelopes() > 100 {
            first.stop();
            stopped = true;
        }
    }
    let report = producer.flush().await.unwrap();
    assert_eq!((report.sent.cast_signed(), report.lost), (sent, 0));
    let delivered = (first.received().len() + second.received().len()) as u64;
    let counts = agent.stop().await.snapshot();
    assert_eq!(
        (delivered, counts.sent, counts.dropped_total()),
        (report.sent, report.sent, 0),
        "{counts:?}"
    );
}

/// Without a doppler the buffer overflows. The source that fills it loses envelopes and a quiet one does not. What is
/// left when the agent stops is counted too.
#[tokio::test]
async fn overflow_costs_the_noisy_source() {
    let pki = Pki::new();
    let config = RawConfig {
        buffer: RawBounds {
            envelopes: 1000,
            bytes: ByteSize::mib(64),
        },
        drain: weir_config::Duration::from_millis(100),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, &[common::free_port()], config).await;
    let channel = agent.channel(&pki);
    for batch in 0..50 {
        let noisy = numbered("noisy", batch * 100, 100);
        let quiet = numbered("quiet", batch, 1);
        for batch in [noisy, quiet] {
            channel
                .unary("/loggregator.v2.Ingress/Send", batch.bytes().clone())
                .await
                .unwrap();
        }
    }
    let overflow = agent.ledger().take_reports();
    assert!(
        overflow
            .iter()
            .all(|loss| loss.source_id == "noisy" && loss.reason == "buffer_full"),
        "{overflow:?}"
    );
    let lost: u64 = overflow.iter().map(|loss| loss.count).sum();
    assert!((4000..=5000).contains(&lost), "{lost}");
    let ledger = agent.stop().await;
    let counts = ledger.snapshot();
    assert_eq!(
        (counts.received, counts.dropped_total(), counts.in_flight),
        (5050, 5050, 0)
    );
    let at_the_end = ledger.take_reports();
    let quiet = at_the_end.iter().find(|loss| loss.source_id == "quiet").unwrap();
    assert_eq!((quiet.count, quiet.reason), (50, "shutting_down"));
}

/// If logs are disabled, they are discarded and counted, and metrics pass.
#[tokio::test]
async fn logs_can_be_disabled() {
    let pki = Pki::new();
    let doppler = Peer::start(&pki.doppler, 0);
    let agent = Agent::start(
        &pki,
        &[doppler.address()],
        RawConfig {
            logs_disabled: true,
            ..RawConfig::default()
        },
    )
    .await;
    let counter = v2::envelope::Message::Counter(v2::Counter {
        name: "c".to_owned(),
        delta: 1,
        total: 0,
    });
    let counter = v2::Envelope {
        message: Some(counter),
        ..log("app")
    };
    let mut client = IngressClient::new(agent.channel(&pki).tonic());
    client
        .send(v2::EnvelopeBatch {
            batch: vec![log("app"), counter, log("app")],
        })
        .await
        .unwrap();
    eventually("one envelope", || doppler.received().len() == 1).await;
    let counts = agent.stop().await.snapshot();
    assert_eq!((counts.received, counts.sent, counts.dropped_total()), (3, 1, 2));
    assert_eq!(counts.dropped[0].reason, "logs_disabled");
}

/// A doppler that never acknowledges, because one of its consumers stalls, delays nobody. Beyond the limit the link is
/// renewed in order, and nothing counts as lost.
#[tokio::test]
async fn a_stalled_consumer_does_not_delay_others() {
    let pki = Pki::new();
    let doppler = Peer::stalled(&pki.doppler);
    let config = RawConfig {
        in_flight: RawBounds {
            envelopes: 1000,
            bytes: ByteSize::mib(64),
        },
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, &[doppler.address()], config).await;
    let channel = agent.channel(&pki);
    for batch in 0..100 {
        let batch = numbered("app", batch * 100, 100);
        channel
            .unary("/loggregator.v2.Ingress/Send", batch.bytes().clone())
            .await
            .unwrap();
    }
    eventually("all of it", || doppler.received().len() == 10_000).await;
    let ledger = agent.ledger();
    eventually("little in flight", || ledger.snapshot().in_flight <= 3000).await;
    assert_eq!(ledger.snapshot().dropped_total(), 0);
}

/// A producer gets its acknowledgement when its batch is taken, and not before.
#[tokio::test]
async fn a_producer_is_acknowledged_when_its_batch_settles() {
    let pki = Pki::new();
    let doppler = Peer::stalled(&pki.doppler);
    let agent = Agent::start(&pki, &[doppler.address()], RawConfig::default()).await;
    let mut producer = agent.producer(&pki);
    producer.send(numbered("app", 0, 10)).await.unwrap();
    eventually("ten at the doppler", || doppler.received().len() == 10).await;
    assert_eq!(producer.untaken(), 10);
    doppler.settle();
    let report = tokio::time::timeout(Duration::from_secs(20), producer.flush())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report, Report { sent: 10, lost: 0 });
}

/// A client without a certificate of the right CA is refused.
#[tokio::test]
async fn unknown_clients_are_refused() {
    let pki = Pki::new();
    let agent = Agent::start(&pki, &[common::free_port()], RawConfig::default()).await;
    let strangers = Pki::new();
    let (_trigger, context) = LogContext::in_memory("stranger");
    let pace = Pace {
        patience: Duration::from_millis(200),
        ..Pace::default()
    };
    let mut producer = Producer::new(
        &agent.target(&strangers),
        Ledger::in_memory("stranger"),
        &context.tasks,
        pace,
    );
    assert!(producer.send(numbered("app", 0, 1)).await.is_err());
    assert_eq!(agent.stop().await.snapshot().received, 0);
}
