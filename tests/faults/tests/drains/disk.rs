//! A backlog on disk that reaches its budget, and disks that are full.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use weir_faults::send_paced;
use weir_testkit::drains::{Behaviour, DrainAgent, DrainItem, DrainReceiver, Tally};
use weir_testkit::{Ledgers, Series, Shape, Skip, eventually};

use super::drill::{at_rest, conserved};

/// Lines of 4,000 bytes.
const BIG: Shape = Shape::payload(4000);
const MIB: usize = 1 << 20;

/// Sends more than the budget while the drain is away, starts the drain, and returns what arrived and the agent's
/// ledger. The lines are sent no faster than a disk can be written, as lines beyond that are lost for another reason.
async fn overflow(
    agent: &DrainAgent,
    receiver: &mut DrainReceiver,
    bytes: usize,
) -> anyhow::Result<(u64, Tally, Ledgers)> {
    agent.bind([DrainItem::new("app", receiver.url())]).await?;
    receiver.stop().await;
    let emitter = agent.emitter()?;
    let mut series = [Series::new("app", BIG)];
    send_paced(&emitter, &mut series, &[bytes / 4000], 4000).await?;
    emitter.finish().await?;
    let sent = series[0].made();
    let told = agent.wait_for_status("app", |status| status.lost > 0).await?;
    ensure!(told.state != "flowing", "{told:?}");
    receiver.start().await?;
    let tally = eventually("what was kept at the drain", async || {
        let (tally, ledgers) = (receiver.lines().of("app"), agent.ledgers()?);
        let dropped = ledgers.lost();
        ensure!(tally.once + dropped >= sent, "{dropped} counted, {tally:?}");
        Ok::<_, anyhow::Error>(tally)
    })
    .await
    .with_context(|| agent.log())?;
    Ok((sent, tally, at_rest(agent).await?))
}

/// Setup: the drain is away until its budget on disk is exceeded. Must hold: the oldest lines are dropped, counted
/// exactly, and reported. The newest arrive in order without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_lines_go_when_the_budget_is_reached() -> anyhow::Result<()> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder()
        .key("spill.bytes", "\"16MiB\"")
        .key("spill.after", "\"50ms\"")
        .start()
        .await?;
    let (sent, tally, ledgers) = overflow(&agent, &mut receiver, 40 * MIB).await?;
    conserved(&ledgers, sent, &tally)?;
    ensure!(tally.next == sent && tally.late == 0, "{tally:?}");
    // Lines that were in flight at the start may have arrived, and the oldest lines after them are missing. That is one
    // gap.
    ensure!(tally.gaps.len() == 1, "{:?}", tally.gaps);
    // Segments are dropped as a whole, so some of the budget is unused. At least three quarters must be used.
    ensure!(tally.once * 4000 > 12 << 20, "{} lines kept", tally.once);
    ensure!(
        ledgers.dropped("", "", "spill_full") == tally.missing(sent),
        "{}",
        ledgers.summary()
    );
    let flowing = agent.wait_for_status("app", |status| status.state == "flowing").await?;
    ensure!(flowing.lost == tally.missing(sent), "{flowing:?}");
    Ok(())
}

/// Setup: 20,000 lines wait on disk for a drain that is away. While the agent is stopped, a part of the backlog is
/// overwritten. Must hold: each line arrives in order, or is counted as `spill_failed`.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backlog_is_counted() -> anyhow::Result<()> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let mut agent = DrainAgent::builder().key("spill.after", "\"50ms\"").start().await?;
    agent.bind([DrainItem::new("app", receiver.url())]).await?;
    receiver.stop().await;
    let emitter = agent.emitter()?;
    let mut series = [Series::new("app", Shape::LINE)];
    send_paced(&emitter, &mut series, &[20_000], 10_000).await?;
    emitter.finish().await?;
    agent
        .wait_for_status("app", |status| status.waiting_lines == 20_000)
        .await?;
    agent.stop().await?;
    let segment = first_segment(&agent.state_dir().join("spill"))?;
    let mut bytes = std::fs::read(&segment)?;
    let half = bytes.len() / 2;
    bytes[1000..half].fill(0);
    std::fs::write(&segment, bytes)?;
    receiver.start().await?;
    agent.start_again().await?;
    let tally = eventually("what is left at the drain", async || {
        let (tally, ledgers) = (receiver.lines().of("app"), agent.ledgers()?);
        let dropped = ledgers.lost();
        ensure!(tally.once + dropped >= 20_000, "{dropped} counted, {tally:?}");
        Ok::<_, anyhow::Error>(tally)
    })
    .await
    .with_context(|| agent.log())?;
    let ledgers = at_rest(&agent).await?;
    conserved(&ledgers, 20_000, &tally)?;
    let failed = ledgers.dropped("", "", "spill_failed");
    ensure!(failed > 0 && failed == ledgers.lost(), "{}", ledgers.summary());
    ensure!(tally.next == 20_000 && tally.late == 0, "{tally:?}");
    Ok(())
}

