//! HTTPS drains over HTTP/1.1 and HTTP/2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use weir_drain::{Binding, Failure, Outcome, Settings, Shipment, Stage, connect, probe};
use weir_eventually::eventually;

use crate::collector::{BOTH, Collector, Reply, Seen, reply};
use crate::support::*;

fn shipments(count: u64, messages: usize) -> Vec<Shipment> {
    (1..=count).map(|sequence| shipment(sequence, messages, 192)).collect()
}

/// Sends shipments; returns the settled ones, the rejected ones, and the reason for the end.
async fn deliver(
    binding: &Binding,
    settings: &Settings,
    shipments: Vec<Shipment>,
) -> (Vec<u64>, Vec<(u64, u32, Failure)>, Failure) {
    let tasks = tasks();
    let (mut sender, mut outcomes) = connect(binding, settings, &tasks).await.unwrap();
    let sending = tokio::spawn(async move {
        for shipment in shipments {
            if sender.send(shipment).await.is_err() {
                break;
            }
        }
    });
    let (mut settled, mut rejected) = (Vec::new(), Vec::new());
    let failure = loop {
        match next(&mut outcomes).await {
            Outcome::Settled(sequence) => settled.push(sequence),
            Outcome::Rejected { sequence, refused } => {
                let messages: usize = refused.iter().map(|refused| refused.messages.len()).sum();
                let messages = u32::try_from(messages).unwrap();
                rejected.push((sequence, messages, refused[0].failure.clone()));
            }
            Outcome::Broken(failure) => break failure,
            Outcome::Written(_) => panic!("HTTP knows when a shipment is taken"),
        }
    };
    sending.await.unwrap();
    eventually("the tasks end", || tasks.pending().is_empty()).await;
    (settled, rejected, failure)
}

/// The request of a POST has the contract's form, for both schemes and both protocols.
#[tokio::test]
async fn posts_have_the_contracts_form() {
    for alpn in BOTH {
        for (scheme, count) in [("https", 30), ("https-batch", 3)] {
            let collector = Collector::start(alpn, |_, _| reply(200)).await;
            let (mut settled, rejected, _) = deliver(&collector.binding(scheme), &settings(), shipments(3, 10)).await;
            settled.sort_unstable();
            assert_eq!(settled, [1, 2, 3]);
            assert!(rejected.is_empty());
            assert_eq!(
                collector.numbers(),
                (
                    numbers(
                        &shipments(3, 10)
                            .iter()
                            .flat_map(|s| s.bytes.to_vec())
                            .collect::<Vec<_>>()
                    )
                    .0,
                    0
                )
            );
            let seen = collector.seen();
            assert_eq!(seen.len(), count);
            for seen in &seen {
                let header = |name: &str| seen.headers.get(name).map_or("", String::as_str);
                assert_eq!(seen.target, format!("/in?token={SECRET}&drain-data=all"));
                assert_eq!(header("content-type"), "text/plain");
                assert_eq!(header("authorization"), "Basic dXMvZXI6aHVudGVyMg==");
                assert!(header("user-agent").starts_with("weir/"));
                assert_eq!(header("idempotency-key").split('-').next().unwrap().len(), 32);
                let is_http2 = alpn[0] == b"h2";
                assert_eq!(seen.version, if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 });
                if !is_http2 {
                    assert_eq!(header("host"), collector.address.to_string());
                    assert_eq!(header("content-length"), seen.body.len().to_string());
                }
            }
            let keys: BTreeSet<_> = seen
                .iter()
                .map(|seen| seen.headers["idempotency-key"].clone())
                .collect();
            assert_eq!(keys.len(), count);
        }
    }
}

