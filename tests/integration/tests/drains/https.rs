//! HTTPS drains to a collector with faults, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::{Method, Version};
use weir_testkit::drains::{Collector, DrainAgent, DrainItem, Fault, Pki};
use weir_testkit::{Series, Shape, eventually};
use weir_tls::{ALPN_H2, ALPN_HTTP1};

const SCHEMES: [&str; 2] = ["https", "https-batch"];
const PROTOCOLS: [&[u8]; 2] = [ALPN_HTTP1, ALPN_H2];

/// Returns a collector that speaks this protocol, and an agent with the app `app` bound to it.
async fn pair(scheme: &str, protocol: &[u8]) -> anyhow::Result<(Pki, Collector, DrainAgent)> {
    let pki = Pki::new("the collector's CA")?;
    let collector = Collector::start(pki.issue(&["127.0.0.1"])?.server(&[protocol], None)?).await?;
    let agent = DrainAgent::builder()
        .key("drains.http_timeout", "\"2s\"")
        .start()
        .await?;
    let url = collector
        .url(scheme, "/in?key=s3cret&drain-data=logs")
        .replace("://", "://user:pass@");
    agent.bind([DrainItem::new("app", url).trusting(&pki.ca)]).await?;
    Ok((pki, collector, agent))
}

/// Setup: a healthy collector. Must hold: each line arrives once, in POSTs as the contract defines them, one or many
/// messages in each, over the version of HTTP that the collector speaks, on few connections.
#[tokio::test(flavor = "multi_thread")]
async fn lines_are_posted() -> anyhow::Result<()> {
    for scheme in SCHEMES {
        for protocol in PROTOCOLS {
            let (_pki, collector, agent) = pair(scheme, protocol).await?;
            let mut series = Series::new("app", Shape::SHORT);
            agent.emitter()?.send_series(&mut series, 1000).await?;
            collector.wait_for_lines(1000).await.with_context(|| agent.log())?;
            let tally = collector.lines().of("app");
            assert_eq!((tally.once, tally.twice), (1000, 0), "{scheme}");
            assert!(collector.accepted() <= 5, "{} connections", collector.accepted());
            let requests = collector.requests();
            for request in &requests {
                let version = if protocol == ALPN_H2 {
                    Version::HTTP_2
                } else {
                    Version::HTTP_11
                };
                assert_eq!((&request.method, request.version), (&Method::POST, version));
                assert_eq!(request.header("content-type"), "text/plain");
                assert_eq!(request.header("authorization"), "Basic dXNlcjpwYXNz");
                assert!(
                    request.target.starts_with("/in?") && request.target.contains("key=s3cret"),
                    "{}",
                    request.target
                );
                assert!(request.body.starts_with(b"<14>1 ") && request.body.ends_with(b"\n"));
            }
            if scheme == "https" {
                assert_eq!(requests.len(), 1000);
                assert!(collector.lines().garbled().is_empty());
            } else {
                // Several requests are in flight at a time and may overtake each other, so lines are in order within a
                // request only.
                assert!(requests.len() < 500, "{} requests", requests.len());
                for request in &requests {
                    let numbers: Vec<&[u8]> = request
                        .body
                        .split(|byte| *byte == b'#')
                        .skip(1)
                        .map(|rest| &rest[..12])
                        .collect();
                    assert!(numbers.is_sorted() && !numbers.is_empty());
                }
            }
        }
    }
    Ok(())
}

