//! The agent is killed with SIGKILL while lines wait on its disk.

use anyhow::{Context as _, ensure};
use weir_testkit::drains::{Behaviour, DrainAgent, DrainItem, DrainReceiver};
use weir_testkit::{Series, Shape, eventually};

use super::drill::at_rest;

/// Lines that a producer may have on the way.
const WINDOW: u64 = 1000;

/// Setup: the drain is away, a producer sends on; the agent is killed twice meanwhile and started again. Must hold: every
/// line arrives in order, but for what the producer counts because the agent vanished with it (at most the window, each
/// time); the drain comes back to a backlog from before the kills.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_survives_a_kill() -> anyhow::Result<()> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let mut agent = DrainAgent::builder().key("spill.after", "\"100ms\"").start().await?;
    agent.bind([DrainItem::new("app", receiver.url())]).await?;
    receiver.stop().await;
    let mut producer = agent.producer(WINDOW)?;
    let mut series = Series::new("app", Shape::LINE);
    for _ in 0..2 {
        for _ in 0..50 {
            producer.send(series.batch(100)).await?;
        }
        agent.kill()?;
        agent.start_again().await?;
    }
    for _ in 0..20 {
        producer.send(series.batch(100)).await?;
    }
    let report = producer.flush().await?;
    let sent = series.made();
    ensure!(report.sent == sent, "{report:?}");
    ensure!(report.lost <= 2 * WINDOW, "{report:?}");
    agent
        .wait_for_status("app", |status| status.waiting_lines >= sent - report.lost)
        .await?;
    receiver.start().await?;
    let tally = eventually("the backlog at the drain", async || {
        let tally = receiver.lines().of("app");
        ensure!(tally.once + report.lost >= sent, "{report:?} {tally:?}");
        Ok::<_, anyhow::Error>(tally)
    })
    .await
    .with_context(|| agent.log())?;
    ensure!(tally.late == 0, "out of order: {tally:?}");
    // What arrived though it was counted was written down and not yet said so.
    ensure!(tally.missing(sent) <= report.lost, "{report:?} {tally:?}");
    ensure!(tally.twice * 100 <= sent, "{tally:?}");
    let ledgers = at_rest(&agent).await?;
    ensure!(ledgers.lost() == 0, "{}", ledgers.summary());
    Ok(())
}

/// Setup: the drain flows; the agent is killed in the midst and started again. Must hold: nothing is lost but what the
/// producer counts, and what comes twice is little.
#[tokio::test(flavor = "multi_thread")]
async fn a_flowing_agent_is_killed() -> anyhow::Result<()> {
    let receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let mut agent = DrainAgent::start().await?;
    agent.bind([DrainItem::new("app", receiver.url())]).await?;
    let mut producer = agent.producer(WINDOW)?;
    let mut series = Series::new("app", Shape::LINE);
    for round in 0..100 {
        producer.send(series.batch(100)).await?;
        if round == 50 {
            agent.kill()?;
            agent.start_again().await?;
        }
    }
    let report = producer.flush().await?;
    let sent = series.made();
    ensure!(report.sent == sent && report.lost <= WINDOW, "{report:?}");
    let tally = eventually("the lines at the drain", async || {
        let tally = receiver.lines().of("app");
        ensure!(tally.once + report.lost >= sent, "{report:?} {tally:?}");
        Ok::<_, anyhow::Error>(tally)
    })
    .await
    .with_context(|| agent.log())?;
    ensure!(tally.late == 0 && tally.twice * 100 <= sent, "{tally:?}");
    Ok(())
}

/// Setup: lines wait in memory and on disk; the agent is stopped in order and started again. Must hold: nothing at all is
/// lost, nothing comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_loses_nothing() -> anyhow::Result<()> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let mut agent = DrainAgent::builder().key("drain", "\"1s\"").start().await?;
    agent.bind([DrainItem::new("app", receiver.url())]).await?;
    receiver.stop().await;
    let mut series = Series::new("app", Shape::LINE);
    let emitter = agent.emitter()?;
    emitter.send_series(&mut series, 5000).await?;
    emitter.finish().await?;
    agent.stop().await?;
    receiver.start().await?;
    agent.start_again().await?;
    receiver.wait_for_lines(5000).await.with_context(|| agent.log())?;
    let tally = receiver.lines().of("app");
    assert_eq!((tally.once, tally.twice, tally.late), (5000, 0, 0));
    Ok(())
}