/// A shipment that is sent again has its former key. A shipment with equal text has another key if it belongs to
/// another binding or arrived at another time, so a collector that drops duplicates does not drop a line that was
/// logged twice.
#[tokio::test]
async fn idempotency_keys_are_stable() {
    let collector = Collector::start(BOTH[0], |_, _| reply(200)).await;
    let other = Binding::new(
        collector.binding("https-batch").url,
        None,
        trusting(&collector.ca.pem()),
    );
    for binding in [
        &collector.binding("https-batch"),
        &collector.binding("https-batch"),
        &other,
    ] {
        deliver(binding, &settings(), shipments(1, 5)).await;
    }
    let mut said_again = shipments(1, 5);
    said_again[0].arrived += 1;
    deliver(&collector.binding("https-batch"), &settings(), said_again).await;
    let keys: Vec<_> = collector
        .seen()
        .iter()
        .map(|seen| seen.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[3]);
}

/// With a round trip of 50 ms, batches do not wait for each other's answers over both protocols, with no more of them under
/// way and no more connections than allowed.
#[tokio::test]
async fn batches_are_pipelined() {
    for alpn in BOTH {
        let late = |_: usize, _: &Seen| Reply {
            delay: Duration::from_millis(50),
            ..reply(200)
        };
        let collector = Collector::start(alpn, late).await;
        let (settled, ..) = deliver(&collector.binding("https-batch"), &settings(), shipments(200, 320)).await;
        assert_eq!(settled.len(), 200);
        assert_eq!(collector.numbers().0.len(), 200 * 320);
        assert!(collector.connections() <= 5, "{}", collector.connections());
        let most = if alpn[0] == b"h2" { 40 } else { 5 };
        let at_once = collector.most_at_once.load(Ordering::SeqCst);
        assert!((2..=most).contains(&at_once), "{at_once}");
    }
}

/// With a server that has the default flow-control windows of HTTP/2, more connections are opened to keep up the rate.
#[tokio::test]
async fn narrow_windows_lead_to_more_connections() {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .initial_connection_window_size(65_535)
        .initial_stream_window_size(65_535)
        .max_concurrent_streams(4);
    let collector = Collector::with(BOTH[1], builder, |_, _| reply(200)).await;
    let (settled, ..) = deliver(&collector.binding("https-batch"), &settings(), shipments(50, 320)).await;
    assert_eq!(settled.len(), 50);
    assert!(collector.connections() > 1, "{}", collector.connections());
}

/// A transient answer ends the connection, with the delay that the drain asks for. A permanent one rejects its shipment
/// alone. The text quotes the answer without the secrets that it repeats.
#[tokio::test]
async fn each_answer_has_its_outcome() {
    let http_date = |seconds: i64| {
        let then = std::time::SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
        httpdate::fmt_http_date(then)
    };
    for alpn in BOTH {
        for (status, retry_after, delay) in [
            (500, None, None),
            (503, Some("7".to_owned()), Some(7)),
            (503, Some(http_date(100)), Some(100)),
            (503, Some("tomorrow".to_owned()), None),
            (429, Some("3".to_owned()), Some(3)),
            (429, Some("99999".to_owned()), Some(600)),
            (408, None, None),
        ] {
            let headers = retry_after
                .iter()
                .map(|value| ("retry-after", value.clone()))
                .collect::<Vec<_>>();
            let collector = Collector::start(alpn, move |_, seen| Reply {
                headers: headers.clone(),
                body: format!("cannot take {} from us/er {SECRET}", seen.headers["authorization"]),
                ..reply(status)
            })
            .await;
            let (settled, rejected, failure) =
                deliver(&collector.binding("https-batch"), &settings(), shipments(1, 2)).await;
            assert!(settled.is_empty() && rejected.is_empty());
            assert_eq!(
                (failure.stage, failure.status, failure.permanent),
                (Stage::Http, Some(status), false)
            );
            let shown = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                failure.to_string(),
                format!("the drain answered `{shown}`: cannot take Basic [redacted] from [redacted] [redacted]")
            );
            let told = failure.retry_after.map(|delay| delay.as_secs_f64());
            match delay {
                Some(delay) => assert!((told.unwrap() - f64::from(delay)).abs() < 5.0, "{told:?}"),
                None => assert_eq!(told, None),
            }
        }
        for (status, drain_wide) in [
            (400, false),
            (401, true),
            (403, true),
            (404, true),
            (410, true),
            (413, false),
            (422, false),
            (302, true),
        ] {
            let collector = Collector::start(alpn, move |_, seen| match seen.body.starts_with(b"2-") {
                true => Reply {
                    headers: vec![("location", format!("https://elsewhere.example/in?token={SECRET}"))],
                    body: "no".to_owned(),
                    ..reply(status)
                },
                false => reply(204),
            })
            .await;
            let (mut settled, rejected, failure) =
                deliver(&collector.binding("https-batch"), &settings(), shipments(3, 4)).await;
            assert_eq!(failure.stage, Stage::Closed, "{failure}");
            let (sequence, messages, failure) = &rejected[0];
            settled.push(*sequence);
            settled.sort_unstable();
            assert_eq!(
                (settled.as_slice(), rejected.len(), *messages),
                ([1, 2, 3].as_slice(), 1, 4)
            );
            assert_eq!(
                (failure.status, failure.permanent, failure.drain_wide),
                (Some(status), true, drain_wide)
            );
            if status == 302 {
                assert_eq!(
                    failure.to_string(),
                    "the drain answered `302 Found` and redirects to `https://elsewhere.example`: no"
                );
            }
        }
    }
}

