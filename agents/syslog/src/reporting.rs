//! Reports the state of drains to developers, in the stream of their own app, and to the SQL view `drain_status`.
//!
//! One task looks at all drains, whenever the state of one has changed and at least every second. It remembers what it
//! last reported about each of them and reports what is new. Nothing is queued, so a report that is delayed or lost
//! never delays a drain.
//!
//! - **Lines** (source type `LGR`) go to the app whose drain it is: at once when the drain starts to fail or works
//!   again, then as reminders at growing intervals, and never more than a few in a row.
//! - **Reports** are gauges with the numbers as metrics and the texts as tags. They are sent at once when the state
//!   changes, but at most once a second; every 2 s while lines wait for a drain that fails or falls behind; and every
//!   15 s for a drain in use.

mod lines;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::time::timeout;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_net::Target;
use weir_rpc::producer::{Pace, Producer};
use weir_service::{Shutdown, Tasks};

use crate::drain::{Drain, Env};
use crate::registry::Registry;

use lines::Lines;
use report::Reports;
pub(crate) use report::is_report;

/// How often the drains are looked at while the state of none has changed.
const EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two looks at the drains.
const AT_MOST: Duration = Duration::from_millis(50);

/// The largest number of envelopes in one message.
const BATCH: usize = 500;

/// How long a report waits for an absent agent before it is discarded.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a stopping agent waits for its last reports to be sent.
const FINISH: Duration = Duration::from_millis(500);

/// The value of the tag `origin` in lines and reports.
pub(crate) const ORIGIN: &str = "loggregator.syslog_agent";

/// The last report about one drain.
#[derive(Debug)]
struct LastReported {
    lines: Lines,
    reports: Reports,
    /// The last round in which the drain existed.
    round: u64,
}

/// The task that reports.
pub(crate) struct Reporter {
    env: Arc<Env>,
    registry: Arc<Registry>,
    instance: String,
    producer: Producer,
    reported: AHashMap<u64, LastReported>,
    round: u64,
}

impl Reporter {
    /// Creates a reporter that sends through the agent at `target`.
    pub(crate) fn new(
        env: &Arc<Env>,
        registry: &Arc<Registry>,
        instance: String,
        target: &Target,
        tasks: &Tasks,
    ) -> Self {
        let pace = Pace {
            patience: PATIENCE,
            ..Pace::default()
        };
        Self {
            env: Arc::clone(env),
            registry: Arc::clone(registry),
            instance,
            producer: Producer::new(target, weir_flow::Ledger::in_memory("telling"), tasks, pace),
            reported: AHashMap::new(),
            round: 0,
        }
    }

    /// Reports until `stop`, and then once more.
    pub(crate) async fn run(mut self, stop: Shutdown) {
        let clock = self.env.clock.clone();
        let env = Arc::clone(&self.env);
        while !stop.is_requested() {
            let begun = clock.instant();
            // The reporter is stopped even if its agent does not accept what it sends.
            let batches = self.look(begun);
            let _stopped = stop.unless_requested(self.send(batches)).await;
            let due = (begun + EVERY).into();
            let wait = async {
                tokio::time::sleep_until((begun + AT_MOST).into()).await;
                tokio::select! {
                    () = env.status_changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            };
            stop.unless_requested(wait).await;
        }
        let batches = self.look(clock.instant());
        let last = async {
            self.send(batches).await;
            // The next run of the agent reports the state anew, so nothing is lost if this one is not accepted.
            drop(self.producer.flush().await);
        };
        drop(timeout(FINISH, last).await);
    }

    async fn send(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            let count = batch.len();
            if let Err(error) = self.producer.send(batch).await {
                weir_service::limited!(
                    warn,
                    Duration::from_secs(30),
                    count,
                    error = %error,
                    "developers cannot be told about their drains"
                );
            }
        }
    }

    /// Returns what is to be reported now.
    fn look(&mut self, now: Instant) -> Vec<Batch> {
        self.round += 1;
        let wall = self.env.clock.now_nanos();
        let mut batches = Batches::default();
        for notice in self.registry.take_notices() {
            batches.push(|out| line(out, wall, &notice.app, &notice.text));
        }
        for drain in self.registry.drains().iter() {
            self.look_at(drain, now, wall, &mut batches);
        }
        let round = self.round;
        self.reported.retain(|_, last| last.round == round);
        batches.finish()
    }

    fn look_at(&mut self, drain: &Drain, now: Instant, wall: i64, batches: &mut Batches) {
        let last = self.reported.entry(drain.serial).or_insert_with(|| LastReported {
            lines: Lines::new(now),
            reports: Reports::default(),
            round: 0,
        });
        last.round = self.round;
        let status = drain.status.snapshot();
        let binding = drain.binding();
        if let Some(app) = binding.source_id() {
            for text in last.lines.about(&binding, &status, &drain.account, now, wall) {
                batches.push(|out| line(out, wall, app, &text));
            }
        }
        if last.reports.is_due(&status, drain.account.routed() > 0, now) {
            let lost = drain.account.lost();
            batches.push(|out| report::write(out, &binding, &status, lost, &self.instance, wall));
        }
    }
}

/// Envelopes in messages of a suitable size.
#[derive(Default)]
struct Batches {
    builder: BatchBuilder,
    full: Vec<Batch>,
}

impl Batches {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.builder.push_with(write);
        if self.builder.len() >= BATCH {
            self.full.push(self.builder.finish());
        }
    }

    fn finish(mut self) -> Vec<Batch> {
        if !self.builder.is_empty() {
            self.full.push(self.builder.finish());
        }
        self.full
    }
}

/// Writes a line for an app's log. It may quote what a drain answered, and people read it on terminals, so control
/// characters are made visible.
fn line(out: &mut Vec<u8>, wall: i64, app: &str, text: &str) {
    Writer::new(out)
        .timestamp(wall)
        .source_id(app)
        .instance_id("0")
        .tag("source_type", "LGR")
        .tag("origin", ORIGIN)
        .log(weir_telemetry::neutral(text).as_bytes(), Stream::Err);
}
