//! Tells apps that a drain of theirs is not usable: a log line of source type `LGR` in their own stream.
//!
//! At once when it becomes so, and then every ten minutes as long as it stays so; also one that comes and goes is told at most
//! every ten minutes. (The original repeats everything at every poll.) A line that cannot be sent is tried again later.

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

/// Between two lines about the same.
const REPEAT: Duration = Duration::from_secs(600);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// Lines of one batch.
const BATCH: usize = 100;

/// Who we are, in the lines.
const ORIGIN: &str = "loggregator_syslog_binding_cache";

/// The task's state.
#[derive(Debug)]
pub(crate) struct Warnings {
    pub(crate) complaints: watch::Receiver<Arc<[Complaint]>>,
    pub(crate) producer: Producer,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Clock,
}

impl Warnings {
    /// Works until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut told = Told::default();
        while let Some(open) = shutdown.unless_requested(self.news()).await {
            if !open {
                return;
            }
            let complaints = self.complaints.borrow_and_update().clone();
            let due = told.due(&complaints, Instant::now());
            for some in due.chunks(BATCH) {
                let batch = lines(some, self.clock.now_nanos());
                let count = batch.len() as u64;
                self.ledger.received(count);
                match shutdown.unless_requested(self.producer.send(batch)).await {
                    Some(Ok(())) => told.note(some, Instant::now()),
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

    /// Waits for a change, or for the next look; false once there will be no more.
    async fn news(&mut self) -> bool {
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

/// What was told when.
#[derive(Debug, Default)]
struct Told(HashMap<Key, Instant>);

impl Told {
    /// What is to be told now.
    fn due(&mut self, complaints: &[Complaint], now: Instant) -> Vec<Complaint> {
        self.0.retain(|_, told| now.duration_since(*told) < REPEAT);
        complaints
            .iter()
            .filter(|complaint| !self.0.contains_key(&key(complaint)))
            .cloned()
            .collect()
    }

    fn note(&mut self, told: &[Complaint], now: Instant) {
        self.0.extend(told.iter().map(|complaint| (key(complaint), now)));
    }
}

fn lines(complaints: &[Complaint], now: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    for complaint in complaints {
        builder.push_with(|envelope| {
            let mut writer = Writer::new(envelope);
            writer.timestamp(now).source_id(&complaint.app).instance_id("0");
            writer.tag("source_type", "LGR").tag("origin", ORIGIN);
            // It quotes the binding, and people read it on terminals.
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

    /// Once at once, then every ten minutes, whatever the wording, and also if it was gone in between.
    #[tokio::test(start_paused = true)]
    async fn each_is_told_every_ten_minutes() {
        let mut told = Told::default();
        let mut tell = |complaints: &[Complaint]| {
            let now = Instant::now();
            let due = told.due(complaints, now);
            told.note(&due, now);
            due.len()
        };
        assert_eq!(tell(&[complaint("a", "cannot"), complaint("b", "cannot")]), 2);
        assert_eq!(tell(&[complaint("a", "skipped")]), 0);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(tell(&[]), 0);
        assert_eq!(tell(&[complaint("a", "cannot"), complaint("c", "cannot")]), 1);
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(tell(&[complaint("a", "cannot"), complaint("c", "cannot")]), 1);
    }
}
