//! Tests of the cache in one process, between a cloud controller with faults and the agents, over mTLS.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests spawn, wait and fail as they like"
)]

mod common;

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;
use weir_agents_binding_cache::{RawApi, RawConfig};
use weir_agents_lib::testing::{Peer, Pki};
use weir_eventually::eventually;
use weir_proto::loggregator_v2 as v2;

use common::{Behaviour, Cache, CloudController, item, items, replace, urls_of};

fn source<'s>(status: &'s Value, name: &str) -> &'s Value {
    let sources = status["sources"].as_array().unwrap();
    let found = sources.iter().find(|source| source["name"] == name);
    found.unwrap_or(&Value::Null)
}

/// All pages become one list, sorted by URL. The `ETag` changes with the content only.
#[tokio::test]
async fn the_whole_feed_is_served() {
    let pki = Pki::new();
    let controller = CloudController::start(&pki, items(205)).await;
    let cache = Cache::start(&pki, Cache::asking(&pki, &controller)).await;
    cache.status_when("the list", |status| status["bindings"] == 205).await;
    let first = cache.get("/v2/bindings", &[]).await;
    let list = first.json();
    assert_eq!(list.as_array().unwrap().len(), 205);
    assert_eq!(list[0], item("syslog://logs.example:1000", "app-0"), "as it came");
    let before = controller.requests();
    eventually("some more polls", || controller.requests() > before + 12).await;
    let again = cache.get("/v2/bindings", &[("if-none-match", &first.etag)]).await;
    assert_eq!((again.status, again.etag), (StatusCode::NOT_MODIFIED, first.etag));
    assert!(again.body.is_empty());
    cache.stop().await;
}

/// If drains are removed between two pages, no other drain is missing.
#[tokio::test]
async fn a_list_that_shrinks_is_read_whole() {
    for gone in [1, 5, 30] {
        let pki = Pki::new();
        let controller = CloudController::start(&pki, items(200)).await;
        controller.behaves(Behaviour::Shrinks(gone));
        let cache = Cache::start(&pki, Cache::asking(&pki, &controller)).await;
        let mut urls = None;
        let deadline = Instant::now() + Duration::from_secs(20);
        while urls.is_none() && Instant::now() < deadline {
            urls = cache.urls().await;
        }
        let urls = urls.unwrap();
        for stays in gone..200 {
            let url = format!("syslog://logs.example:{}", 1000 + stays);
            assert!(urls.contains(&url), "{gone} gone, {url} skipped");
        }
    }
}

/// In all failures of the cloud controller the last list stays in force, and the status says since when and why,
/// without secrets.
#[tokio::test]
async fn failures_keep_the_last_list() {
    let pki = Pki::new();
    let controller = CloudController::start(&pki, items(3)).await;
    let mut config = Cache::asking(&pki, &controller);
    config.api.timeout = weir_config::Duration::from_millis(300);
    config.api.deadline = weir_config::Duration::from_millis(600);
    let cache = Cache::start(&pki, config).await;
    let good = cache.status_when("the list", |status| status["bindings"] == 3).await;
    assert_eq!(source(&good, "cloud_controller")["error"], Value::Null);
    let secret = r#"{"results":[{"url":"syslog://u:hunter2@h:1","credentials":"hunter2"}]}"#;
    let endless = json!({"results": [item("syslog://x:1", "a")], "next_id": 7}).to_string();
    for (behaviour, expected) in [
        (
            Behaviour::Status(500, "database is away".to_owned()),
            "status 500: database is away",
        ),
        (Behaviour::Status(401, String::new()), "status 401"),
        (Behaviour::Body("<html>".to_owned()), "no page of drains"),
        (Behaviour::Body(secret.to_owned()), "JSON of another form at line 1"),
        (Behaviour::Body(endless), "`next_id` does not go on"),
        (Behaviour::NeverAnswers, "did not answer within 300 ms"),
        (Behaviour::Slow(Duration::from_millis(250)), "could not be read within"),
    ] {
        controller.set(items(if matches!(behaviour, Behaviour::Slow(_)) {
            200
        } else {
            3
        }));
        controller.behaves(behaviour.clone());
        let status = cache
            .status_when("the trouble", |status| {
                let error = source(status, "cloud_controller")["error"].as_str();
                error.is_some_and(|error| error.contains(expected))
            })
            .await;
        assert!(
            source(&status, "cloud_controller")["stale_since"].is_string(),
            "{behaviour:?}"
        );
        assert!(!status.to_string().contains("hunter2"), "{status}");
        assert_eq!(cache.urls().await.unwrap().len(), 3, "{behaviour:?}");
    }
    controller.behaves(Behaviour::Normal);
    controller.set(items(4));
    let well = cache
        .status_when("the new list", |status| status["bindings"] == 4)
        .await;
    assert_eq!(source(&well, "cloud_controller")["stale_since"], Value::Null);
    cache.stop().await;
}