fn first_segment(spill: &Path) -> anyhow::Result<PathBuf> {
    let folder = std::fs::read_dir(spill)?.next().context("a backlog")??.path();
    let mut segments: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|file| file.map(|file| file.path()))
        .collect::<Result<_, _>>()?;
    segments.retain(|file| file.extension().is_some_and(|kind| kind == "seg"));
    segments.sort();
    segments.into_iter().next().context("a segment")
}

/// A file system of a given size. Dropping this unmounts it.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: usize) -> anyhow::Result<Result<Self, Skip>> {
        let dir = tempfile::Builder::new().prefix("weir-disk-").tempdir()?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "weir-test"])
            .arg(dir.path())
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(Ok(Self(dir))),
            Ok(output) => Ok(Err(Skip(format!(
                "no small disk: mount: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )))),
            Err(error) => Ok(Err(Skip(format!("no small disk: mount: {error}")))),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The agent may still have open files, so the unmount is lazy.
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

/// Setup: the file system of the backlog is far smaller than its budget, and the drain is away. Must hold: the agent
/// runs on and serves another drain. What could not be written is counted and reported. What was written arrives in
/// order when the drain is back, and so does everything after that.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_full() -> anyhow::Result<()> {
    let disk = match SmallDisk::mount(8 * MIB)? {
        Ok(disk) => disk,
        Err(skip) => {
            skip.report();
            return Ok(());
        }
    };
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder()
        .key("spill.after", "\"50ms\"")
        .state_dir(disk.path().join("state"))
        .start()
        .await?;
    let (sent, tally, ledgers) = overflow(&agent, &mut receiver, 24 * MIB).await?;
    conserved(&ledgers, sent, &tally)?;
    ensure!(tally.late == 0 && tally.once > 200, "{tally:?}");
    serves(&agent, &receiver).await
}

/// Setup: the folder of the backlog cannot be created, because a file has its name. Must hold: the agent behaves as
/// with a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_cannot_be_written() -> anyhow::Result<()> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let agent = DrainAgent::builder()
        .key("memory.bytes", "\"1MiB\"")
        .key("spill.after", "\"50ms\"")
        .start()
        .await?;
    // A missing permission would not stop the superuser, who may run this test. A file in place of the folder does.
    let folder = agent.state_dir().join("spill");
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::write(&folder, "in the way")?;
    let (sent, tally, ledgers) = overflow(&agent, &mut receiver, 8 * MIB).await?;
    conserved(&ledgers, sent, &tally)?;
    ensure!(tally.late == 0 && tally.once > 0, "{tally:?}");
    serves(&agent, &receiver).await
}

/// Checks that new lines arrive.
async fn serves(agent: &DrainAgent, receiver: &DrainReceiver) -> anyhow::Result<()> {
    let items = ["app", "after"].map(|app| DrainItem::new(app, receiver.url()));
    agent.bind(items).await?;
    let mut series = Series::new("after", Shape::LINE);
    agent.emitter()?.send_series(&mut series, 1000).await?;
    eventually("lines afterwards", async || {
        let tally = receiver.lines().of("after");
        ensure!(tally.once == 1000 && tally.late == 0, "{tally:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
    .with_context(|| agent.log())
}