/// With `https`, the refused messages of a shipment are reported, and the others are accepted.
#[tokio::test]
async fn single_messages_are_refused_alone() {
    let collector = Collector::start(BOTH[0], |_, seen| {
        let odd = seen.body.starts_with(b"1-3 ") || seen.body.starts_with(b"1-7 ");
        reply(if odd { 400 } else { 200 })
    })
    .await;
    let (settled, rejected, _) = deliver(&collector.binding("https"), &settings(), shipments(2, 10)).await;
    assert_eq!(settled, [2]);
    assert_eq!((rejected[0].0, rejected[0].1), (1, 2));
    assert_eq!(collector.seen().len(), 20);
}

/// A batch with refused messages is halved until they are found, and all other messages arrive once.
#[tokio::test]
async fn a_refused_message_does_not_affect_its_batch() {
    let bad = ["1-0", "1-311", "1-312", "2-499"];
    let is_bad = move |line: &str| bad.iter().any(|bad| line.starts_with(&format!("{bad} ")));
    for alpn in BOTH {
        let collector = Collector::start(alpn, move |_, seen| {
            let text = String::from_utf8_lossy(&seen.body);
            reply(if text.lines().any(is_bad) { 400 } else { 204 })
        })
        .await;
        let (settled, rejected, _) = deliver(&collector.binding("https-batch"), &settings(), shipments(3, 500)).await;
        assert_eq!(settled, [3]);
        let mut counts: Vec<_> = rejected
            .iter()
            .map(|(sequence, count, _)| (*sequence, *count))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [(1, 3), (2, 1)]);
        let taken = collector
            .seen()
            .into_iter()
            .filter(|seen| !String::from_utf8_lossy(&seen.body).lines().any(is_bad));
        let bodies: Vec<u8> = taken.flat_map(|seen| seen.body.to_vec()).collect();
        let (taken, twice) = numbers(&bodies);
        assert_eq!((taken.len(), twice), (1500 - bad.len(), 0));
        let keys: BTreeSet<_> = collector
            .seen()
            .iter()
            .map(|seen| seen.headers["idempotency-key"].clone())
            .collect();
        assert_eq!(keys.len(), collector.seen().len());
    }
}

