//! Agents that are killed with SIGKILL, or stopped, while lines wait.

use anyhow::{Context as _, ensure};
use weir_testkit::drains::{Behaviour, DrainAgent, DrainItem, DrainReceiver};
use weir_testkit::{Series, Shape, eventually};

use super::drill::at_rest;

/// The largest number of lines that a producer may have in flight.
const WINDOW: u64 = 1000;

/// Setup: the drain is away and a producer sends. Meanwhile, the agent is killed and started again twice. Must hold:
/// every line arrives in order, except those that the producer counts as lost with the agent, which are at most the
/// lines in flight at each kill. The backlog contains lines from before the kills.
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
    // Some lines arrived although the producer counts them: the agent had written them to disk, and was killed before
    // it acknowledged them.
    ensure!(tally.missing(sent) <= report.lost, "{report:?} {tally:?}");
    ensure!(tally.twice * 100 <= sent, "{tally:?}");
    let ledgers = at_rest(&agent).await?;
    ensure!(ledgers.lost() == 0, "{}", ledgers.summary());
    Ok(())
}

/// Setup: the drain is connected. The agent is killed and started again. Must hold: only lines that the producer counts
/// are lost, and few lines arrive twice.
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

/// Setup: lines wait in memory and on disk. The agent is stopped with SIGTERM and started again. Must hold: nothing is
/// lost, and nothing arrives twice.
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
