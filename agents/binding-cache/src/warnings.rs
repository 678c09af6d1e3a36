//! Warns apps about drains that are not usable, with log lines of source type `LGR` in their own streams.
//!
//! A warning is written at once and then every ten minutes while the problem lasts. If a problem comes and goes, it is
//! also reported at most every ten minutes. (The original repeats all warnings at each poll.) A line that cannot be
//! sent is tried again later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::Ledger;
use weir_rpc::producer::Producer;
use weir_service::{Clock, Shutdown};

use crate::check::{Cause, Complaint};

/// The time between two warnings about one problem.
const REPEAT: Duration = Duration::from_secs(600);

/// How often complaints are looked at when they do not change.
const LOOK: Duration = Duration::from_secs(5);

/// The largest number of lines in one batch.
const BATCH: usize = 100;

/// The tag `origin` of the lines.
const ORIGIN: &str = "loggregator_syslog_binding_cache";

/// The state of the task.
#[derive(Debug)]
pub(crate) struct Warnings {
    pub(crate) complaints: watch::Receiver<Arc<[Complaint]>>,
    pub(crate) producer: Producer,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Clock,
}

impl Warnings {
    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut sent = SentWarnings::default();
        while let Some(open) = shutdown.unless_requested(self.next_change()).await {
            if !open {
                return;
            }
            let complaints = self.complaints.borrow_and_update().clone();
            let due = sent.due(&complaints, Instant::now());
            // In small batches, so that a failure repeats few warnings.
            for some in due.chunks(BATCH) {
                let batch = lines(some, self.clock.now_nanos());
                let count = batch.len() as u64;
                self.ledger.received(count);
                match shutdown.unless_requested(self.producer.send(batch)).await {
                    Some(Ok(())) => sent.note(some, Instant::now()),
                    Some(Err(error)) => {
                        self.ledger.returned(count);
                        tracing::warn!(%error, "warnings about drains cannot be sent, trying again later");
                        break;
                    }
                    None => {
                        self.ledger.returned(count);
                        return;
                    }
                }
            }
        }
    }

    /// Waits for a change of the complaints, or for [`LOOK`]. Returns false if there will be no more changes.
    async fn next_change(&mut self) -> bool {
        match tokio::time::timeout(LOOK, self.complaints.changed()).await {
            Ok(changed) => changed.is_ok(),
            Err(_) => true,
        }
    }
}

type Key = (String, String, Cause);

fn key(complaint: &Complaint) -> Key {
    (complaint.app.clone(), complaint.url.clone(), complaint.cause)
}

/// The time of the last warning about each problem.
#[derive(Debug, Default)]
struct SentWarnings(HashMap<Key, Instant>);

impl SentWarnings {
    /// Returns the complaints that should be reported now.
    fn due(&mut self, complaints: &[Complaint], now: Instant) -> Vec<Complaint> {
        // Warnings that are old enough are forgotten, and so they are sent again.
        self.0.retain(|_, sent| now.duration_since(*sent) < REPEAT);
        complaints
            .iter()
            .filter(|complaint| !self.0.contains_key(&key(complaint)))
            .cloned()
            .collect()
    }

    fn note(&mut self, sent: &[Complaint], now: Instant) {
        self.0.extend(sent.iter().map(|complaint| (key(complaint), now)));
    }
}

fn lines(complaints: &[Complaint], now: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    for complaint in complaints {
        builder.push_with(|envelope| {
            let mut writer = Writer::new(envelope);
            writer.timestamp(now).source_id(&complaint.app).instance_id("0");
            writer.tag("source_type", "LGR").tag("origin", ORIGIN);
            // The text quotes the binding, and people read it on terminals.
            writer.log(weir_telemetry::neutral(&complaint.text).as_bytes(), Stream::Err);
        });
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(app: &str, text: &str) -> Complaint {
        Complaint {
            app: app.to_owned(),
            url: "syslog://h:1".to_owned(),
            cause: Cause::Unresolvable,
            text: text.to_owned(),
        }
    }

    /// A problem is reported at once and then every ten minutes, even if its text changes or if it disappears in
    /// between.
    #[tokio::test(start_paused = true)]
    async fn each_problem_is_reported_every_ten_minutes() {
        let mut sent = SentWarnings::default();
        let mut due_now = |complaints: &[Complaint]| {
            let now = Instant::now();
            let due = sent.due(complaints, now);
            sent.note(&due, now);
            due.len()
        };
        assert_eq!(due_now(&[complaint("a", "cannot"), complaint("b", "cannot")]), 2);
        assert_eq!(due_now(&[complaint("a", "skipped")]), 0);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(due_now(&[]), 0);
        assert_eq!(due_now(&[complaint("a", "cannot"), complaint("c", "cannot")]), 1);
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(due_now(&[complaint("a", "cannot"), complaint("c", "cannot")]), 1);
    }
}