/// When the caller sends again what was not settled, the collector has every message after each kind of fault.
#[tokio::test]
async fn nothing_is_lost_over_faults() {
    for alpn in BOTH {
        let collector = Collector::start(alpn, |number, _| match number % 7 {
            0 => Reply {
                body: "oops".to_owned(),
                ..reply(500)
            },
            3 => Reply {
                reset: true,
                body: "half".to_owned(),
                headers: vec![("content-length", "100".to_owned())],
                ..reply(200)
            },
            5 => Reply {
                close: true,
                ..reply(200)
            },
            _ => reply(200),
        })
        .await;
        let all = shipments(40, 20);
        let mut left = all.clone();
        let mut rounds = 0;
        while !left.is_empty() {
            rounds += 1;
            assert!(rounds < 60, "{} left", left.len());
            let (settled, ..) = deliver(&collector.binding("https-batch"), &settings(), left.clone()).await;
            left.retain(|shipment| !settled.contains(&shipment.sequence));
        }
        assert_eq!(collector.numbers().0.len(), 40 * 20);
        // A message that came twice has the same key both times.
        let mut by_key: BTreeMap<String, Bytes> = BTreeMap::new();
        for seen in collector.seen() {
            let body = by_key
                .entry(seen.headers["idempotency-key"].clone())
                .or_insert_with(|| seen.body.clone());
            assert_eq!(*body, seen.body);
        }
        assert_eq!(by_key.len(), 40);
    }
}

/// A server may close its connection after each answer, with or without `Connection: close`, and that is no failure.
#[tokio::test]
async fn connections_may_be_closed_between_posts() {
    let collector = Collector::start(BOTH[0], |_, _| Reply {
        close: true,
        ..reply(200)
    })
    .await;
    let (settled, _, failure) = deliver(&collector.binding("https-batch"), &settings(), shipments(30, 3)).await;
    assert_eq!((settled.len(), failure.stage), (30, Stage::Closed));
    assert_eq!(collector.numbers().0.len(), 90);
}

/// After the server closed an idle connection, or it was idle for too long, the next shipment gets a new connection.
#[tokio::test]
async fn idle_connections_are_replaced() {
    for alpn in BOTH {
        let mut collector = Collector::start(alpn, |_, _| reply(200)).await;
        let settings = Settings {
            idle_timeout: Duration::from_millis(100),
            ..settings()
        };
        let tasks = tasks();
        let (mut sender, mut outcomes) = connect(&collector.binding("https-batch"), &settings, &tasks)
            .await
            .unwrap();
        for sequence in 1..=3 {
            sender.send(shipment(sequence, 1, 1)).await.unwrap();
            assert_eq!(next(&mut outcomes).await, Outcome::Settled(sequence));
            eventually("the connection goes", || {
                !tasks.pending().iter().any(|(name, _)| *name == "drain HTTP connection")
            })
            .await;
        }
        assert!(collector.connections() >= 3);
        // The drain stops meanwhile, which the next shipment reports.
        collector.running.abort_all();
        while collector.running.join_next().await.is_some() {}
        sender.send(shipment(4, 1, 1)).await.unwrap();
        let (settled, failure) = until_broken(&mut outcomes).await;
        assert!(settled.is_empty());
        assert_eq!(failure.stage, Stage::Connect, "{failure}");
    }
}

/// A batch connection is replaced at the end of its lifetime.
#[tokio::test]
async fn connections_are_replaced_after_their_lifetime() {
    const LIFE: Duration = Duration::from_millis(100);
    for (connection_life, few) in [(LIFE, 5), (Duration::from_secs(3600), 1)] {
        let collector = Collector::start(BOTH[1], |_, _| reply(200)).await;
        let settings = Settings {
            connection_life,
            ..settings()
        };
        let tasks = tasks();
        let (mut sender, mut outcomes) = connect(&collector.binding("https-batch"), &settings, &tasks)
            .await
            .unwrap();
        for sequence in 1..=5 {
            sender.send(shipment(sequence, 1, 1)).await.unwrap();
            assert_eq!(next(&mut outcomes).await, Outcome::Settled(sequence));
            // Now the connection is older than that, however long this takes.
            tokio::time::sleep(LIFE).await;
        }
        let connections = collector.connections();
        assert!(connections >= few && (few > 1 || connections == 1), "{connections}");
    }
}