/// Setup: the collector is slow, busy, broken and silent in turn. Must hold: every line arrives, and none is accepted
/// twice. A request that is sent again has the same idempotency key.
#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_once_despite_faults() -> anyhow::Result<()> {
    for scheme in SCHEMES {
        for protocol in PROTOCOLS {
            let (_pki, collector, agent) = pair(scheme, protocol).await?;
            let emitter = agent.emitter()?;
            let mut series = Series::new("app", Shape::SHORT);
            let mut sent = 0;
            for fault in [
                Fault::Slow(Duration::from_millis(100)),
                Fault::Status(500),
                Fault::Reset,
                Fault::TooMany(None),
                Fault::TooMany(Some(1)),
                Fault::TakenThenReset,
                Fault::Status(503),
                Fault::Silent,
            ] {
                collector.plan([fault]);
                emitter.send_series(&mut series, 100).await?;
                sent += 100;
                let arrived = collector.wait_for_lines(sent).await;
                arrived.with_context(|| {
                    let protocol = String::from_utf8_lossy(protocol);
                    format!("{scheme} over {protocol}, {fault:?}: {}", agent.log())
                })?;
            }
            // Its lines were accepted the first time, so the wait above does not include the repeated request.
            eventually("the one that was taken to come again with its key", async || {
                ensure!(collector.repeated() >= 1, "{} requests", collector.count());
                Ok::<_, anyhow::Error>(())
            })
            .await
            .with_context(|| agent.log())?;
            let tally = collector.lines().of("app");
            assert_eq!((tally.once, tally.twice, tally.missing(sent)), (sent, 0, 0), "{scheme}");
            let ledgers = agent.ledgers()?;
            assert_eq!(ledgers.lost(), 0, "{}", ledgers.summary());
        }
    }
    Ok(())
}

/// Setup: the collector answers 429 with `Retry-After: 2`. Must hold: nothing is sent before that time.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() -> anyhow::Result<()> {
    for protocol in PROTOCOLS {
        let (_pki, collector, agent) = pair("https-batch", protocol).await?;
        let emitter = agent.emitter()?;
        let mut series = Series::new("app", Shape::SHORT);
        collector.plan([Fault::TooMany(Some(2))]);
        emitter.send_series(&mut series, 10).await?;
        eventually("the first request", async || {
            ensure!(collector.count() > 0, "none");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        emitter.send_series(&mut series, 10).await?;
        collector.wait_for_lines(20).await?;
        let requests = collector.requests();
        let after = requests
            .iter()
            .filter(|request| request.fault == Fault::None)
            .map(|request| request.at)
            .min();
        let pause = after.context("one that was taken")?.duration_since(requests[0].at);
        assert!(pause >= Duration::from_millis(1900), "{pause:?}");
        assert_eq!(collector.lines().of("app").once, 20);
    }
    Ok(())
}

/// Setup: the collector answers 500 to every request with one of two lines. Must hold: these two are counted once each,
/// and all others arrive once.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_at_which_the_collector_fails_is_set_aside() -> anyhow::Result<()> {
    let (_pki, collector, agent) = pair("https-batch", ALPN_H2).await?;
    let emitter = agent.emitter()?;
    let mut series = Series::new("app", Shape::SHORT);
    collector.always(Fault::Lines(500, &[0, 57]));
    emitter.send_series(&mut series, 100).await?;
    eventually("the counts", async || {
        let (got, ledgers) = (collector.lines().total(), agent.ledgers()?);
        ensure!(got == 98 && ledgers.lost() == 2, "{got} arrived: {}", ledgers.summary());
        Ok::<_, anyhow::Error>(())
    })
    .await
    .with_context(|| agent.log())?;
    let tally = collector.lines().of("app");
    assert_eq!((tally.once, tally.twice), (98, 0));
    assert_eq!(agent.ledgers()?.dropped("", "", "rejected"), 2);
    Ok(())
}

