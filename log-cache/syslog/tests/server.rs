//! The syslog server between senders and a log cache: delivery, bad messages, and back pressure.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests spawn, wait, and fail, as they like"
)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Status;
use weir_config::ByteSize;
use weir_eventually::eventually;
use weir_log_cache_syslog::{Framing, RawBatch, RawConfig};
use weir_proto::loggregator_v2::envelope::Message;
use weir_tls::ClientTls;

use common::{LogCache, Pki, Syslog, dropped, is_closed, message, send};

fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

/// Every kind of envelope arrives, with its tags and white space.
#[tokio::test]
async fn every_kind_arrives() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    let syslog = Syslog::start(&pki, log_cache.address, RawConfig::default()).await;
    let mut sender = syslog.connect(&pki).await;
    let head = "<11>1 1970-01-01T00:00:00.012345+00:00 h app [3] -";
    let mut stream = message("app", "  keep  my\tspaces \n");
    for data in [
        "[counter@47450 name=\"c\" total=\"10\" delta=\"5\"][tags@47450 k=\"v\"] \n",
        "[gauge@47450 name=\"g\" value=\"0.23\" unit=\"percentage\"] \n",
        "[timer@47450 name=\"t\" start=\"10\" stop=\"20\"] \n",
        "[event@47450 title=\"e\" body=\"b\"] \n",
    ] {
        stream.push_str(&counted(&format!("{head} {data}")));
    }
    // In two writes, which are cut at any position.
    let (first, second) = stream.as_bytes().split_at(200);
    send(&mut sender, first).await;
    send(&mut sender, second).await;
    eventually("all have arrived", || log_cache.count() == 5).await;
    let envelopes = log_cache.state.envelopes.lock().clone();
    assert_eq!(log_cache.lines("app"), ["  keep  my\tspaces \n"]);
    assert!(envelopes.iter().all(|envelope| envelope.source_id == "app"));
    assert_eq!(envelopes[0].instance_id, "0");
    assert_eq!(envelopes[0].tags["source_type"], "APP/PROC/WEB");
    assert_eq!(envelopes[1].tags["k"], "v");
    assert_eq!(
        (envelopes[1].timestamp, envelopes[1].instance_id.as_str()),
        (12_345_000, "3")
    );
    assert!(matches!(&envelopes[1].message, Some(Message::Counter(counter)) if counter.total == 10));
    assert!(matches!(&envelopes[2].message, Some(Message::Gauge(gauge)) if gauge.metrics["g"].unit == "percentage"));
    assert!(matches!(&envelopes[3].message, Some(Message::Timer(timer)) if timer.stop == 20));
    assert!(matches!(&envelopes[4].message, Some(Message::Event(event)) if event.title == "e"));
    let counts = syslog.stop().await;
    assert_eq!((counts.received, counts.sent), (5, 5));
    assert!(is_closed(&mut sender).await);
}

/// Bad messages of every sort between good ones are counted by their reason, and do not affect the good ones.
#[tokio::test]
async fn a_bad_message_does_not_affect_the_others() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    let syslog = Syslog::start(&pki, log_cache.address, RawConfig::default()).await;
    let mut sender = syslog.connect(&pki).await;
    let long = "x".repeat(5 << 20);
    let bad = [
        counted("<14>1 hello"),
        counted("<14>1 1970-01-01T00:00:00Z h - [0] - - no app name\n"),
        counted("<14>1 1970-01-01T00:00:00Z h app [0] - [gauge@47450 name=\"x\"] \n"),
        message("app", &long),
        message("app", &long[..66_560]),
        "this is no frame\n".to_owned(),
        "12 monkeys\n".to_owned(),
    ];
    for (number, bad) in bad.iter().enumerate() {
        send(&mut sender, message("app", &number.to_string())).await;
        send(&mut sender, bad).await;
    }
    send(&mut sender, message("app", "last")).await;
    // Messages at which the original closes the connection.
    let tag = "t".repeat(100);
    send(
        &mut sender,
        counted(&format!(
            "<-1>1 1970-01-01T00:00:00Z h app [0] - [tags@47450 {tag}=\"\"] ok\n"
        )),
    )
    .await;
    // A message that is cut by the end of the connection.
    send(&mut sender, "100 <14>1 ").await;
    sender.shutdown().await.unwrap();
    eventually("all have arrived", || log_cache.count() == bad.len() + 2).await;
    assert_eq!(
        log_cache.lines("app"),
        ["0", "1", "2", "3", "4", "5", "6", "last", "ok"]
    );
    eventually("the last is counted", || syslog.counts().dropped_total() == 8).await;
    let counts = syslog.stop().await;
    assert_eq!(
        dropped(&counts),
        ["ingress malformed 4", "ingress too_large 2", "ingress unconvertible 2"]
    );
}