/// A drain that does not answer is reported after the time-out.
#[tokio::test]
async fn a_missing_answer_is_reported() {
    for alpn in BOTH {
        let collector = Collector::start(alpn, |number, _| Reply {
            delay: if number == 1 {
                Duration::from_secs(60)
            } else {
                Duration::ZERO
            },
            ..reply(200)
        })
        .await;
        let settings = Settings {
            http_timeout: Duration::from_millis(300),
            ..settings()
        };
        let (settled, _, failure) = deliver(&collector.binding("https-batch"), &settings, shipments(2, 1)).await;
        assert_eq!((settled.len(), failure.stage), (1, Stage::Http));
        assert_eq!(
            failure.to_string(),
            format!("`{}` has not answered within 300ms", collector.address)
        );
    }
}

/// An endless answer is not read to its end.
#[tokio::test]
async fn endless_answers_are_cut() {
    for alpn in BOTH {
        let collector = Collector::start(alpn, |_, _| Reply {
            body: "x".repeat(10 << 20),
            ..reply(200)
        })
        .await;
        let (settled, ..) = deliver(&collector.binding("https-batch"), &settings(), shipments(5, 1)).await;
        assert_eq!(settled.len(), 5);
    }
}

/// The certificate is verified, and a failure has the text of a TLS drain.
#[tokio::test]
async fn certificates_are_verified() {
    let collector = Collector::start(BOTH[0], |_, _| reply(200)).await;
    let url = format!("https://{}/", collector.address);
    let failure = connect(&binding(&url), &settings(), &tasks())
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(failure.stage, Stage::Tls);
    assert!(
        failure
            .to_string()
            .ends_with("certificate `collector` was issued by `Collector CA`, which is not a trusted CA"),
        "{failure}"
    );
}

/// A missing client certificate is reported, although the handshake succeeds, as in TLS 1.3.
#[tokio::test]
async fn a_missing_client_certificate_is_reported() {
    let root = Ca::root("Root");
    let server = Server {
        clients: Some(&root),
        ..Server::default()
    };
    let acceptor = server.acceptor(&root.issue("collector", &["127.0.0.1"], Time::Now));
    let (listener, address) = listen().await;
    let serving = tokio::spawn(async move { acceptor.accept(accept(&listener).await).await.map(|_| ()) });
    let binding = with(&format!("https://{address}/"), trusting(&root.pem()));
    let tasks = tasks();
    let (mut sender, mut outcomes) = connect(&binding, &settings(), &tasks).await.unwrap();
    _ = sender.send(shipment(1, 1, 1)).await;
    let (_, failure) = until_broken(&mut outcomes).await;
    assert_eq!(
        failure.to_string(),
        format!("tls with `{address}`: the drain requires a client certificate")
    );
    assert!(serving.await.unwrap().is_err());
}

/// A probe posts its message to a collector.
#[tokio::test]
async fn a_collector_is_probed() {
    for alpn in BOTH {
        let collector = Collector::start(alpn, |_, _| reply(200)).await;
        let report = probe(&collector.binding("https"), &settings(), &tasks()).await;
        assert!(report.succeeded(), "{report}");
        let shown = report.to_string();
        assert!(
            shown.contains("TLSv1.3, certificate `collector` until 2200-01-01"),
            "{shown}"
        );
        assert_eq!(shown.contains("HTTP/2"), alpn[0] == b"h2");
        assert!(
            shown.contains("the drain took the test message") && !shown.contains(SECRET),
            "{shown}"
        );
        let text = String::from_utf8(collector.seen()[0].body.to_vec()).unwrap();
        assert!(text.starts_with("<14>1 ") && text.ends_with("\n"), "{text}");
        let collector = Collector::start(alpn, |_, _| reply(403)).await;
        let report = probe(&collector.binding("https-batch"), &settings(), &tasks()).await;
        assert_eq!(
            report.steps.last().map(|step| (step.name, step.ok)),
            Some(("message", false)),
            "{report}"
        );
    }
}
