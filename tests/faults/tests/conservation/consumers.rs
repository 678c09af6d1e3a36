//! Consumers that are slow or vanish.

use weir_faults::{assert_no_panics, in_log_cache, send_paced, series_of};
use weir_testkit::{
    Account, Firehose, Mode, RlpConsumer, Shape, Stack, Tolerance, conserved, eventually, logs_of, sent_of,
};

/// Lines of 1,000 bytes, so that all buffers between a stalled consumer and the doppler's queue are soon full.
const BIG: Shape = Shape::payload(1000);
const QUEUE: usize = 5000;
/// The source of the probes that check a subscription. No account counts them.
const PROBE: &str = "probe";

/// Setup: one consumer stops reading. Another one, a firehose and the log cache read on. More is sent than the queue of
/// the stalled consumer holds. Must hold: the others get everything. What the stalled one did not get is counted
/// exactly as `slow_consumer`, and the table of drops names the sources.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_loses_only_its_own() -> anyhow::Result<()> {
    let stack = Stack::builder(Mode::Embedded)
        .env("DOPPLER__QUEUE__ENVELOPES", QUEUE)
        .start()
        .await?;
    let emitter = stack.emitter().await?;
    let mut series = series_of("slow-app", 2, BIG);
    let names: Vec<String> = series.iter().map(|series| series.source_id().to_owned()).collect();
    let request = logs_of(names.iter().map(String::as_str).chain([PROBE]));
    let slow = RlpConsumer::subscribe(stack.endpoints(), request.clone()).await?;
    let live = RlpConsumer::subscribe(stack.endpoints(), request).await?;
    let firehose = Firehose::open(stack.endpoints(), "/firehose/live", &stack.token()?).await?;
    slow.wait_until_subscribed(&emitter, PROBE).await?;
    live.wait_until_subscribed(&emitter, PROBE).await?;
    firehose.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    slow.pause();
    send_paced(&emitter, &mut series, &[15_000, 15_000], 6000).await?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    let total: u64 = sent.values().sum();
    let received = |received: &weir_testkit::Received| names.iter().map(|name| received.of(name)).sum::<u64>();
    eventually("the live consumer has everything", async || {
        let got = received(&live.received);
        anyhow::ensure!(got >= total, "{got} of {total}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    slow.resume();
    let ledgers = stack.ledgers_at_rest().await?.since(&before);

    let stored = in_log_cache(&stack, &sent).await?;
    let reports = stored.reports();
    let accounts = [
        Account::new("slow consumer", &sent, &slow.received).with_reports(&reports),
        Account::new("live consumer", &sent, &live.received).with_reports(&reports),
        Account::new("firehose", &sent, &firehose.received).with_reports(&reports),
        Account::new("log cache", &sent, &stored).with_reports(&reports),
    ];
    let verdict = conserved(&accounts, &ledgers, Tolerance::Exact)?;
    println!("{verdict:?}\n{}", ledgers.summary());
    assert!(
        accounts[0].missing() > 1000,
        "the queue overflowed: {}",
        ledgers.summary()
    );
    for account in &accounts[1..] {
        assert_eq!(account.missing(), 0, "{account:?}");
    }

    // Reports of losses appear in the stream of the source as well.
    let log_cache = stack.log_cache()?;
    for name in &names {
        let query =
            format!("select sum(count) as n from drops where source_id = '{name}' and reason = 'slow_consumer'");
        let missing = accounts[0].missing_with_reports_of(name);
        eventually("the table of drops", async || {
            let told = log_cache.number(&query).await?;
            anyhow::ensure!(told == missing, "{told} of {missing}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a consumer stalls until its queue is full, and drops its connection. Another one reads on. Must hold: the
/// queue of the first is counted as `consumer_gone`, nothing remains in flight for it, and the other consumer and the
/// log cache lose nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_consumer_is_accounted_for() -> anyhow::Result<()> {
    /// What the client's buffers hold counts as sent: the server cannot know that it was not read.
    const IN_BUFFERS: u64 = 4000;
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    let mut series = series_of("vanish-app", 1, BIG);
    let name = series[0].source_id().to_owned();
    let request = logs_of([name.as_str(), PROBE]);
    let vanishing = RlpConsumer::subscribe(stack.endpoints(), request.clone()).await?;
    let live = RlpConsumer::subscribe(stack.endpoints(), request).await?;
    vanishing.wait_until_subscribed(&emitter, PROBE).await?;
    live.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;

    vanishing.pause();
    send_paced(&emitter, &mut series, &[20_000], 8000).await?;
    emitter.finish().await?;
    let sent = sent_of(&series);
    eventually("the live consumer has everything", async || {
        let got = live.received.of(&name);
        anyhow::ensure!(got >= 20_000, "{got}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let delivered = vanishing.received.of(&name);
    vanishing.vanish();
    let counted = eventually("the vanished consumer is counted", async || {
        let ledgers = stack.ledgers()?.since(&before);
        let counted = ledgers.dropped("", "egress", "consumer_gone") + ledgers.dropped("", "egress", "slow_consumer");
        anyhow::ensure!(counted > 0, "{}", ledgers.summary());
        Ok::<_, anyhow::Error>(counted)
    })
    .await?;
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let counted = counted.max(ledgers.dropped("", "egress", ""));
    let unaccounted = (20_000 - delivered).saturating_sub(counted);
    assert!(
        unaccounted <= IN_BUFFERS,
        "{unaccounted} unaccounted for: {}",
        ledgers.summary()
    );
    assert!(
        counted <= 20_000 - delivered,
        "{counted} counted, {delivered} delivered"
    );

    let live = Account::new("live consumer", &sent, &live.received);
    let log_cache = Account::new("log cache", &sent, &in_log_cache(&stack, &sent).await?);
    assert_eq!((live.missing(), log_cache.missing()), (0, 0));
    for component in ["rlp", "doppler", "loggregator-agent", "forwarder-agent"] {
        let in_flight = ledgers.of(component).in_flight;
        assert!(in_flight < 500, "{component}: {in_flight} in flight for nobody");
    }
    assert_no_panics(&stack);
    Ok(())
}

/// Setup: a firehose client stops reading. Must hold: the traffic controller closes the stream after a few seconds, and
/// counts what the client did not get. A firehose of another subscription gets everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_firehose_is_closed() -> anyhow::Result<()> {
    let stack = Stack::start(Mode::Embedded).await?;
    let emitter = stack.emitter().await?;
    let mut series = series_of("hose-app", 1, BIG);
    let name = series[0].source_id().to_owned();
    let token = stack.token()?;
    let slow = Firehose::open(stack.endpoints(), "/firehose/slow", &token).await?;
    let live = Firehose::open(stack.endpoints(), "/firehose/live", &token).await?;
    slow.wait_until_subscribed(&emitter, PROBE).await?;
    live.wait_until_subscribed(&emitter, PROBE).await?;
    let before = stack.ledgers_at_rest().await?;
    slow.pause();
    send_paced(&emitter, &mut series, &[40_000], 5000).await?;
    emitter.finish().await?;
    eventually("the live firehose has everything", async || {
        let got = live.received.of(&name);
        anyhow::ensure!(got >= 40_000, "{got}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    eventually("the traffic controller gives the slow one up", async || {
        let ledgers = stack.ledgers()?.since(&before);
        let counted = ledgers.dropped("traffic-controller", "egress", "slow_consumer");
        anyhow::ensure!(counted > 0, "{}", ledgers.summary());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    slow.resume();
    eventually("the slow firehose is closed", async || {
        anyhow::ensure!(slow.has_ended(), "{} lines so far", slow.received.of(&name));
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let delivered = slow.received.of(&name);
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    let counted = ledgers.lost();
    assert!(
        delivered < 40_000 && counted > 0,
        "{delivered} delivered: {}",
        ledgers.summary()
    );
    assert!(
        delivered + counted <= 40_000,
        "{delivered} delivered, {counted} counted"
    );
    let sent = sent_of(&series);
    assert_eq!(Account::new("live", &sent, &live.received).missing(), 0);
    conserved(
        &[Account::new("live", &sent, &live.received)],
        &ledgers,
        Tolerance::Overcount(40_000),
    )?;
    assert_no_panics(&stack);
    Ok(())
}