/// Connections with noise, with silence, or without a valid certificate do not disturb a sender.
#[tokio::test]
async fn invalid_connections_do_not_disturb_senders() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    let raw = RawConfig {
        idle_timeout: weir_config::Duration::from_secs(1),
        ..RawConfig::default()
    };
    let syslog = Syslog::start(&pki, log_cache.address, raw).await;
    // Without TLS.
    let mut plain = TcpStream::connect(syslog.address).await.unwrap();
    plain.write_all(message("app", "plain").as_bytes()).await.unwrap();
    // Without a certificate, and with one of another CA. With TLS 1.3 the client learns of the refusal when it reads.
    let foreign = Pki::new();
    for tls in [
        ClientTls::trusting(&pki.authority.ca_file()).unwrap(),
        ClientTls::mutual(&weir_tls::IdentityFiles {
            ca: pki.authority.ca_file(),
            ..foreign.sender.clone()
        })
        .unwrap(),
    ] {
        if let Ok(mut stranger) = syslog.connect_as(&tls).await {
            // The connection may be closed before this.
            drop(stranger.write_all(message("app", "stranger").as_bytes()).await);
            assert!(is_closed(&mut stranger).await || stranger.shutdown().await.is_err());
        }
    }
    // With a certificate and noise: closed when no frame is found.
    let mut noisy = syslog.connect(&pki).await;
    let noise = vec![b'\xff'; 64 << 10];
    while noisy.write_all(&noise).await.is_ok() {}
    // With a certificate, and silent.
    let mut silent = syslog.connect(&pki).await;
    send(&mut silent, "17 <14>").await;
    assert!(is_closed(&mut silent).await);
    // A valid sender.
    let mut sender = syslog.connect(&pki).await;
    send(&mut sender, message("app", "hello")).await;
    eventually("it has arrived", || log_cache.count() == 1).await;
    assert_eq!(log_cache.lines("app"), ["hello"]);
    let counts = syslog.stop().await;
    assert_eq!(dropped(&counts), ["ingress malformed 2"]);
}

/// While the log cache does not answer, senders wait, nothing is lost, and the memory of the server is bounded.
#[tokio::test]
async fn senders_wait_for_a_slow_log_cache() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    log_cache.state.stalled.store(1, Ordering::Relaxed);
    let raw = RawConfig {
        buffer: ByteSize::kib(512),
        ..RawConfig::default()
    };
    let syslog = Syslog::start(&pki, log_cache.address, raw).await;
    let count = 60_000;
    let (written, padding) = (Arc::new(AtomicUsize::new(0)), "x".repeat(400));
    let mut sender = syslog.connect(&pki).await;
    let sending = tokio::spawn({
        let written = Arc::clone(&written);
        async move {
            for number in 0..count {
                let line = message("app", &format!("{number} {padding}"));
                sender.write_all(line.as_bytes()).await.unwrap();
                written.fetch_add(line.len(), Ordering::Relaxed);
            }
            sender.flush().await.unwrap();
            sender
        }
    });
    // The server is blocked when its counts have not changed for a while.
    let mut before = usize::MAX;
    while before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 6 << 20, "{before} bytes were taken");
    let counts = syslog.counts();
    assert_eq!(counts.dropped_total(), 0);
    assert!(counts.in_flight > 0);
    log_cache.state.stalled.store(0, Ordering::Relaxed);
    eventually("all have arrived", || log_cache.count() == count).await;
    let _sender = sending.await.unwrap();
    let numbers: BTreeSet<usize> = log_cache
        .lines("app")
        .iter()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers.len(), count);
    let largest = log_cache.state.batches.lock().iter().copied().max().unwrap();
    assert!((100..=512).contains(&largest), "{largest}");
    let counts = syslog.stop().await;
    assert_eq!(counts.sent, count as u64);
}

/// Every message arrives although the log cache starts late, answers with errors, and is restarted.
#[tokio::test]
async fn a_restarted_log_cache_gets_every_message() {
    let pki = Pki::new();
    let (address, state) = LogCache::start(&pki).await.stop().await;
    let syslog = Syslog::start(&pki, address, RawConfig::default()).await;
    let mut sender = syslog.connect(&pki).await;
    send(&mut sender, message("app", "before")).await;
    eventually("it has come in", || syslog.counts().received == 1).await;
    *state.errors.lock() = vec![Status::unavailable("not now"), Status::internal("oops")];
    let log_cache = LogCache::start_at(&pki, address, state).await;
    eventually("it has arrived", || log_cache.count() == 1).await;
    assert!(log_cache.state.errors.lock().is_empty());
    for restart in 0..3 {
        send(&mut sender, message("app", &format!("while {restart}"))).await;
        eventually("it has arrived", || {
            log_cache.lines("app").contains(&format!("while {restart}"))
        })
        .await;
    }
    let (address, state) = log_cache.stop().await;
    for number in 0..2000 {
        send(&mut sender, message("app", &number.to_string())).await;
    }
    // The restart needs a new connection.
    let mut sender = syslog.connect(&pki).await;
    send(&mut sender, message("app", "after")).await;
    let log_cache = LogCache::start_at(&pki, address, state).await;
    eventually("all have arrived", || syslog.counts().sent == 2005).await;
    let lines: BTreeSet<String> = log_cache.lines("app").into_iter().collect();
    assert_eq!(lines.len(), 2005);
    assert_eq!(dropped(&syslog.stop().await), [""; 0]);
}

