//! rsyslog and syslog-ng parse what drains send. Each parsed field is compared with the envelope.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use weir_proto::loggregator_v2::{Counter, Envelope, Event, Gauge, GaugeValue, Timer, envelope::Message, log};
use weir_testkit::Skip;
use weir_testkit::drains::{Daemon, DrainAgent, DrainItem, Parsed, Pki, Product};

use super::model::{as_shown_by, expected, normal};
use super::sending::{START, envelope, line, loghub, send};

/// Starts the products that are installed.
async fn daemons(pki: &Pki) -> anyhow::Result<Vec<(Product, Daemon)>> {
    let mut found = Vec::new();
    for product in Product::ALL {
        match Daemon::start(product, pki).await? {
            Ok(daemon) => found.push((product, daemon)),
            Err(skip) => skip.report(),
        }
    }
    Ok(found)
}

/// Returns bindings of each app to each daemon. The name of an app says whether it uses TCP or TLS.
fn bindings(daemons: &[(Product, Daemon)], apps: &[String], parameters: &str, pki: &Pki) -> Vec<DrainItem> {
    let mut items = Vec::new();
    for (_, daemon) in daemons {
        for app in apps {
            let url = if app.starts_with("tls-") {
                daemon.tls_url()
            } else {
                daemon.tcp_url()
            };
            items.push(DrainItem::new(app, format!("{url}{parameters}")).trusting(&pki.ca));
        }
    }
    items
}

fn by_app(parsed: Vec<Parsed>) -> BTreeMap<String, Vec<Parsed>> {
    let mut apps = BTreeMap::<String, Vec<Parsed>>::new();
    for mut message in parsed {
        message.timestamp = normal(&message.timestamp);
        apps.entry(message.app_name.clone()).or_default().push(message);
    }
    apps
}

/// Compares what a daemon parsed with the expected messages, app by app.
fn compare(product: Product, got: &[Parsed], wanted: &[Parsed]) -> anyhow::Result<()> {
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let wanted = as_shown_by(product, wanted.clone());
        ensure!(
            *got == wanted,
            "{}, message {index}:\n got {got:.600?} {:.300?}\nwant {wanted:.600?} {:.300?}",
            product.name(),
            String::from_utf8_lossy(&got.message),
            String::from_utf8_lossy(&wanted.message),
        );
    }
    ensure!(
        got.len() == wanted.len(),
        "{}: {} of {} messages",
        product.name(),
        got.len(),
        wanted.len()
    );
    Ok(())
}

/// Setup: each Loghub file is the log of two apps, one drained over TCP and one over TLS, both to rsyslog and to
/// syslog-ng. Must hold: each of the four receivers has every line in order, with each field as it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn loghub_arrives_field_by_field() -> anyhow::Result<()> {
    let Some(files) = loghub()? else {
        Skip("no Loghub samples: set WEIR_LOGHUB to a folder with *.log files".to_owned()).report();
        return Ok(());
    };
    ensure!(!files.is_empty(), "no files");
    let pki = Pki::new("the receivers' CA")?;
    let daemons = daemons(&pki).await?;
    if daemons.is_empty() {
        return Ok(());
    }
    let apps: Vec<String> = ["tcp", "tls"]
        .iter()
        .flat_map(|kind| files.iter().map(move |(name, _)| format!("{kind}-{name}")))
        .collect();
    let agent = DrainAgent::start().await?;
    agent.bind(bindings(&daemons, &apps, "", &pki)).await?;
    let emitter = agent.emitter()?;
    let mut sent = BTreeMap::<String, Vec<Envelope>>::new();
    for app in &apps {
        let (_, name) = app.split_once('-').context("a kind and a name")?;
        let lines = files
            .iter()
            .find(|(file, _)| file == name)
            .map(|(_, lines)| lines)
            .context("a file")?;
        let tags = [
            ("source_type", "APP/PROC/WEB"),
            ("file", name),
            ("organization_name", "my org"),
        ];
        let envelopes: Vec<Envelope> = (0i64..)
            .zip(lines)
            .map(|(number, text)| {
                let kind = if number % 7 == 0 {
                    log::Type::Err
                } else {
                    log::Type::Out
                };
                line(app, START + number * 1_000_001, &tags, text, kind)
            })
            .collect();
        send(&emitter, &envelopes).await?;
        sent.insert(app.clone(), envelopes);
    }
    let total: usize = sent.values().map(Vec::len).sum();
    for (product, daemon) in &daemons {
        let parsed = daemon.parsed(total).await.with_context(|| agent.log())?;
        let mut parsed = by_app(parsed);
        for (app, envelopes) in &sent {
            let wanted: Vec<Parsed> = envelopes
                .iter()
                .flat_map(|envelope| expected(envelope, &format!("org.space.{app}"), true))
                .collect();
            compare(*product, &parsed.remove(app).unwrap_or_default(), &wanted).with_context(|| app.clone())?;
        }
        ensure!(parsed.is_empty(), "nobody sent these: {:?}", parsed.keys());
    }
    Ok(())
}