/// Setup: the collector answers with a `Retry-After` of an hour. Must hold: a new binding to the same host and port
/// ends the wait at once, and so does a successful probe.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_binding_or_a_probe_ends_the_wait() -> anyhow::Result<()> {
    let (pki, collector, agent) = pair("https-batch", ALPN_H2).await?;
    let emitter = agent.emitter()?;
    let mut series = Series::new("app", Shape::SHORT);
    let waits = |status: &weir_testkit::drains::DrainStatus| status.state == "retrying" && status.waiting_lines == 10;
    collector.plan([Fault::TooMany(Some(3600))]);
    emitter.send_series(&mut series, 10).await?;
    agent.wait_for_status("app", waits).await?;
    let url = |app: &str| collector.url("https-batch", &format!("/in?app={app}&drain-data=logs"));
    let first = collector
        .url("https-batch", "/in?key=s3cret&drain-data=logs")
        .replace("://", "://user:pass@");
    let item = |app: &str, url: String| DrainItem::new(app, url).trusting(&pki.ca);
    agent.bind([item("app", first), item("other", url("other"))]).await?;
    collector.wait_for_lines(10).await.with_context(|| agent.log())?;

    collector.plan([Fault::TooMany(Some(3600))]);
    emitter.send_series(&mut series, 10).await?;
    agent.wait_for_status("app", waits).await?;
    let place = url("").split('/').nth(2).context("a place")?.to_owned();
    agent.report_reachable(&place).await?;
    collector.wait_for_lines(20).await.with_context(|| agent.log())?;
    Ok(())
}

/// Setup: the collector refuses requests with one of three lines (400, 413). Must hold: these three are counted once
/// each and reported as lost, and all others arrive once.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_costs_only_what_was_refused() -> anyhow::Result<()> {
    for scheme in SCHEMES {
        for protocol in PROTOCOLS {
            let (_pki, collector, agent) = pair(scheme, protocol).await?;
            let emitter = agent.emitter()?;
            let mut series = Series::new("app", Shape::SHORT);
            collector.always(Fault::Lines(
                if protocol == ALPN_H2 { 400 } else { 413 },
                &[0, 500, 501],
            ));
            emitter.send_series(&mut series, 1000).await?;
            eventually("the counts", async || {
                let (got, ledgers) = (collector.lines().total(), agent.ledgers()?);
                let dropped = ledgers.lost();
                ensure!(
                    got + dropped == 1000 && dropped == 3,
                    "{got} arrived: {}",
                    ledgers.summary()
                );
                Ok::<_, anyhow::Error>(())
            })
            .await
            .with_context(|| format!("{scheme}: {}", agent.log()))?;
            let tally = collector.lines().of("app");
            assert_eq!((tally.once, tally.twice), (997, 0), "{scheme}");
            assert_eq!(agent.ledgers()?.dropped("", "", "rejected"), 3);
            agent
                .wait_for_status("app", |status| status.lost == 3 && status.state == "flowing")
                .await?;
        }
    }
    Ok(())
}

/// Setup: the collector shows a certificate of another CA, one of another name, and one that has expired. Must hold:
/// nothing is sent, and the reason is reported without secrets. With a valid certificate, everything that waited
/// arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_named() -> anyhow::Result<()> {
    let (pki, mut collector, agent) = pair("https-batch", ALPN_H2).await?;
    let other = Pki::new("another CA")?;
    let emitter = agent.emitter()?;
    let mut series = Series::new("app", Shape::SHORT);
    let mut sent = 0;
    for (certificate, named) in [
        (other.issue(&["127.0.0.1"])?, "another CA"),
        (pki.issue(&["elsewhere.example"])?, "elsewhere.example"),
        (pki.issue_expired(&["127.0.0.1"])?, "expired"),
    ] {
        collector.stop().await;
        collector.set_tls(certificate.server(&[ALPN_H2], None)?);
        collector.resume().await?;
        emitter.send_series(&mut series, 100).await?;
        let names_certificate = |status: &weir_testkit::drains::DrainStatus| {
            status
                .last_error
                .as_ref()
                .is_some_and(|error| error.contains("certificate") && error.contains(named))
        };
        let status = agent.wait_for_status("app", names_certificate).await?;
        let text = format!("{status:?} {}", agent.log());
        for secret in ["s3cret", "pass@", "user:"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(collector.lines().total(), sent);
        collector.stop().await;
        collector.set_tls(pki.issue(&["127.0.0.1"])?.server(&[ALPN_H2], None)?);
        collector.resume().await?;
        sent += 100;
        collector.wait_for_lines(sent).await.with_context(|| agent.log())?;
    }
    let tally = collector.lines().of("app");
    assert_eq!((tally.once, tally.twice, tally.late), (300, 0, 0));
    Ok(())
}
