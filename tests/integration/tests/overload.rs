//! Too many subscribers, a stopped consumer, and a disk that cannot be written. Clients get clear errors, losses are
//! counted, and the counts can be read.

use std::fs;

use anyhow::{Context as _, ensure};
use weir_faults::{assert_no_panics, in_log_cache, send_paced, series_of};
use weir_testkit::{Firehose, Https, Mode, RlpConsumer, Shape, Signal, Stack, eventually, logs_of, sent_of};

/// Returns how often a line in the log of `component` contains `text`.
fn count_log_lines(stack: &Stack, component: &str, text: &str) -> usize {
    let path = stack.state_dir().join("logs").join(format!("{component}.log"));
    let log = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&log)
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

/// Setup: clients of the RLP use all live subscriptions of the doppler. Then another client connects to each interface,
/// and the log cache is killed while lines are sent. Must hold: each interface tells its client the reason, and the
/// doppler logs and counts the refusals. The log cache gets its subscription back with the lines sent meanwhile, every
/// loss is counted, and `weir doctor` agrees.
#[tokio::test(flavor = "multi_thread")]
async fn refused_subscribers_get_a_reason_and_the_log_cache_returns() -> anyhow::Result<()> {
    const PLACES: usize = 60;
    let stack = Stack::builder(Mode::Processes)
        .env("DOPPLER__MAX_SUBSCRIPTIONS", PLACES)
        .start()
        .await?;
    let endpoints = stack.endpoints();

    let mut crowd = Vec::new();
    let refused = loop {
        match RlpConsumer::subscribe(endpoints, logs_of(["crowd"])).await {
            Ok(consumer) => crowd.push(consumer),
            Err(error) => break error,
        }
        ensure!(crowd.len() <= PLACES, "the limit is not kept");
    };
    let status = refused.downcast_ref::<tonic::Status>().context("a gRPC status")?;
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("60 live subscriptions"), "{status}");
    assert!(
        !status.message().contains("127.0.0.1"),
        "no address of the inside: {status}"
    );

    let firehose = Firehose::open(endpoints, "/firehose/late", &stack.token()?).await?;
    let close = firehose.ended().await?.context("a close frame")?;
    assert!(format!("{close:?}").contains("Again"), "{close:?} is not 1013");

    let https = Https::new(endpoints.trusting()?).with_token(&stack.token()?);
    let answer = https.get(&format!("{}/v2/read?log", endpoints.rlp_gateway)).await?;
    assert_eq!(answer.status.as_u16(), 503, "{}", answer.text());

    assert!((1..=2).contains(&count_log_lines(&stack, "doppler", "subscription refused")));
    let log_cache = stack.log_cache()?;
    eventually("the count of refusals", async || {
        let query = "select max(total) as n from counters where name = 'rejected_subscriptions'";
        let count = log_cache.number(query).await?;
        ensure!(count >= 3, "{count}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;

    let emitter = stack.emitter().await?;
    let mut series = series_of("kept", 1, Shape::LINE);
    let before = stack.ledgers()?;
    let old = stack.kill("log-cache")?;
    send_paced(&emitter, &mut series, &[3000], 3000).await?;
    stack.wait_for_restart("log-cache", old).await?;
    send_paced(&emitter, &mut series, &[500], 3000).await?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    eventually("every line stored or counted", async || {
        let stored = in_log_cache(&stack, &sent).await?.total();
        let counted = stack.ledgers()?.since(&before).dropped("doppler", "egress", "");
        ensure!(stored + counted >= 3500, "{stored} stored, {counted} counted");
        ensure!(
            stored > 2500,
            "{stored} stored: what came while it was away was not kept"
        );
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let doctor = stack.command()?.arg("doctor").output()?;
    let report = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.success(), "{report}");
    assert!(report.contains("log cache     took"), "{report}");
    assert!(
        crowd.iter().all(|consumer| !consumer.has_ended()),
        "the crowd was not disturbed"
    );
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the log cache is stopped while one source sends far more than its queue at the doppler holds, and is then
/// continued. Must hold: the table of drops has the same counts as the ledgers.
#[tokio::test(flavor = "multi_thread")]
async fn reports_of_losses_are_not_shed_with_what_was_lost() -> anyhow::Result<()> {
    let stack = Stack::builder(Mode::Processes)
        .env("DOPPLER__QUEUE__ENVELOPES", 1000)
        .start()
        .await?;
    let emitter = stack.emitter().await?;
    let mut series = series_of("flood", 1, Shape::payload(1000));
    stack.signal("log-cache", Signal::STOP)?;
    let sending = send_paced(&emitter, &mut series, &[30_000], 6000).await;
    stack.signal("log-cache", Signal::CONT)?;
    sending?;
    emitter.finish().await?;
    let log_cache = stack.log_cache()?;
    eventually("the table of drops has what the ledgers have", async || {
        let told = log_cache
            .number("select coalesce(sum(count), 0) as n from drops")
            .await?;
        let ledgers = stack.ledgers()?;
        let counted = ledgers.dropped("", "", "");
        ensure!(counted > 5000, "nothing was shed: {}", ledgers.summary());
        ensure!(told == counted, "{told} of {counted} are told: {}", ledgers.summary());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the directory of the ledgers is removed and comes back while lines are sent. Must hold: each component logs
/// the failure once, and later how often it failed. Lines pass, and the counts are on disk in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_written_is_logged_once() -> anyhow::Result<()> {
    const LOST: &str = "cannot write the ledger";
    let stack = Stack::start(Mode::Processes).await?;
    let (ledger, away) = (stack.state_dir().join("ledger"), stack.state_dir().join("away"));
    fs::rename(&ledger, &away)?;
    let components = ["doppler", "log-cache", "loggregator-agent"];
    for component in components {
        eventually("the failure is said", async || {
            ensure!(count_log_lines(&stack, component, LOST) > 0, "{component} says nothing");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    let emitter = stack.emitter().await?;
    let mut series = series_of("flow", 1, Shape::LINE);
    send_paced(&emitter, &mut series, &[6000], 2000).await?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    eventually("lines flow on", async || {
        let stored = in_log_cache(&stack, &sent).await?.total();
        ensure!(stored == 6000, "{stored}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    fs::rename(&away, &ledger)?;
    for component in components {
        eventually("the ledger is written again", async || {
            ensure!(
                count_log_lines(&stack, component, "ledger is written again") == 1,
                "{component} does not say so"
            );
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        assert_eq!(count_log_lines(&stack, component, LOST), 1, "{component}");
    }
    let ledgers = stack.ledgers_at_rest().await?;
    assert!(ledgers.of("log-cache").received >= 6000, "{}", ledgers.summary());
    assert_no_panics(&stack);
    Ok(())
}
