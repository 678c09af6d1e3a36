//! Components that are killed with SIGKILL under load, and started again by their supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_faults::{assert_no_panics, assert_serves, in_log_cache, send_paced, series_of};
use weir_testkit::{
    Account, Emitter, Firehose, Mode, Received, RlpConsumer, Series, Shape, Stack, Tolerance, conserved, eventually,
    logs_of, sent_of,
};

const PROBE: &str = "probe";
const RATE: usize = 2000;
/// An upper bound of the envelopes in flight on a link when one of its ends is killed: one second of the load.
const WINDOW: u64 = 2000;

/// Sends at a steady rate until it is stopped, and returns what it sent.
fn load(
    emitter: Emitter,
    mut series: Vec<Series>,
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<anyhow::Result<Vec<Series>>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        let share = vec![RATE / 10 / series.len(); series.len()];
        while !stopped.load(Ordering::Relaxed) {
            send_paced(&emitter, &mut series, &share, RATE).await?;
        }
        emitter.finish().await?;
        Ok(series)
    });
    (stop, task)
}

/// Waits until a consumer has got two seconds of the load from now on.
async fn load_passes(received: &Received) -> anyhow::Result<()> {
    let wanted = received.total() + 2 * RATE as u64;
    eventually("the load passes", async || {
        let got = received.total();
        anyhow::ensure!(got >= wanted, "{got} of {wanted} lines");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Setup: the doppler is killed twice under load. Consumers of the RLP, a firehose and the log cache reconnect. Must
/// hold: every loss is counted by the doppler's neighbours. At most the envelopes in flight are counted although they
/// arrived. No line arrives twice or out of order.
#[tokio::test(flavor = "multi_thread")]
async fn doppler_killed_under_load() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let emitter = stack.emitter().await?;
    let series = series_of("doppler-kill", 4, Shape::LINE);
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let request = logs_of(names.iter().map(String::as_str).chain([PROBE]));
    let consumer = RlpConsumer::subscribe(stack.endpoints(), request).await?;
    let firehose = Firehose::open(stack.endpoints(), "/firehose/drill", &stack.token()?).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    firehose.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    let (stop, sending) = load(emitter, series);
    for _ in 0..2 {
        load_passes(&consumer.received).await?;
        let old = stack.kill("doppler")?;
        stack.wait_for_restart("doppler", old).await?;
    }
    load_passes(&consumer.received).await?;
    stop.store(true, Ordering::Relaxed);
    let sent = sent_of(&sending.await??);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);

    assert!(
        !consumer.has_ended() && !firehose.has_ended(),
        "consumers outlive a doppler"
    );
    let accounts = [
        Account::new("RLP consumer", &sent, &consumer.received),
        Account::new("firehose", &sent, &firehose.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    let verdict = conserved(&accounts, &ledgers, Tolerance::Overcount(2 * 3 * WINDOW))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the RLP is killed under load, and its consumer subscribes again. Must hold: neither stream of the consumer
/// has gaps. A firehose and the log cache lose nothing. What was on its way to the RLP is counted by the doppler.
#[tokio::test(flavor = "multi_thread")]
async fn rlp_killed_under_load() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let emitter = stack.emitter().await?;
    let series = series_of("rlp-kill", 4, Shape::LINE);
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let request = logs_of(names.iter().map(String::as_str).chain([PROBE]));
    let first = RlpConsumer::subscribe(stack.endpoints(), request.clone()).await?;
    let firehose = Firehose::open(stack.endpoints(), "/firehose/drill", &stack.token()?).await?;
    first.wait_until_subscribed(&emitter, PROBE).await?;
    firehose.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    let (stop, sending) = load(emitter, series);
    load_passes(&first.received).await?;
    let old = stack.kill("rlp")?;
    let early = first.received.clone();
    let status = first.ended().await?;
    assert!(status.is_err(), "a killed server says no good-bye");
    stack.wait_for_restart("rlp", old).await?;
    let second = eventually("the RLP takes a subscription", async || {
        RlpConsumer::subscribe(stack.endpoints(), request.clone()).await
    })
    .await?;
    load_passes(&second.received).await?;
    stop.store(true, Ordering::Relaxed);
    let sent = sent_of(&sending.await??);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);

    for name in &names {
        let (early, late) = (
            early.numbers().remove(name).unwrap_or_default(),
            second.received.numbers().remove(name).unwrap_or_default(),
        );
        let whole = |numbers: &[u64]| numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(
            !early.is_empty() && early[0] == 0 && whole(&early),
            "holes before the cut: {early:?}"
        );
        assert!(!late.is_empty() && whole(&late), "holes after the cut: {late:?}");
        assert_eq!(
            late.last().copied(),
            sent.get(name).map(|sent| sent - 1),
            "it goes on to the end"
        );
        assert!(early.last() < late.first(), "nothing comes twice");
    }
    let others = [
        Account::new("firehose", &sent, &firehose.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    assert_eq!(
        (others[0].missing(), others[1].missing()),
        (0, 0),
        "{}",
        ledgers.summary()
    );
    // Only losses of the subscription that ended may be counted.
    let verdict = conserved(&others, &ledgers, Tolerance::Overcount(WINDOW))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    assert_eq!(
        ledgers.lost(),
        ledgers.dropped("doppler", "egress", ""),
        "{}",
        ledgers.summary()
    );
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the traffic controller is killed under load. Must hold: consumers of the RLP and the log cache lose nothing.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_controller_killed_under_load() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let emitter = stack.emitter().await?;
    let series = series_of("tc-kill", 2, Shape::LINE);
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let consumer = RlpConsumer::subscribe(
        stack.endpoints(),
        logs_of(names.iter().map(String::as_str).chain([PROBE])),
    )
    .await?;
    let firehose = Firehose::open(stack.endpoints(), "/firehose/drill", &stack.token()?).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    firehose.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;
    let (stop, sending) = load(emitter, series);
    load_passes(&consumer.received).await?;
    let old = stack.kill("traffic-controller")?;
    firehose.ended().await?;
    stack.wait_for_restart("traffic-controller", old).await?;
    let again = Firehose::open(stack.endpoints(), "/firehose/drill", &stack.token()?).await?;
    load_passes(&again.received).await?;
    stop.store(true, Ordering::Relaxed);
    let sent = sent_of(&sending.await??);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    assert!(
        again.received.total() > 0,
        "a new firehose gets what is sent from now on"
    );
    let others = [
        Account::new("RLP consumer", &sent, &consumer.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    assert_eq!(
        (others[0].missing(), others[1].missing()),
        (0, 0),
        "{}",
        ledgers.summary()
    );
    let verdict = conserved(&others, &ledgers, Tolerance::Overcount(WINDOW))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the loggregator agent, behind the forwarder agent, is killed under load. Must hold: every loss is counted by
/// the forwarder agent, which buffers meanwhile. No line arrives twice or out of order.
#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_under_load() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let emitter = stack.emitter().await?;
    let series = series_of("agent-kill", 4, Shape::LINE);
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let request = logs_of(names.iter().map(String::as_str).chain([PROBE]));
    let consumer = RlpConsumer::subscribe(stack.endpoints(), request).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;
    let (stop, sending) = load(emitter, series);
    for _ in 0..2 {
        load_passes(&consumer.received).await?;
        let old = stack.kill("loggregator-agent")?;
        stack.wait_for_restart("loggregator-agent", old).await?;
    }
    load_passes(&consumer.received).await?;
    stop.store(true, Ordering::Relaxed);
    let sent = sent_of(&sending.await??);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let accounts = [
        Account::new("RLP consumer", &sent, &consumer.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    let verdict = conserved(&accounts, &ledgers, Tolerance::Overcount(2 * 2 * WINDOW))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the syslog agent is killed under load, without any drain. Must hold: consumers lose nothing, and nothing is
/// delayed.
#[tokio::test(flavor = "multi_thread")]
async fn syslog_agent_killed_under_load() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let emitter = stack.emitter().await?;
    let series = series_of("syslog-agent-kill", 2, Shape::LINE);
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let request = logs_of(names.iter().map(String::as_str).chain([PROBE]));
    let consumer = RlpConsumer::subscribe(stack.endpoints(), request).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;
    let (stop, sending) = load(emitter, series);
    load_passes(&consumer.received).await?;
    let old = stack.kill("syslog-agent")?;
    load_passes(&consumer.received).await?;
    stack.wait_for_restart("syslog-agent", old).await?;
    stop.store(true, Ordering::Relaxed);
    let sent = sent_of(&sending.await??);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let accounts = [
        Account::new("RLP consumer", &sent, &consumer.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    assert_eq!(
        (accounts[0].missing(), accounts[1].missing()),
        (0, 0),
        "{}",
        ledgers.summary()
    );
    let verdict = conserved(&accounts, &ledgers, Tolerance::Overcount(0))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: the forwarder agent is killed under load. Its producer behaves like the original's clients and uses no
/// acknowledgements, so what it had written is lost. Must hold: what the agent had passed on arrives once and in order
/// everywhere, and the stack serves again.
#[tokio::test(flavor = "multi_thread")]
async fn forwarder_agent_killed_under_load() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Processes).await?;
    let emitter = stack.emitter().await?;
    let mut series = series_of("forwarder-kill", 1, Shape::LINE);
    let name = series[0].source_id().to_owned();
    let consumer = RlpConsumer::subscribe(stack.endpoints(), logs_of([name.as_str(), PROBE])).await?;
    consumer.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;
    send_paced(&emitter, &mut series, &[4000], RATE).await?;
    let old = stack.kill("forwarder-agent")?;
    stack.wait_for_restart("forwarder-agent", old).await?;
    let emitter = stack.emitter().await?;
    send_paced(&emitter, &mut series, &[4000], RATE).await?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let accounts = [
        Account::new("RLP consumer", &sent, &consumer.received),
        Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?),
    ];
    // Only what the agent had read from its producer and not yet passed on may be missing.
    for account in &accounts {
        account.check_numbers()?;
        assert!(account.missing() <= 1000, "{account:?}");
    }
    assert_eq!(
        accounts[0].missing(),
        accounts[1].missing(),
        "all consumers miss the same: {}",
        ledgers.summary()
    );
    assert_serves(&stack).await?;
    assert_no_panics(&stack);
    Ok(())
}