/// A batch that the log cache refuses is counted by source, and later ones are sent.
#[tokio::test]
async fn a_batch_that_is_refused_is_counted() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    *log_cache.state.errors.lock() = vec![Status::invalid_argument("no")];
    let syslog = Syslog::start(&pki, log_cache.address, RawConfig::default()).await;
    let mut sender = syslog.connect(&pki).await;
    send(&mut sender, message("refused", "x")).await;
    eventually("it is counted", || syslog.counts().dropped_total() == 1).await;
    send(&mut sender, message("app", "x")).await;
    eventually("the next has arrived", || log_cache.count() == 1).await;
    assert_eq!(dropped(&syslog.stop().await), ["egress rejected 1"]);
}

/// Messages that were sent before the server is stopped reach the log cache, and the connections are closed.
#[tokio::test]
async fn a_stopping_server_delivers_what_was_sent() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    let raw = RawConfig {
        batch: RawBatch {
            age: weir_config::Duration::from_secs(5),
            ..RawBatch::default()
        },
        ..RawConfig::default()
    };
    let syslog = Syslog::start(&pki, log_cache.address, raw).await;
    let mut sender = syslog.connect(&pki).await;
    let lines: String = (0..3000).map(|number| message("app", &number.to_string())).collect();
    send(&mut sender, format!("{lines}50 <14>1 half")).await;
    let counts = syslog.stop().await;
    assert_eq!((counts.sent, counts.dropped_total()), (3000, 0));
    assert_eq!(log_cache.count(), 3000);
    assert!(is_closed(&mut sender).await);
}

/// Envelopes that could not be sent before the deadline are counted by source.
#[tokio::test]
async fn a_server_that_stops_without_a_log_cache_counts_losses() {
    let pki = Pki::new();
    let (address, _) = LogCache::start(&pki).await.stop().await;
    let raw = RawConfig {
        drain: weir_config::Duration::from_millis(200),
        buffer: ByteSize::kib(256),
        ..RawConfig::default()
    };
    let syslog = Syslog::start(&pki, address, raw).await;
    let mut senders = Vec::new();
    for source in ["a", "b", "c"] {
        let mut sender = syslog.connect(&pki).await;
        let lines: String = (0..500).map(|number| message(source, &number.to_string())).collect();
        // More than the budget, so that some connections wait for it.
        send(&mut sender, lines).await;
        senders.push(sender);
    }
    eventually("some have come in", || syslog.counts().received >= 500).await;
    syslog.ask_to_stop();
    let counts = syslog.stop().await;
    assert_eq!(dropped(&counts), [format!("egress shutting_down {}", counts.received)]);
}

/// Senders without certificates may send lines instead of octet counts, if that is configured. The last line need not
/// end with a newline.
#[tokio::test]
async fn lines_without_certificates_are_accepted_if_configured() {
    let pki = Pki::new();
    let log_cache = LogCache::start(&pki).await;
    let raw = RawConfig {
        framing: Framing::Newline,
        client_certificates: false,
        ..RawConfig::default()
    };
    let syslog = Syslog::start(&pki, log_cache.address, raw).await;
    let tls = ClientTls::trusting(&pki.authority.ca_file()).unwrap();
    let mut sender = syslog.connect_as(&tls).await.unwrap();
    send(
        &mut sender,
        "<14>1 - h app 1 - - one\n\nnot syslog\n<14>1 - h app 1 - - two\n<14>1 - h app 1 - - three",
    )
    .await;
    sender.shutdown().await.unwrap();
    eventually("all have arrived", || log_cache.count() == 3).await;
    assert_eq!(log_cache.lines("app"), ["one", "two", "three"]);
    // The messages have no time stamp.
    let recent = 1_700_000_000_000_000_000;
    assert!(
        log_cache
            .state
            .envelopes
            .lock()
            .iter()
            .all(|envelope| envelope.timestamp > recent)
    );
    assert_eq!(dropped(&syslog.stop().await), ["ingress malformed 1"]);
}
