//! The original's way to feed the log cache: syslog agent, syslog server, log cache.

use std::collections::BTreeMap;

use anyhow::ensure;
use weir_proto::logcache_v1::ReadRequest;
use weir_proto::logcache_v1::egress_client::EgressClient;
use weir_proto::loggregator_v2::{Envelope, Gauge, envelope::Message};
use weir_testkit::drains::{Certificate, DrainAgent, DrainItem};
use weir_testkit::{Mode, Stack, connect, eventually};

use super::model::short;
use super::receivers::{difficult, impossible};
use super::sending::send;

const APP: &str = "feed-app";

/// Returns what remains of an envelope that was sent as syslog (docs/decisions/0007).
fn as_fed(envelope: &Envelope) -> Vec<Envelope> {
    let mut fed = envelope.clone();
    fed.timestamp -= fed.timestamp.rem_euclid(1000);
    let tags = std::mem::take(&mut fed.tags);
    fed.tags = tags.into_iter().map(|(name, value)| (short(&name), value)).collect();
    match &mut fed.message {
        Some(Message::Log(log)) => {
            let mut payload: Vec<u8> = log.payload.iter().copied().filter(|byte| *byte != 0).collect();
            if payload.last() == Some(&b'\n') {
                payload.pop();
            }
            log.payload = payload.into();
            vec![fed]
        }
        Some(Message::Gauge(gauge)) => {
            let metrics = std::mem::take(&mut gauge.metrics);
            metrics
                .into_iter()
                .map(|metric| Envelope {
                    message: Some(Message::Gauge(Gauge {
                        metrics: [metric].into(),
                    })),
                    ..fed.clone()
                })
                .collect()
        }
        _ => vec![fed],
    }
}

/// Returns a text for each envelope with its count, as equal envelopes have equal texts.
fn shown(envelopes: impl IntoIterator<Item = Envelope>) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for envelope in envelopes {
        *lines.entry(format!("{envelope:?}")).or_default() += 1;
    }
    lines
}

/// Setup: a syslog agent whose aggregate drain is the syslog server of a running stack, with envelopes of every kind,
/// many difficult ones, and some that cannot be a message. Must hold: the log cache has each envelope unchanged, except
/// for what RFC 5424 cannot carry. An envelope that cannot be a message affects no other one.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_cache_is_fed_by_syslog() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let endpoints = stack.endpoints();
    let shown_to_it = Certificate {
        cert: std::fs::read_to_string(&endpoints.client_cert)?,
        key: std::fs::read_to_string(&endpoints.client_key)?,
    };
    let ca = std::fs::read_to_string(&endpoints.ca)?;
    let url = format!("syslog-tls://{}?drain-data=all", endpoints.log_cache_syslog);
    let agent = DrainAgent::start().await?;
    agent
        .controller
        .set_aggregates([DrainItem::new("", url).trusting(&ca).showing(&shown_to_it)]);
    eventually("the agent has the drain", async || {
        let drains = agent.status().await?;
        ensure!(!drains.is_empty(), "none");
        Ok::<_, anyhow::Error>(())
    })
    .await?;

    let sent = difficult(APP);
    let emitter = agent.emitter()?;
    send(&emitter, &impossible(APP)).await?;
    send(&emitter, &sent).await?;
    let wanted = shown(sent.iter().flat_map(as_fed));
    let total: u64 = wanted.values().sum();
    let channel = connect(&endpoints.log_cache, "log-cache", &endpoints.mutual()?).await?;
    let mut client = EgressClient::new(channel);
    let stored = eventually("everything in the log cache", async || {
        let request = ReadRequest {
            source_id: APP.to_owned(),
            start_time: i64::MIN,
            end_time: i64::MAX,
            limit: 1000,
            ..ReadRequest::default()
        };
        let answer = client.read(request).await?.into_inner();
        let stored = answer.envelopes.unwrap_or_default().batch;
        ensure!(stored.len() as u64 >= total, "{} of {total}", stored.len());
        Ok::<_, anyhow::Error>(stored)
    })
    .await?;
    // A gauge is sent as one message for each of its metrics, all with the same time. Syslog has microseconds, so the
    // log cache distinguishes them by nanoseconds of its own, which are removed here.
    let got = shown(stored.into_iter().map(|mut envelope| {
        envelope.timestamp -= envelope.timestamp.rem_euclid(1_000);
        envelope
    }));
    for (line, count) in &wanted {
        ensure!(
            got.get(line) == Some(count),
            "not there: {line:.900}\n{:.2000?}",
            got.keys()
        );
    }
    ensure!(got == wanted, "{} stored, {} sent", got.len(), wanted.len());
    Ok(())
}
