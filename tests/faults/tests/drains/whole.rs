//! The acceptance test, as a user would run it: `weir up`, `weir drain add`, and lines while the receiver is away.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_faults::assert_no_panics;
use weir_testkit::drains::{Behaviour, DrainReceiver, Tally};
use weir_testkit::{Mode, Stack, eventually};

use super::drill::{RATE, WINDOW, away, check_complete, lines_in};

const APP: &str = "outage";

/// A running `weir tail`, and the stack's own lines in its output.
struct Tail {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tail {
    fn of(stack: &Stack, app: &str) -> anyhow::Result<Self> {
        let mut child = stack.command()?.args(["tail", app]).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Numbered lines are checked elsewhere, and metrics are not lines.
                if line.contains("[LGR/0]") {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the row of `drain_status` of the drain.
async fn status(stack: &Stack, url: &str) -> anyhow::Result<Value> {
    let rows = stack
        .log_cache()?
        .rows(&format!(
            "select * from drain_status where app = '{APP}' and url = '{url}'"
        ))
        .await?;
    ensure!(rows.len() == 1, "{rows:?}");
    rows.into_iter().next().context("a row")
}

/// Setup: a stack, a drain added by hand, and numbered lines from `weir emit` at 2,000 per second. The receiver is
/// stopped and started again meanwhile (`WEIR_DRILL_SECONDS=20`: 80,000 lines, 20 s). Must hold: every line arrives in
/// order, at most 800 of them twice. `weir tail` shows the outage and its end, `drain_status` shows it while it lasts,
/// and the ledgers of the whole stack count no loss.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_as_a_user_sees_it() -> anyhow::Result<()> {
    for mode in [Mode::Embedded, Mode::Processes] {
        let tally = outage(mode).await.with_context(|| format!("{mode:?}"))?;
        println!("{mode:?}: {} lines, {} of them twice", tally.once, tally.twice);
    }
    Ok(())
}

async fn outage(mode: Mode) -> anyhow::Result<Tally> {
    let mut receiver = DrainReceiver::tcp(Behaviour::Read).await?;
    let url = receiver.url();
    let stack = Stack::start(mode).await?;
    let added = stack
        .command()?
        .args(["drain", "add", "--source-id", APP, &url])
        .output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&added.stdout),
        String::from_utf8_lossy(&added.stderr)
    );
    ensure!(added.status.success(), "weir drain add: {}: {said}", added.status);
    let listed = stack.command()?.args(["drain", "list"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(
        listed.contains(&url) && listed.contains(APP),
        "weir drain list: {listed}"
    );
    let before = stack.ledgers_at_rest().await?;
    let tail = Tail::of(&stack, APP)?;

    let away = away(4);
    let count = 2 * lines_in(away);
    let mut file = tempfile::NamedTempFile::new()?;
    for number in 0..count {
        writeln!(file, "weir#{number:012} @{:020} a line of the drill", 0)?;
    }
    file.flush()?;
    let log = tempfile::NamedTempFile::new()?;
    let mut emit = stack.command()?;
    emit.args(["emit", "--source-id", APP, "--rate", &RATE.to_string()])
        .arg(file.path())
        .stdout(log.reopen()?)
        .stderr(log.reopen()?);
    let mut emitting = emit.spawn()?;
    let quarter = (count / 4) as u64;
    receiver.wait_for_lines(quarter).await?;
    receiver.stop().await;
    let stopped = tokio::time::Instant::now();
    let troubled = eventually("drain_status tells it", async || {
        let row = status(&stack, &url).await?;
        let state = row["state"].as_str().unwrap_or_default();
        ensure!(state == "retrying" || state == "spilling", "{row}");
        ensure!(
            row["waiting_lines"].as_u64() > Some(0) && row["last_error"].is_string(),
            "{row}"
        );
        Ok::<_, anyhow::Error>(row)
    })
    .await?;
    ensure!(troubled["lost"].as_u64() == Some(0), "{troubled}");
    let address = receiver.address().to_string();
    eventually("`weir tail` shows the trouble", async || {
        let lines = tail.lines();
        let shown = lines.iter().any(|line| line.contains(&address));
        ensure!(shown, "{lines:#?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    tokio::time::sleep_until(stopped + away).await;
    let troubles = tail.lines().len();
    receiver.start().await?;
    let status_of_emit = tokio::task::spawn_blocking(move || emitting.wait()).await??;
    let said = std::fs::read_to_string(log.path())?;
    ensure!(status_of_emit.success(), "weir emit: {status_of_emit}: {said}");

    receiver
        .wait_for_lines(count as u64)
        .await
        .with_context(|| stack.log())?;
    let tally = receiver.lines().of(APP);
    check_complete(&tally, count as u64, WINDOW)?;
    eventually("`weir tail` shows the recovery", async || {
        let lines = tail.lines();
        let more = lines.get(troubles..).unwrap_or_default();
        ensure!(!more.is_empty(), "{lines:#?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    eventually("drain_status tells the recovery", async || {
        let row = status(&stack, &url).await?;
        let healthy = row["state"].as_str() == Some("flowing") && row["waiting_lines"].as_u64() == Some(0);
        ensure!(healthy && row["lost"].as_u64() == Some(0), "{row}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    // The number of messages to a developer is limited: one for the change, one every thirty seconds, and one for the
    // recovery.
    let most = 4 + usize::try_from(away.as_secs())? / 15;
    let lines = tail.lines();
    ensure!(lines.len() <= most, "{} lines: {lines:#?}", lines.len());
    let ledgers = stack.ledgers_at_rest().await?.since(&before);
    ensure!(ledgers.lost() == 0, "{}", ledgers.summary());

    let removed = stack
        .command()?
        .args(["drain", "remove", "--source-id", APP, &url])
        .output()?;
    ensure!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    eventually("the removal", async || {
        let row = status(&stack, &url).await?;
        ensure!(row["state"].as_str() == Some("removed"), "{row}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    assert_no_panics(&stack);
    Ok(tally)
}
