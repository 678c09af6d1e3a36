//! What an operator does with a running stack, and the stack's own logs and metrics.

#![allow(clippy::disallowed_methods, reason = "tests spawn and wait as they like")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::net::TcpStream;
use weir_faults::{assert_no_panics, assert_serves, send_paced, series_of};
use weir_testkit::{Firehose, Mode, RlpConsumer, Shape, Stack, eventually, logs_of};
use weir_tls::{ALPN_H2, Authority, server_name};

const PROBE: &str = "probe";

/// Setup: a stack is stopped, as by Ctrl-C, while a producer sends as fast as it can. Must hold: it ends without an
/// error. What the agent had received was delivered to every consumer without a gap. In every ledger, nothing is in
/// flight and the counts balance.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_drains() -> anyhow::Result<()> {
    for mode in [Mode::Embedded, Mode::Processes] {
        let mut stack = Stack::start(mode).await?;
        let emitter = stack.emitter().await?;
        let mut series = series_of("drain", 1, Shape::LINE);
        let name = series[0].source_id().to_owned();
        let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of([name.as_str(), PROBE])).await?;
        let firehose = Firehose::open(stack.endpoints(), "/firehose/drain", &stack.token()?).await?;
        consumer.wait_until_subscribed(&emitter, PROBE).await?;
        firehose.wait_until_subscribed(&emitter, PROBE).await?;

        let over = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&over);
        let sending = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                if send_paced(&emitter, &mut series, &[200], 4000).await.is_err() {
                    break;
                }
            }
            series[0].made()
        });
        eventually("some lines", async || {
            let got = consumer.received.of(&name);
            anyhow::ensure!(got > 4000, "{got}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let (received, from_firehose) = (consumer.received.clone(), firehose.received.clone());
        let status = tokio::task::block_in_place(|| stack.stop())?;
        over.store(true, Ordering::Relaxed);
        let sent = sending.await?;
        assert!(status.success(), "{status}\n{}", stack.log());
        // The streams have ended, so nothing more can arrive.
        drop(consumer.ended().await?);
        firehose.ended().await?;

        let ledgers = stack.ledgers()?;
        for (who, received) in [("RLP", received), ("firehose", from_firehose)] {
            let numbers = received.numbers().remove(&name).unwrap_or_default();
            let count = numbers.len() as u64;
            assert!(
                numbers.iter().copied().eq(0..count),
                "{who} has holes: {}",
                ledgers.summary()
            );
            assert!(count <= sent);
        }
        for (component, copies) in [
            // The forwarder agent sends each envelope to the loggregator agent and to the syslog agent.
            ("forwarder-agent", Some(2)),
            ("loggregator-agent", Some(1)),
            // There are no drains.
            ("syslog-agent", Some(0)),
            // The number of copies is the number of subscriptions.
            ("doppler", None),
            ("rlp", Some(1)),
            ("traffic-controller", Some(1)),
            ("log-cache", Some(1)),
        ] {
            let ledger = ledgers.of(component);
            assert_eq!(ledger.in_flight, 0, "{component}: {}", ledgers.summary());
            let out = ledger.sent + ledger.dropped_total();
            if let Some(copies) = copies {
                assert_eq!(copies * ledger.received, out, "{component}: {}", ledgers.summary());
            }
        }
        let in_both = ["loggregator-agent", "syslog-agent"].map(|agent| ledgers.of(agent).received);
        assert_eq!(
            in_both[0],
            in_both[1],
            "each agent got everything: {}",
            ledgers.summary()
        );
        let lost = ledgers.lost() - ledgers.dropped("", "", "shutting_down") - ledgers.dropped("", "", "consumer_gone");
        assert_eq!(lost, 0, "{}", ledgers.summary());
        assert_no_panics(&stack);
    }
    Ok(())
}

/// Returns the certificate that the server `name` at `address` shows now.
async fn shown_certificate(stack: &Stack, address: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let connector = stack.endpoints().mutual()?.with_alpn(&[ALPN_H2]).connector();
    let stream = connector
        .connect(server_name(name)?, TcpStream::connect(address).await?)
        .await?;
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().context("a certificate")?;
    Ok(certificates.first().context("a certificate")?.to_vec())
}

/// Setup: every certificate of a running stack is renewed. Must hold: new connections get the new certificates,
/// existing connections continue, and no process restarts.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_used_without_restart() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of(["app", PROBE])).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let endpoints = stack.endpoints().clone();
    let servers = [
        ("forwarder-agent", &endpoints.agent, "metron"),
        ("loggregator-agent", &endpoints.loggregator_agent, "metron"),
        ("syslog-agent", &endpoints.syslog_agent, "metron"),
        ("doppler", &endpoints.doppler, "doppler"),
        ("rlp", &endpoints.rlp, "reverselogproxy"),
        ("log-cache", &endpoints.log_cache, "log-cache"),
    ];
    let certificates = stack.state_dir().join("certs");
    let authority = Authority::open_or_create(&certificates)?;
    for (component, address, name) in servers {
        let before = shown_certificate(&stack, address, name).await?;
        // A missing certificate is issued again. The two files are replaced in two steps, so a server may read one old
        // and one new file for a moment.
        fs::remove_file(certificates.join(format!("{component}.crt")))?;
        authority.issue(component, &[name, "log_cache"])?;
        eventually(&format!("the new certificate of {component}"), async || {
            let now = shown_certificate(&stack, address, name).await?;
            anyhow::ensure!(now != before, "still the old one");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    let mut series = series_of("app", 1, Shape::SHORT);
    let before = consumer.received.total();
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    send_paced(&emitter, &mut series, &[100], 1000).await?;
    assert!(consumer.received.total() > before, "streams outlive the renewal");
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a stack without clients. Must hold: its own logs and metrics, with the original's names, can be queried with
/// SQL.
#[tokio::test(flavor = "multi_thread")]
async fn a_stack_observes_itself() -> anyhow::Result<()> {
    for mode in [Mode::Embedded, Mode::Processes] {
        let stack = Stack::start(mode).await?;
        let log_cache = stack.log_cache()?;
        for (what, query) in [
            (
                "its logs",
                "select count(*) as n from logs where tags['origin'] like 'loggregator.%'",
            ),
            (
                "what the doppler took in",
                "select count(*) as n from counters where source_id = 'doppler' and name = 'ingress'",
            ),
            (
                "what the doppler gave out",
                "select count(*) as n from counters where source_id = 'doppler' and name = 'egress'",
            ),
            (
                "the doppler's subscriptions",
                "select count(*) as n from gauges where source_id = 'doppler' and name = 'subscriptions'",
            ),
            ("the table of drops", "select count(*) + 1 as n from drops"),
        ] {
            eventually(what, async || {
                let found = log_cache.number(query).await?;
                anyhow::ensure!(found > 0, "no rows");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
        }
        assert_no_panics(&stack);
    }
    Ok(())
}
