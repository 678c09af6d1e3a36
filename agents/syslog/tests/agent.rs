//! Tests of the agent in one process, with real producers, a binding cache and drains, over mTLS.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![expect(clippy::unwrap_used, reason = "a test that fails says so by a panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use weir_agents_lib::testing::{Peer, Pki, free_port};
use weir_agents_syslog::{Config, RawAggregate, RawCache, RawConfig, Server};
use weir_config::{PeerAddr, Secret};
use weir_eventually::eventually;
use weir_flow::LogContext;
use weir_rpc::producer::Report;

use common::{ANY, Agent, Cache, Collector, TcpDrain, item, lines};

/// A new binding is in force as soon as the cache has it, and not only after the next poll. Each app's lines go to its own
/// drains only, and the ledger agrees.
#[tokio::test]
async fn bindings_are_followed() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (one, two) = (TcpDrain::start(0).await, TcpDrain::start(0).await);
    let cache = Cache::start(&pki, false).await;
    cache.set(json!([item(&one.url(), &["a"], "")]));
    let config = RawConfig {
        cache: RawCache {
            poll: weir_config::Duration::from_secs(3600),
            ..cache.config()
        },
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let mut producer = agent.producer(&pki);
    for source in ["a", "b"] {
        producer.send(lines(source, 0, 100)).await.unwrap();
    }
    assert_eq!(producer.flush().await.unwrap(), Report { sent: 200, lost: 0 });
    eventually("a's lines", || one.numbers("a").len() == 100).await;

    let tag = cache.set(json!([item(&one.url(), &["a"], ""), item(&two.url(), &["a", "b"], "")]));
    let rows = agent.applied(&pki, &tag).await;
    assert_eq!(rows.len(), 3);
    assert!(cache.asked() < 10, "the cache is asked only when something changed");
    for source in ["a", "b"] {
        producer.send(lines(source, 100, 100)).await.unwrap();
    }
    eventually("all lines", || one.count() == 200 && two.count() == 200).await;
    assert_eq!(two.numbers("b"), (100..200).collect::<Vec<_>>());
    let rows = loop {
        let (rows, _) = agent.rows(&pki).await;
        if rows
            .iter()
            .all(|row| row["state"] == "flowing" && row["waiting_lines"] == 0)
        {
            break rows;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(rows[0]["app"].as_str().unwrap().len(), 1);
    let ledger = agent.stop().await;
    assert_eq!(
        (ledger.received, ledger.sent, ledger.dropped_total(), ledger.in_flight),
        (400, 400, 0, 0)
    );
    assert!(!dir.path().join("spill").exists() || std::fs::read_dir(dir.path().join("spill")).unwrap().count() == 0);
    cache.stop().await;
}

/// A drain that stays bound while other bindings change under load gets every line in order.
#[tokio::test]
async fn changes_under_load_cost_nothing() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (kept, changing) = (TcpDrain::start(0).await, TcpDrain::start(0).await);
    let cache = Cache::start(&pki, false).await;
    let with = json!([item(&kept.url(), &["app"], ""), item(&changing.url(), &["app"], "")]);
    let without = json!([item(&kept.url(), &["app"], "")]);
    cache.set(with.clone());
    let config = RawConfig {
        cache: cache.config(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let mut producer = agent.producer(&pki);
    for round in 0..400 {
        producer.send(lines("app", round * 50, 50)).await.unwrap();
        if round % 40 == 20 {
            cache.set(without.clone());
        } else if round % 40 == 0 {
            cache.set(with.clone());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let tag = cache.set(with.clone());
    agent.applied(&pki, &tag).await;
    producer.send(lines("app", 20_000, 50)).await.unwrap();
    eventually("all lines", || kept.count() == 20_050).await;
    assert_eq!(kept.numbers("app"), (0..20_050).collect::<Vec<_>>());
    eventually("the other's last", || changing.numbers("app").last() == Some(&20_049)).await;
    let got = changing.numbers("app");
    assert!(got.is_sorted() && got.len() > 5000, "{}", got.len());
    let got = got.len() as u64;
    let ledger = agent.stop().await;
    assert_eq!(
        (ledger.sent, ledger.dropped_total(), ledger.in_flight),
        (20_050 + got, 0, 0)
    );
    cache.stop().await;
}

/// An agent that is started again without its cache uses the saved list and delivers its backlog first.
#[tokio::test]
async fn the_last_list_survives() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let place = free_port().port();
    let cache = Cache::start(&pki, false).await;
    let tag = cache.set(json!([item(&format!("syslog://127.0.0.1:{place}"), &["app"], "")]));
    let config = RawConfig {
        cache: cache.config(),
        drain: weir_config::Duration::from_millis(100),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config.clone()).await;
    agent.applied(&pki, &tag).await;
    let mut producer = agent.producer(&pki);
    producer.send(lines("app", 0, 500)).await.unwrap();
    // The producer's lines are acknowledged, so they are on disk.
    assert_eq!(producer.flush().await.unwrap(), Report { sent: 500, lost: 0 });
    let ledger = agent.stop().await;
    assert_eq!((ledger.sent, ledger.dropped_total(), ledger.in_flight), (0, 0, 500));
    cache.stop().await;

    let drain = TcpDrain::start(place).await;
    let config = RawConfig {
        drain: RawConfig::default().drain,
        ..config
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let (_, applied) = agent.rows(&pki).await;
    assert!(applied.is_none() || applied.as_ref() == Some(&tag), "{applied:?}");
    agent.applied(&pki, &tag).await;
    let mut producer = agent.producer(&pki);
    producer.send(lines("app", 500, 10)).await.unwrap();
    eventually("all lines", || drain.count() == 510).await;
    assert_eq!(drain.numbers("app"), (0..510).collect::<Vec<_>>());
    let ledger = agent.stop().await;
    assert_eq!((ledger.received, ledger.sent, ledger.in_flight), (10, 510, 0));
}

/// The original's cache has no `ETag`s and no waiting, so it is polled. If it sends an empty list for a moment, as
/// after its own restart, no drain is removed.
#[tokio::test]
async fn an_original_cache_is_polled() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let drain = TcpDrain::start(0).await;
    let cache = Cache::start(&pki, true).await;
    let config = RawConfig {
        cache: RawCache {
            poll: weir_config::Duration::from_millis(300),
            ..cache.config()
        },
        removed_grace: weir_config::Duration::from_millis(100),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let list = json!([item(&drain.url(), &["app"], "")]);
    cache.set(list.clone());
    let rows = async || agent.rows(&pki).await.0.len();
    while rows().await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = cache.asked();
    cache.set(json!([]));
    eventually("one answer", || cache.asked() > asked + 1).await;
    cache.set(list);
    let asked = cache.asked();
    eventually("another answer", || cache.asked() > asked + 3).await;
    assert_eq!(rows().await, 1);
    cache.set(json!([]));
    while rows().await == 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.stop().await;
    cache.stop().await;
}

/// The first five drains of an app, in the order of their URLs, are used. The developer reads about the sixth, and it
/// is used when one of the five is removed.
#[tokio::test]
async fn drains_beyond_the_limit_are_reported() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let peer = Peer::start(&pki.agent, 0);
    let drain = TcpDrain::start(0).await;
    let cache = Cache::start(&pki, false).await;
    let url = |number: usize| format!("{}?x={number}", drain.url());
    let six: Vec<_> = (0..6).map(|number| item(&url(number), &["app"], "")).collect();
    let tag = cache.set(json!(six));
    let config = RawConfig {
        cache: cache.config(),
        agent: Some(PeerAddr::from(peer.address())),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let rows = agent.applied(&pki, &tag).await;
    let over = |rows: &[serde_json::Value]| rows.iter().filter(|row| row["state"] == "over_limit").count();
    assert_eq!((rows.len(), over(&rows)), (6, 1));
    let mut producer = agent.producer(&pki);
    producer.send(lines("app", 0, 10)).await.unwrap();
    eventually("five times ten lines", || drain.count() == 50).await;
    let told = || {
        let received = peer.received();
        received.iter().any(|envelope| {
            envelope.source_id == "app"
                && envelope.tags.get("source_type").is_some_and(|of| of == "LGR")
                && format!("{:?}", envelope.message).contains("is not used")
        })
    };
    eventually("a line for the developer", told).await;
    let tag = cache.set(json!(six[1..]));
    let rows = agent.applied(&pki, &tag).await;
    assert_eq!(over(&rows), 0);
    producer.send(lines("app", 10, 10)).await.unwrap();
    eventually("five times ten lines again", || drain.count() == 100).await;
    agent.stop().await;
    cache.stop().await;
}

/// If a drain fails and recovers, the developer reads why and that it is over, `drain_status` gets its gauges, and none
/// of this contains a secret.
#[tokio::test]
async fn drain_states_are_reported_to_developers() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let peer = Peer::start(&pki.agent, 0);
    let place = free_port().port();
    let cache = Cache::start(&pki, false).await;
    let url = format!("syslog://user:hunter2@127.0.0.1:{place}?token=hunter2");
    cache.set(json!([item(&url, &["app"], "")]));
    let config = RawConfig {
        cache: cache.config(),
        agent: Some(PeerAddr::from(peer.address())),
        instance: "3".to_owned(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let mut producer = agent.producer(&pki);
    producer.send(lines("app", 0, 100)).await.unwrap();
    let said = |what: &str| {
        let received = peer.received();
        let of_app = received.into_iter().filter(|envelope| envelope.source_id == "app");
        let mut lines = of_app.filter(|envelope| envelope.tags.get("source_type").is_some_and(|of| of == "LGR"));
        lines.any(|line| match line.message {
            Some(weir_proto::loggregator_v2::envelope::Message::Log(log)) => {
                assert_eq!((log.r#type, line.instance_id.as_str()), (1, "0"));
                std::str::from_utf8(&log.payload).unwrap().contains(what)
            }
            _ => false,
        })
    };
    eventually("the trouble", || said(" fails since ")).await;
    let (rows, _) = agent.rows(&pki).await;
    assert_eq!(
        (&rows[0]["state"], &rows[0]["waiting_lines"]),
        (&json!("retrying"), &json!(100))
    );
    assert!(rows[0]["last_error"].is_string() && rows[0]["next_try"].is_string());
    let drain = TcpDrain::start(place).await;
    eventually("the lines", || drain.count() == 100).await;
    eventually("the end of the trouble", || said(" works again")).await;
    let states = || -> BTreeSet<String> {
        let received = peer.received();
        let reports = received.iter().filter(|envelope| envelope.tags.contains_key("binding"));
        reports
            .map(|report| {
                assert_eq!((report.source_id.as_str(), report.instance_id.as_str()), ("app", "3"));
                report.tags["state"].clone()
            })
            .collect()
    };
    eventually("reports", || {
        states().contains("retrying") && states().contains("flowing")
    })
    .await;
    let all = format!("{:?}", peer.received());
    assert!(!all.contains("hunter2"));
    agent.stop().await;
    cache.stop().await;
}

/// An HTTPS collector refuses one message for good, which costs this message only. It refuses others with status 401,
/// and these wait until it accepts them. This holds for one message per request and for many.
#[tokio::test]
async fn https_refusals() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let locked = Arc::new(AtomicBool::new(true));
    let lock = Arc::clone(&locked);
    let strict = Collector::start(&pki, |body| {
        if body.trim_end().ends_with(" 7") {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        }
    })
    .await;
    let closed = Collector::start(&pki, move |_| {
        if lock.load(Ordering::Relaxed) {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::OK
        }
    })
    .await;
    let cache = Cache::start(&pki, false).await;
    cache.set(json!([
        item(&strict.url("https"), &["strict"], &strict.ca),
        item(&closed.url("https-batch"), &["closed"], &closed.ca),
    ]));
    let config = RawConfig {
        cache: cache.config(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let mut producer = agent.producer(&pki);
    for app in ["strict", "closed"] {
        producer.send(lines(app, 0, 20)).await.unwrap();
    }
    eventually("all but one", || strict.numbers().len() == 19).await;
    let distinct: BTreeSet<_> = strict.numbers().into_iter().collect();
    assert_eq!(distinct, (0..20).filter(|number| *number != 7).collect());
    eventually("the refused one", || agent.lost_for("rejected") == 1).await;
    let of = async |app: &str| {
        let (rows, _) = agent.rows(&pki).await;
        rows.into_iter().find(|row| row["app"] == app).unwrap()
    };
    while of("closed").await["state"] != "retrying" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let row = of("closed").await;
    assert!(row["last_error"].as_str().unwrap().contains("401"), "{row}");
    assert_eq!((&row["waiting_lines"], &row["lost"]), (&json!(20), &json!(0)));
    locked.store(false, Ordering::Relaxed);
    eventually("all of them", || closed.numbers().len() == 20).await;
    assert_eq!(closed.numbers(), (0..20).collect::<Vec<_>>());
    let ledger = agent.stop().await;
    assert_eq!((ledger.sent, ledger.dropped_total(), ledger.in_flight), (39, 1, 0));
    cache.stop().await;
}

/// One URL with two CA certificates gives two drains with two trust stores, and one of them reaches the collector.
#[tokio::test]
async fn one_url_with_two_trusts_is_two_drains() {
    let (pki, stranger, dir) = (Pki::new(), Pki::new(), tempfile::tempdir().unwrap());
    let collector = Collector::start(&pki, |_| StatusCode::OK).await;
    let foreign = std::fs::read_to_string(&stranger.client.ca).unwrap();
    let cache = Cache::start(&pki, false).await;
    let url = collector.url("https-batch");
    cache.set(json!([
        item(&url, &["good"], &collector.ca),
        item(&url, &["bad"], &foreign)
    ]));
    let config = RawConfig {
        cache: cache.config(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let mut producer = agent.producer(&pki);
    for app in ["good", "bad"] {
        producer.send(lines(app, 0, 10)).await.unwrap();
    }
    eventually("the good one's", || collector.numbers().len() == 10).await;
    let state = async |app: &str| {
        let (rows, _) = agent.rows(&pki).await;
        rows.into_iter().find(|row| row["app"] == app).unwrap()["state"].clone()
    };
    while state("bad").await != "retrying" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((collector.numbers().len(), state("good").await), (10, json!("flowing")));
    agent.stop().await;
    cache.stop().await;
}

/// Aggregate drains get the envelopes of all sources. The configured ones replace those of the cache.
#[tokio::test]
async fn aggregate_drains_get_everything() {
    let pki = Pki::new();
    let (ours, caches) = (TcpDrain::start(0).await, TcpDrain::start(0).await);
    let cache = Cache::start(&pki, false).await;
    cache.set(json!([]));
    cache.set_aggregates(json!([{"url": format!("{}?drain-data=all", caches.url()), "credentials": null}]));
    let aggregate = RawAggregate {
        url: Secret::new(format!("{}?drain-data=all", ours.url())),
        ca: None,
        cert: None,
        key: None,
    };
    for (configured, expected, other) in [(vec![aggregate], &ours, &caches), (Vec::new(), &caches, &ours)] {
        let dir = tempfile::tempdir().unwrap();
        let config = RawConfig {
            cache: cache.config(),
            aggregate_drains: configured,
            ..RawConfig::default()
        };
        let agent = Agent::start(&pki, dir.path(), config).await;
        while agent.rows(&pki).await.0.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let before = other.count();
        let mut producer = agent.producer(&pki);
        for source in ["a", "b", "c"] {
            producer.send(lines(source, 0, 10)).await.unwrap();
        }
        eventually("thirty lines", || expected.count() == 30).await;
        assert_eq!(other.count(), before);
        assert_eq!(expected.numbers("c"), (0..10).collect::<Vec<_>>());
        agent.stop().await;
    }
    cache.stop().await;
}

/// A drain that is down for a while under load gets every line, in order except for repeated ones, and few lines twice.
#[tokio::test]
async fn a_drain_away_and_back_under_load() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let drain = TcpDrain::start(0).await;
    let place = drain.port;
    let cache = Cache::start(&pki, false).await;
    cache.set(json!([item(&drain.url(), &["app"], "")]));
    let config = RawConfig {
        cache: cache.config(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    let mut producer = agent.producer(&pki);
    let mut next = 0;
    let mut emit = async |rounds: i64| {
        for _ in 0..rounds {
            producer.send(lines("app", next, 20)).await.unwrap();
            next += 20;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        next
    };
    emit(300).await;
    let mut got = drain.numbers("app");
    drain.kill().await;
    emit(300).await;
    let drain = TcpDrain::start(place).await;
    let last = emit(400).await;
    eventually("the last line", || drain.numbers("app").last() == Some(&(last - 1))).await;
    got.extend(drain.numbers("app"));
    let distinct: BTreeSet<_> = got.iter().copied().collect();
    assert_eq!(distinct.len(), usize::try_from(last).unwrap());
    let twice = got.len() - distinct.len();
    println!("{twice} of {last} lines twice");
    // At most the lines of half a second.
    assert!(twice <= 1000, "{twice}");
    assert!(agent.lost_for("spill_full") == 0);
    let ledger = agent.stop().await;
    assert_eq!(
        (ledger.sent, ledger.dropped_total(), ledger.in_flight),
        (last.cast_unsigned(), 0, 0)
    );
    cache.stop().await;
}

/// Two agents cannot use one state directory.
#[tokio::test]
async fn the_state_directory_is_one_agents() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let agent = Agent::start(&pki, dir.path(), RawConfig::default()).await;
    let raw = RawConfig {
        listen: ANY.into(),
        status_listen: ANY.into(),
        identity: pki.agent.clone(),
        state_dir: dir.path().to_owned(),
        ..RawConfig::default()
    };
    let (_trigger, context) = LogContext::in_memory("syslog-agent");
    let error = Server::bind(Config::try_from(raw).unwrap(), context).await.unwrap_err();
    assert!(error.to_string().contains("used by another agent"), "{error}");
    agent.stop().await;
}

/// Among a thousand bindings, one drain is down, one never reads, and one does not speak TLS. The other 997 get every
/// line soon, and the agent's memory stays small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_bindings_do_not_feel_the_three() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let good = TcpDrain::start(0).await;
    let stuck = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let cache = Cache::start(&pki, false).await;
    let app = |number: usize| format!("app-{number}");
    let mut list = Vec::new();
    for number in 0..1000 {
        let url = match number {
            0 => format!("syslog://127.0.0.1:{}", free_port().port()),
            1 => format!("syslog://{}", stuck.local_addr().unwrap()),
            2 => format!("syslog-tls://127.0.0.1:{}", good.port),
            _ => good.url(),
        };
        list.push(item(&url, &[&app(number)], ""));
    }
    let tag = cache.set(json!(list));
    let config = RawConfig {
        cache: cache.config(),
        ..RawConfig::default()
    };
    let agent = Agent::start(&pki, dir.path(), config).await;
    agent.applied(&pki, &tag).await;
    let before = resident();
    let mut producer = agent.producer(&pki);
    let rounds = 20;
    for round in 0..rounds {
        for number in 0..1000 {
            producer.send(lines(&app(number), round * 2, 2)).await.unwrap();
            if number % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    let all = 997 * 2 * usize::try_from(rounds).unwrap();
    eventually("997 drains' lines", || good.count() == all).await;
    for number in 3..1000 {
        assert_eq!(
            good.numbers(&app(number)),
            (0..rounds * 2).collect::<Vec<_>>(),
            "{number}"
        );
    }
    // Producers do not wait for the three drains.
    producer.flush().await.unwrap();
    println!("{} KiB more for a thousand drains", resident() - before);
    let (rows, _) = agent.rows(&pki).await;
    let lost: u64 = rows.iter().map(|row| row["lost"].as_u64().unwrap()).sum();
    assert_eq!(lost, 0);
    let ledger = agent.stop().await;
    let given = 1000 * 2 * rounds;
    assert_eq!(ledger.sent.cast_signed() + ledger.in_flight, given);
    cache.stop().await;
}

/// Returns the resident memory of this process in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