/// A list above the size limit is not used. A cloud controller with another CA, or one that does not accept the client,
/// is an unreadable source.
#[tokio::test]
async fn limits_and_identities() {
    let pki = Pki::new();
    let controller = CloudController::start(&pki, items(20_000)).await;
    let mut config = Cache::asking(&pki, &controller);
    config.api.max_size = weir_config::ByteSize::mib(1);
    config.api.batch_size = 5000;
    let cache = Cache::start(&pki, config).await;
    cache
        .status_when("too large", |status| {
            source(status, "cloud_controller")["error"]
                .as_str()
                .is_some_and(|error| error.contains("larger than"))
        })
        .await;
    assert_eq!(
        cache.get("/v2/bindings", &[]).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );

    let foreign = Pki::new();
    for identity in [
        foreign.client.clone(),
        weir_tls::IdentityFiles {
            ca: pki.client.ca.clone(),
            ..foreign.client.clone()
        },
    ] {
        let mut config = Cache::asking(&pki, &controller);
        config.api.identity = identity;
        let cache = Cache::start(&pki, config).await;
        cache
            .status_when("refused", |status| {
                source(status, "cloud_controller")["error"].is_string()
            })
            .await;
        assert_eq!(cache.urls().await, None, "an unknown list is no empty list");
    }
}

/// A static drain is served as soon as its file exists, also to clients that wait. A broken file leaves the last list
/// in force. Without a cloud controller the list is known from the start.
#[tokio::test]
async fn static_drains_come_at_once() {
    let pki = Pki::new();
    let path = pki.path().join("drains.json");
    let cache = Cache::start(
        &pki,
        RawConfig {
            static_drains: Some(path.clone()),
            ..RawConfig::default()
        },
    )
    .await;
    cache
        .status_when("the empty list", |status| status["revision"].is_string())
        .await;
    let empty = cache.get("/v2/bindings", &[]).await;
    assert_eq!((empty.status, empty.json()), (StatusCode::OK, json!([])));

    let headers = [("if-none-match", empty.etag.as_str()), ("prefer", "wait=60")];
    let waiting = cache.get("/v2/bindings", &headers);
    let write = async {
        replace(
            &path,
            r#"{"drains":[{"source_id":"web","hostname":"o.s.web","url":"syslog://logs.example:514"}]}"#,
        );
    };
    let answered = async { tokio::join!(waiting, write).0 };
    // Long before the time is over for which it would wait.
    let changed = tokio::time::timeout(Duration::from_secs(40), answered).await.unwrap();
    assert_eq!(changed.json(), json!([item("syslog://logs.example:514", "web")]));

    replace(&path, "{");
    cache
        .status_when("the broken file", |status| {
            source(status, "static")["error"].is_string()
        })
        .await;
    assert_eq!(cache.urls().await.unwrap(), ["syslog://logs.example:514"]);
    std::fs::remove_file(&path).unwrap();
    cache.status_when("no file", |status| status["bindings"] == 0).await;
    cache.stop().await;
}

/// Static drains and those of the cloud controller are merged. While one source is unknown, there is no list.
#[tokio::test]
async fn sources_are_merged() {
    let pki = Pki::new();
    let controller = CloudController::start(&pki, vec![item("syslog://logs.example:1", "a")]).await;
    controller.behaves(Behaviour::Status(503, String::new()));
    let path = pki.path().join("drains.json");
    let text = json!({"drains": [
        {"source_id": "b", "hostname": "o.s.b", "url": "syslog://logs.example:1"},
        {"source_id": "b", "hostname": "o.s.b", "url": "https://other.example/in"},
    ]});
    std::fs::write(&path, text.to_string()).unwrap();
    let config = RawConfig {
        static_drains: Some(path),
        ..Cache::asking(&pki, &controller)
    };
    let cache = Cache::start(&pki, config).await;
    cache
        .status_when("the file", |status| source(status, "static")["drains"] == 2)
        .await;
    let unknown = cache.get("/v2/bindings", &[]).await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    controller.behaves(Behaviour::Normal);
    cache.status_when("both", |status| status["bindings"] == 3).await;
    let list = cache.get("/v2/bindings", &[]).await.json();
    assert_eq!(urls_of(&list), ["https://other.example/in", "syslog://logs.example:1"]);
    let apps = &list[1]["credentials"][0]["apps"];
    assert_eq!(
        (apps[0]["app_id"].as_str(), apps[1]["app_id"].as_str()),
        (Some("a"), Some("b"))
    );
    cache.stop().await;
}

