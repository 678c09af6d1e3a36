//! One source that is a hundred times louder than others.

use weir_faults::{assert_no_panics, in_log_cache, send_paced, series_of};
use weir_testkit::{
    Account, Mode, RlpConsumer, Series, Shape, Signal, Stack, Tolerance, conserved, eventually, logs_of, sent_of,
};

const PROBE: &str = "probe";
const QUIET: usize = 10;
const QUIET_LINES: usize = 250;
/// The lines of the noisy source: a hundred times as many as those of each quiet source.
const NOISY_LINES: usize = QUIET_LINES * 100;

/// Returns ten quiet sources, followed by the noisy one.
fn neighbours(name: &str, shape: Shape) -> Vec<Series> {
    let mut series = series_of(&format!("{name}-quiet"), QUIET, shape);
    series.push(Series::new(format!("{name}-noisy"), shape));
    series
}

fn counts() -> Vec<usize> {
    let mut counts = vec![QUIET_LINES; QUIET];
    counts.push(NOISY_LINES);
    counts
}

/// Setup: the queue of a stalled consumer overflows because of one source. Must hold: the quiet sources lose nothing,
/// and the losses of the noisy one are counted exactly.
#[tokio::test(flavor = "multi_thread")]
async fn the_noisy_source_loses_when_a_queue_is_full() -> anyhow::Result<()> {
    let stack = Stack::builder(Mode::Embedded)
        .env("DOPPLER__QUEUE__ENVELOPES", 6000)
        .start()
        .await?;
    let emitter = stack.emitter().await?;
    let mut series = neighbours("queue", Shape::payload(1000));
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let consumer = RlpConsumer::subscribe(
        stack.endpoints(),
        logs_of(names.iter().map(String::as_str).chain([PROBE])),
    )
    .await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    consumer.pause();
    send_paced(&emitter, &mut series, &counts(), 7000).await?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    eventually("the log cache has everything", async || {
        let missing = Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?).missing();
        anyhow::ensure!(missing == 0, "{missing} missing");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    consumer.resume();
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let stored = in_log_cache(&stack, &sent).await?;
    let reports = stored.reports();
    let accounts = [
        Account::new("stalled consumer", &sent, &consumer.received).with_reports(&reports),
        Account::new("log cache", &sent, &stored).with_reports(&reports),
    ];
    let verdict = conserved(&accounts, &ledgers, Tolerance::Exact)?;
    println!("{verdict:?}\n{}", ledgers.summary());
    let (noisy, quiet) = names.split_last().expect("the noisy one");
    assert!(
        accounts[0].missing_of(noisy) > 1000,
        "the queue overflowed: {}",
        ledgers.summary()
    );
    for name in quiet {
        assert_eq!(
            accounts[0].missing_of(name),
            0,
            "{name} is quiet: {}",
            ledgers.summary()
        );
    }
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the doppler is stopped (SIGSTOP) while producers send, until the agent's buffer overflows, and is then
/// continued. Must hold: the quiet sources lose nothing, the agent counts what the noisy one lost, and producers were
/// not blocked.
#[tokio::test(flavor = "multi_thread")]
async fn the_noisy_source_loses_when_a_doppler_stops() -> anyhow::Result<()> {
    let stack = Stack::builder(Mode::Processes)
        .env("LOGGREGATOR_AGENT__BUFFER__ENVELOPES", 4000)
        .env("LOGGREGATOR_AGENT__IN_FLIGHT__ENVELOPES", 4000)
        .start()
        .await?;
    let emitter = stack.emitter().await?;
    let mut series = neighbours("agent", Shape::payload(1000));
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let consumer = RlpConsumer::subscribe(
        stack.endpoints(),
        logs_of(names.iter().map(String::as_str).chain([PROBE])),
    )
    .await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    stack.signal("doppler", Signal::STOP)?;
    let sending = send_paced(&emitter, &mut series, &counts(), 7000).await;
    stack.signal("doppler", Signal::CONT)?;
    sending?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let accounts = [
        Account::new("RLP consumer", &sent, &consumer.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    let verdict = conserved(&accounts, &ledgers, Tolerance::Overcount(20_000))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    let (noisy, quiet) = names.split_last().expect("the noisy one");
    assert!(
        accounts[0].missing_of(noisy) > 1000,
        "the buffer overflowed: {}",
        ledgers.summary()
    );
    for name in quiet {
        assert_eq!(
            accounts[0].missing_of(name),
            0,
            "{name} is quiet: {}",
            ledgers.summary()
        );
    }
    assert_no_panics(&stack);
    Ok(())
}