/// Returns envelopes of every kind, with all that is difficult to send.
pub(super) fn difficult(app: &str) -> Vec<Envelope> {
    let mut all = Vec::new();
    let mut at = START;
    let mut next = || {
        at += 1_234_567;
        at
    };
    let named = [
        ("source_type", "APP/PROC/WEB"),
        ("organization_name", "my org! "),
        ("space_name", "a  b\tc-"),
        ("app_name", "app_\u{e4}-1"),
    ];
    let hard = [
        ("quote", "say \"hi\""),
        ("bracket", "a]b[c"),
        ("backslash", "c:\\new\\"),
        ("letters", "\u{e4}\u{1f980}\u{2603}"),
        ("empty", ""),
        ("spaces", "  a  b  "),
        ("dotted.name", "x"),
        ("__v1_type", "LogMessage"),
        ("a_name_that_is_longer_than_the_thirty_two_letters_of_the_rfc", "y"),
        ("source_type", "my  type -"),
    ];
    for payload in [
        &b"plain"[..],
        b"ends itself\n",
        b"",
        b"  spaces and\ttabs  ",
        b"carriage\r",
        b"nul \0 is left out\0",
        b"two\nlines\nof one",
        b"[looks like=\"data\"] <14>1 - - - - - -",
        "\u{e4}\u{2603}\u{1f980}".as_bytes(),
        b"not \xff\xfe UTF-8 \xc3",
    ] {
        all.push(line(app, next(), &named, payload, log::Type::Out));
        all.push(line(app, next(), &hard, payload, log::Type::Err));
    }
    all.push(line(app, next(), &[], &vec![b'x'; 61_440], log::Type::Out));
    all.push(line(
        app,
        0,
        &[("source_type", "RTR")],
        b"the first of all",
        log::Type::Out,
    ));
    let mut without = line(app, next(), &[("source_type", "STG")], b"no instance", log::Type::Out);
    without.instance_id.clear();
    all.push(without);
    for tags in [&named[..], &hard, &[]] {
        let counter = Counter {
            name: "requests \"all\"".to_owned(),
            delta: 7,
            total: u64::MAX,
        };
        all.push(envelope(app, next(), tags, Message::Counter(counter)));
        let timer = Timer {
            name: "http".to_owned(),
            start: 1,
            stop: i64::MAX,
        };
        all.push(envelope(app, next(), tags, Message::Timer(timer)));
        let event = Event {
            title: "crash [1]".to_owned(),
            body: "exit \\ 1]".to_owned(),
        };
        all.push(envelope(app, next(), tags, Message::Event(event)));
        let values = [0.0, 0.23, -1.5, 100.0, 123_456.0, 1_234_567.0, 1e21, 0.000_01, f64::MAX];
        let metrics = values.iter().enumerate().map(|(index, value)| {
            let value = GaugeValue {
                unit: ["", "percentage", "by]tes"][index % 3].to_owned(),
                value: *value,
            };
            (format!("metric-{index}"), value)
        });
        let gauge = Gauge {
            metrics: metrics.collect(),
        };
        all.push(envelope(app, next(), tags, Message::Gauge(gauge)));
    }
    all
}

/// Returns envelopes without a message, because of a tag name that no receiver can read.
pub(super) fn impossible(app: &str) -> Vec<Envelope> {
    let bad = [
        [("with space", "x")],
        [("quote\"", "x")],
        [("equals=", "x")],
        [("bracket]", "x")],
        [("\u{e4}", "x")],
    ];
    bad.iter()
        .map(|tags| line(app, START, tags, b"cannot be sent", log::Type::Out))
        .collect()
}

/// Setup: envelopes of every kind with all that is difficult, and between them some that cannot be a message, to
/// rsyslog and syslog-ng over TCP and TLS, with and without metadata. Must hold: each field arrives as it was sent.
/// What cannot be sent is counted, and delays nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_arrives_field_by_field() -> anyhow::Result<()> {
    for metadata in [true, false] {
        let pki = Pki::new("the receivers' CA")?;
        let daemons = daemons(&pki).await?;
        if daemons.is_empty() {
            return Ok(());
        }
        let apps = ["tcp-kinds".to_owned(), "tls-kinds".to_owned()];
        let agent = DrainAgent::start().await?;
        let parameters = format!("?drain-data=all&disable-metadata={}", !metadata);
        agent.bind(bindings(&daemons, &apps, &parameters, &pki)).await?;
        let emitter = agent.emitter()?;
        let mut total = 0;
        let mut lost = 0;
        for app in &apps {
            send(&emitter, &impossible(app)).await?;
            send(&emitter, &difficult(app)).await?;
            total += difficult(app)
                .iter()
                .map(|envelope| expected(envelope, "", metadata).len())
                .sum::<usize>();
            // Without metadata no tags are sent, so all envelopes have a message.
            let few = if metadata { impossible(app).len() } else { 0 };
            total += impossible(app).len() - few;
            lost += few * daemons.len();
        }
        for (product, daemon) in &daemons {
            let mut parsed = by_app(daemon.parsed(total).await.with_context(|| agent.log())?);
            for app in &apps {
                let hostname = format!("org.space.{app}");
                let sent = [if metadata { Vec::new() } else { impossible(app) }, difficult(app)].concat();
                let mut wanted: Vec<Parsed> = sent
                    .iter()
                    .flat_map(|envelope| expected(envelope, &hostname, metadata))
                    .collect();
                let mut got = parsed.remove(app).unwrap_or_default();
                // The metrics of a gauge have no defined order.
                let key = |message: &Parsed| (message.timestamp.clone(), format!("{:?}", message.structured_data));
                got.sort_by_key(key);
                wanted.sort_by_key(key);
                compare(*product, &got, &wanted).with_context(|| format!("{app}, metadata {metadata}"))?;
            }
        }
        weir_testkit::eventually("the counts", async || {
            let dropped = agent.ledgers()?.dropped("", "", "unconvertible");
            ensure!(dropped == lost as u64, "{dropped} of {lost} counted");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    Ok(())
}
