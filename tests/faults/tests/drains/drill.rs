//! Shared parts of the drain tests.

use std::time::Duration;

use anyhow::ensure;
use weir_testkit::drains::{DrainAgent, Tally};
use weir_testkit::{Ledgers, eventually};

/// The load in lines per second.
pub(super) const RATE: usize = 2000;

/// How long a drain is away: `WEIR_DRILL_SECONDS`, or else `otherwise`, in seconds.
pub(super) fn away(otherwise: u64) -> Duration {
    let text = std::env::var("WEIR_DRILL_SECONDS").unwrap_or_default();
    Duration::from_secs(text.parse().unwrap_or(otherwise))
}

/// Returns how many lines are sent in `time` at [`RATE`].
pub(super) fn lines_in(time: Duration) -> usize {
    usize::try_from(time.as_millis()).unwrap_or_default() * RATE / 1000
}

/// The number of lines that may arrive twice after a connection broke: one in a hundred of the 80,000 lines of the
/// acceptance test. These are the lines sent just before the end, however long the outage is.
pub(super) const WINDOW: u64 = 800;

/// Checks that every sent line arrived in order, and at most `twice` of them twice.
pub(super) fn check_complete(tally: &Tally, sent: u64, twice: u64) -> anyhow::Result<()> {
    ensure!(
        tally.missing(sent) == 0 && tally.late == 0 && tally.next == sent,
        "of {sent} lines {} are missing and {} out of order: {tally:?}",
        tally.missing(sent),
        tally.late
    );
    ensure!(tally.twice <= twice, "{} of {sent} lines arrived twice", tally.twice);
    Ok(())
}

/// Waits until nothing is in flight in the agent and its counts do not change, and returns its ledger.
pub(super) async fn at_rest(agent: &DrainAgent) -> anyhow::Result<Ledgers> {
    eventually("the agent at rest", async || {
        let before = agent.ledgers()?.of("syslog-agent");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let ledgers = agent.ledgers()?;
        let after = ledgers.of("syslog-agent");
        ensure!(before == after && after.in_flight == 0, "{}", ledgers.summary());
        Ok::<_, anyhow::Error>(ledgers)
    })
    .await
}

/// Checks that the agent sent or counted what it received, and that what did not arrive was counted. With several
/// bindings, an envelope counts once for each.
pub(super) fn conserved(ledgers: &Ledgers, sent: u64, tally: &Tally) -> anyhow::Result<()> {
    let dropped = ledgers.lost();
    let missing = tally.missing(sent);
    ensure!(
        missing == dropped,
        "{missing} of {sent} lines did not arrive, {dropped} are counted: {}{tally:?}",
        ledgers.summary()
    );
    Ok(())
}
