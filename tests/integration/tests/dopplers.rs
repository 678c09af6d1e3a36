//! Two dopplers: the agent uses both, consumers merge both, and one of them can fail.

use weir_faults::{send_paced, series_of};
use weir_testkit::{
    Account, Firehose, Parts, Received, RlpConsumer, Series, Shape, Tolerance, conserved, eventually, logs_of, sent_of,
};

const PROBE: &str = "probe";
const RATE: usize = 2000;

/// Consumers of all sources of `series`, subscribed at both dopplers.
struct Consumers {
    rlp: RlpConsumer,
    firehose: Firehose,
}

impl Consumers {
    async fn of(parts: &Parts, series: &[Series]) -> anyhow::Result<Self> {
        let names = series.iter().map(Series::source_id);
        let rlp = RlpConsumer::subscribe(parts.endpoints(), logs_of(names.chain([PROBE]))).await?;
        let firehose = Firehose::open(parts.endpoints(), "/firehose/two", &parts.token()).await?;
        let emitter = parts.emitter().await?;
        // A probe passes one of the dopplers. Only a number of them reach both.
        for consumer in [&rlp.received, &firehose.received] {
            let mut probes = Series::new(PROBE, Shape::payload(0));
            eventually("a run of probes", async || {
                let before = consumer.of(PROBE);
                for _ in 0..20 {
                    emitter.send(&probes.batch(1)).await?;
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                let got = consumer.of(PROBE) - before;
                anyhow::ensure!(got == 20, "{got} of 20");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
        }
        Ok(Self { rlp, firehose })
    }

    async fn accounts(&self, parts: &Parts, series: &[Series]) -> anyhow::Result<[Account; 3]> {
        let sent = sent_of(series);
        let stored: Received = parts.log_cache()?.lines_of(&sent).await?;
        Ok([
            Account::new("RLP", &sent, &self.rlp.received).in_any_order(),
            Account::new("firehose", &sent, &self.firehose.received).in_any_order(),
            Account::new("log cache", &sent, &stored).in_any_order(),
        ])
    }
}

/// Setup: an agent with two dopplers, and consumers of both. Must hold: both dopplers receive a part of the load, and
/// every consumer gets everything exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn two_dopplers_share_the_load() -> anyhow::Result<()> {
    let parts = Parts::start(2).await?;
    let mut series = series_of("two", 4, Shape::LINE);
    let consumers = Consumers::of(&parts, &series).await?;
    let before = parts.ledgers_at_rest().await?;
    let emitter = parts.emitter().await?;
    send_paced(&emitter, &mut series, &[2000; 4], RATE).await?;
    emitter.finish().await?;
    let ledgers = parts.ledgers_at_rest().await?.since(&before);
    conserved(&consumers.accounts(&parts, &series).await?, &ledgers, Tolerance::Exact)?;
    assert_eq!(ledgers.lost(), 0, "{}", ledgers.summary());
    for doppler in ["doppler-0", "doppler-1"] {
        assert!(
            ledgers.of(doppler).received > 1000,
            "{doppler} has its share: {}",
            ledgers.summary()
        );
    }
    Ok(())
}

/// Setup: one of two dopplers is killed under load, and later started again. Must hold: every loss is counted, and at
/// most one second of the load is counted although it arrived. The other doppler continues, and the restarted one
/// receives a part of the load again.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_dopplers_can_fail() -> anyhow::Result<()> {
    let mut parts = Parts::start(2).await?;
    let mut series = series_of("one-of-two", 4, Shape::LINE);
    let consumers = Consumers::of(&parts, &series).await?;
    let before = parts.ledgers_at_rest().await?;
    let emitter = parts.emitter().await?;
    send_paced(&emitter, &mut series, &[500; 4], RATE).await?;
    parts.kill("doppler-0")?;
    send_paced(&emitter, &mut series, &[1000; 4], RATE).await?;
    parts.start_again("doppler-0").await?;
    let restarted = parts.ledgers()?.of("doppler-0").received;
    let mut shared = false;
    for _ in 0..30 {
        send_paced(&emitter, &mut series, &[250; 4], RATE).await?;
        if parts.ledgers()?.of("doppler-0").received > restarted + 500 {
            shared = true;
            break;
        }
    }
    assert!(shared, "the doppler that came back gets no load");
    emitter.finish().await?;
    let ledgers = parts.ledgers_at_rest().await?.since(&before);
    assert!(!consumers.rlp.has_ended() && !consumers.firehose.has_ended());
    let accounts = consumers.accounts(&parts, &series).await?;
    let verdict = conserved(&accounts, &ledgers, Tolerance::Overcount(3 * RATE as u64))?;
    println!("{verdict:?}\n{}", ledgers.summary());
    Ok(())
}