/// Aggregate drains come from a YAML file that is watched. A drain that is not usable is left out and reported.
#[tokio::test]
async fn aggregate_drains_come_from_a_file() {
    let pki = Pki::new();
    let path = pki.path().join("aggregate_drains.yml");
    std::fs::write(
        &path,
        "---\n- url: syslog-tls://log-cache:6067?include-metrics-deprecated=true\n- url: ftp://x\n",
    )
    .unwrap();
    let config = RawConfig {
        aggregate_drains: Some(path.clone()),
        ..RawConfig::default()
    };
    let cache = Cache::start(&pki, config).await;
    let status = cache
        .status_when("the file", |status| source(status, "aggregate")["drains"] == 2)
        .await;
    assert_eq!(
        status["refused"][0]["text"],
        "Invalid Scheme ftp for syslog drain url ftp://x/"
    );
    let list = cache.get("/v2/aggregate", &[]).await.json();
    let expected = json!([{
        "url": "syslog-tls://log-cache:6067?include-metrics-deprecated=true",
        "credentials": [{"cert": "", "key": "", "ca": "", "apps": null}],
    }]);
    assert_eq!(list, expected);
    replace(&path, "[]");
    cache
        .status_when("the new file", |status| source(status, "aggregate")["drains"] == 0)
        .await;
    assert_eq!(cache.get("/v2/aggregate", &[]).await.json(), json!([]));
    assert_eq!(cache.get("/v2/bindings", &[]).await.json(), json!([]));
    cache.stop().await;
}

/// Each bound app is warned once about each problem, in the words of the contract and without secrets. A drain with a
/// forbidden address is not served, and one whose name has no address is.
#[tokio::test]
async fn apps_are_warned() {
    let pki = Pki::new();
    let agent = Peer::start(&pki.agent, 0);
    let list = vec![
        item("syslog://logs.example:1", "fine"),
        item("gopher://user:hunter2@logs.example:1/?hunter2", "scheme"),
        item("https://inside.example/in?hunter2", "inside"),
        item("syslog://nowhere.example:1", "nowhere"),
        item("syslog://10.1.2.3:1", "literal"),
    ];
    let controller = CloudController::start(&pki, list).await;
    let config = RawConfig {
        agent: Some(agent.address().into()),
        blocked_ranges: "10.0.0.0-10.255.255.255".parse().unwrap(),
        ..Cache::asking(&pki, &controller)
    };
    let cache = Cache::start(&pki, config).await;
    let status = cache.status_when("the list", |status| status["bindings"] == 2).await;
    assert_eq!(
        cache.urls().await.unwrap(),
        ["syslog://logs.example:1", "syslog://nowhere.example:1"]
    );
    assert_eq!(status["refused_count"], 4);
    eventually("four lines", || agent.received_envelopes() >= 4).await;
    let polls = controller.requests();
    eventually("more polls", || controller.requests() > polls + 6).await;
    let mut warned: Vec<(String, String)> = agent
        .received()
        .into_iter()
        .map(|envelope| {
            assert_eq!(
                (envelope.instance_id.as_str(), envelope.tags["source_type"].as_str()),
                ("0", "LGR")
            );
            let Some(v2::envelope::Message::Log(log)) = envelope.message else {
                panic!("not a log")
            };
            assert_eq!(log.r#type, v2::log::Type::Err as i32);
            (envelope.source_id, String::from_utf8(log.payload.to_vec()).unwrap())
        })
        .collect();
    warned.sort();
    let expected = [
        (
            "inside",
            "Resolved ip address for syslog drain with url https://inside.example/in is blacklisted",
        ),
        (
            "literal",
            "Resolved ip address for syslog drain with url syslog://10.1.2.3:1 is blacklisted",
        ),
        (
            "nowhere",
            "Cannot resolve ip address for syslog drain with url syslog://nowhere.example:1",
        ),
        (
            "scheme",
            "Invalid Scheme gopher for syslog drain url gopher://logs.example:1/",
        ),
    ];
    assert_eq!(warned, expected.map(|(app, text)| (app.to_owned(), text.to_owned())));
    cache.stop().await;
}

/// A client without a certificate of the right CA gets nothing. A cache that is stopping answers waiting clients.
#[tokio::test]
async fn unknown_clients_and_stops() {
    let pki = Pki::new();
    let cache = Cache::start(
        &pki,
        RawConfig {
            api: RawApi::default(),
            ..RawConfig::default()
        },
    )
    .await;
    cache
        .status_when("the list", |status| status["revision"].is_string())
        .await;
    let etag = cache.get("/v2/bindings", &[]).await.etag;
    let other = Pki::new();
    let stranger = Cache::start(&other, RawConfig::default()).await;
    let lost = Cache {
        address: cache.address,
        ..stranger
    };
    assert!(lost.try_get("/v2/bindings", &[]).await.is_err());

    let cache = std::sync::Arc::new(cache);
    let waiting = tokio::spawn({
        let cache = std::sync::Arc::clone(&cache);
        async move {
            cache
                .get("/v2/bindings", &[("if-none-match", &etag), ("prefer", "wait=60")])
                .await
                .status
        }
    });
    // Nothing that can be waited for says that the question was read; one that comes later would find nobody.
    tokio::time::sleep(Duration::from_millis(200)).await;
    cache.fire();
    // Long before the time is over for which it would wait.
    let answered = tokio::time::timeout(Duration::from_secs(40), waiting).await.unwrap();
    assert_eq!(answered.unwrap(), StatusCode::NOT_MODIFIED);
}
