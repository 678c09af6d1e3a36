//! What developers are told about their drains, in their own app's stream, and the reports behind `drain_status`.
//!
//! One task looks at the drains: whenever one of them has news, and every second. It keeps what it told last, and tells what
//! is new; nothing is queued, so a telling that is held up or lost never holds up a drain.
//!
//! - **Lines** (source type `LGR`) go to the app whose drain it is: at once when it starts to fail or works again, then as
//!   reminders that become rarer, and never more than a few in a row.
//! - **Reports** are gauges with the numbers and the texts as tags: at once when the state changes, at most once a second,
//!   every 2 s while lines wait for a drain that fails or falls behind, and every 15 s for drains that are in use.

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

/// Drains are looked at this often when none of them has news.
const EVERY: Duration = Duration::from_secs(1);

/// And at most this often.
const AT_MOST: Duration = Duration::from_millis(50);

/// Envelopes of one message.
const BATCH: usize = 500;

/// An agent that stays away longer costs what was to be told.
const PATIENCE: Duration = Duration::from_secs(5);

/// At the end, the last message gets this long.
const FINISH: Duration = Duration::from_millis(500);

/// Who says it: the tag `origin`.
pub(crate) const ORIGIN: &str = "loggregator.syslog_agent";

/// What was told about one drain.
#[derive(Debug)]
struct Told {
    lines: Lines,
    reports: Reports,
    /// The round in which it was seen last.
    round: u64,
}

/// See the module.
pub(crate) struct Teller {
    env: Arc<Env>,
    registry: Arc<Registry>,
    instance: String,
    producer: Producer,
    told: AHashMap<u64, Told>,
    round: u64,
}

impl Teller {
    /// One that tells through the agent at `target`.
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
            told: AHashMap::new(),
            round: 0,
        }
    }

    /// Tells until `stop`; then once more.
    pub(crate) async fn run(mut self, stop: Shutdown) {
        let clock = self.env.clock.clone();
        let env = Arc::clone(&self.env);
        while !stop.is_requested() {
            let begun = clock.instant();
            let batches = self.look(begun);
            let _stopped = stop.unless_requested(self.send(batches)).await;
            let due = (begun + EVERY).into();
            let wait = async {
                tokio::time::sleep_until((begun + AT_MOST).into()).await;
                tokio::select! {
                    () = env.news.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            };
            stop.unless_requested(wait).await;
        }
        let batches = self.look(clock.instant());
        let last = async {
            self.send(batches).await;
            // What is not taken by then is told anew by the next agent.
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

    /// What is to be told now.
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
        self.told.retain(|_, told| told.round == round);
        batches.finish()
    }

    fn look_at(&mut self, drain: &Drain, now: Instant, wall: i64, batches: &mut Batches) {
        let told = self.told.entry(drain.serial).or_insert_with(|| Told {
            lines: Lines::new(now),
            reports: Reports::default(),
            round: 0,
        });
        told.round = self.round;
        let status = drain.status.snapshot();
        let binding = drain.binding();
        if let Some(app) = binding.source_id() {
            for text in told.lines.about(&binding, &status, &drain.account, now, wall) {
                batches.push(|out| line(out, wall, app, &text));
            }
        }
        if told.reports.is_due(&status, drain.account.routed() > 0, now) {
            let lost = drain.account.lost();
            batches.push(|out| report::write(out, &binding, &status, lost, &self.instance, wall));
        }
    }
}

/// Envelopes in messages of a good size.
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

/// A line in an app's log. It may quote what a drain answered, and people read it on terminals.
fn line(out: &mut Vec<u8>, wall: i64, app: &str, text: &str) {
    Writer::new(out)
        .timestamp(wall)
        .source_id(app)
        .instance_id("0")
        .tag("source_type", "LGR")
        .tag("origin", ORIGIN)
        .log(weir_telemetry::neutral(text).as_bytes(), Stream::Err);
}
