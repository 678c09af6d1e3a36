//! The stack observes itself: what its components say, measure and lose goes into its own pipeline.
//!
//! Logs, spans and metrics come from the telemetry outbox. Losses come from the ledgers, each as a report with a
//! running total (`weir_flow::loss_reports`, from which the log cache makes a row of `drops`), and, where lines are
//! missing that somebody may look for, as a log line of source type `LGR` in the stream of the source that lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use weir_component::Component as _;
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::{Ledger, LossReport, Reason};
use weir_net::Target;
use weir_rpc::producer::{Pace, Producer};
use weir_service::{Health, Shutdown, Tasks, Trigger, clock};
use weir_telemetry::{Options, Outbox, Telemetry, init, quiet};

use crate::background::background;
use crate::failure::Failure;

/// Envelopes of one shipment.
const SHIPMENT: usize = 1000;
/// Losses are told this often.
const LOSSES_EVERY: Duration = Duration::from_secs(1);
/// An agent that stays away longer costs a shipment; the outbox keeps what comes meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// At the end, the last shipments get this long.
const FINISH: Duration = Duration::from_millis(500);

/// Losses of these kinds are what somebody chose, not lines that are missing.
const CHOSEN: [Reason; 3] = [Reason::Unconvertible, Reason::LogsDisabled, Reason::ConsumerGone];
/// Who tells developers itself what it lost: it knows which drain, and why.
const TELLS_ITSELF: &str = weir_agents_syslog::Server::DESCRIPTION.name;

/// Installs logs, metrics and traces for this process.
pub(crate) fn install(
    component: &'static str,
    level: &str,
    stderr_level: Option<&str>,
    format: weir_telemetry::Format,
    log_file: Option<PathBuf>,
) -> Result<Telemetry, Failure> {
    let mut options = Options::new(component);
    options.log_file = log_file;
    options.level = level.to_owned();
    options.stderr_level = stderr_level.map(str::to_owned);
    options.format = format;
    Ok(init(options)?)
}

/// What ships telemetry and losses to an agent.
#[derive(Debug)]
pub(crate) struct Observation {
    telemetry: Telemetry,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Observation {
    /// Begins shipping to `agent`.
    pub(crate) fn start(telemetry: Telemetry, agent: &Target, ledgers: Vec<Arc<Ledger>>) -> Self {
        let (trigger, stop) = Shutdown::new();
        let tasks = Tasks::new(trigger.clone(), Health::new());
        let pace = Pace {
            patience: PATIENCE,
            ..Pace::default()
        };
        let producer = Producer::new(agent, Ledger::in_memory("telemetry"), &tasks, pace);
        // Nothing is told of the telling.
        let task = background(quiet(ship(producer, telemetry.outbox(), ledgers, stop)));
        Self {
            telemetry,
            trigger,
            task,
        }
    }

    /// Ships what was said and measured until now, and ends. Before the agent stops, which takes it.
    pub(crate) async fn finish(self) {
        let Self {
            telemetry,
            trigger,
            mut task,
        } = self;
        let last = async {
            telemetry.close().await;
            trigger.fire();
            (&mut task).await
        };
        if tokio::time::timeout(FINISH, last).await.is_err() {
            task.abort();
        }
    }
}

/// Ships until the outbox is closed and empty and `stop` is requested.
async fn ship(mut producer: Producer, outbox: Arc<Outbox>, ledgers: Vec<Arc<Ledger>>, stop: Shutdown) {
    let mut ticks = tokio::time::interval(LOSSES_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = true;
    while open || !stop.is_requested() {
        tokio::select! {
            shipment = outbox.drain(SHIPMENT), if open => match shipment {
                None => open = false,
                Some(shipment) => match producer.send(shipment.batch().clone()).await {
                    Ok(()) => shipment.delivered(),
                    Err(_) => shipment.lost(Reason::NoDestination),
                },
            },
            _ = ticks.tick() => tell_losses(&mut producer, &ledgers).await,
            () = stop.requested(), if !open => break,
        }
    }
    tell_losses(&mut producer, &ledgers).await;
    // Envelopes that were sent and are not acknowledged in time are counted by the agent.
    drop(producer.flush().await);
}

/// Tells what was lost since the last time. Where that cannot be sent, the next report has it as well.
async fn tell_losses(producer: &mut Producer, ledgers: &[Arc<Ledger>]) {
    let mut builder = BatchBuilder::new();
    for ledger in ledgers {
        for report in ledger.take_reports() {
            write_loss(&mut builder, ledger.component(), &report);
        }
    }
    if !builder.is_empty() {
        drop(producer.send(builder.finish()).await);
    }
}

fn write_loss(builder: &mut BatchBuilder, component: &str, report: &LossReport) {
    let now = clock::now_nanos();
    builder.push_with(|envelope| report.write(component, now, envelope));
    let LossReport {
        source_id,
        hop,
        reason,
        count,
        ..
    } = report;
    if *count == 0 {
        return;
    }
    if component != TELLS_ITSELF && !CHOSEN.iter().any(|chosen| chosen.as_str() == *reason) {
        let text = format!("{count} envelopes of this source were dropped by {component} ({hop}: {reason})");
        builder.push_with(|envelope| {
            let mut writer = Writer::new(envelope);
            writer
                .timestamp(now)
                .source_id(source_id)
                .tag("origin", "loggregator.weir")
                .tag("source_type", "LGR");
            writer.log(text.as_bytes(), Stream::Err);
        });
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::batch::Kind;

    use super::*;

    fn told(reason: Reason) -> Vec<(Kind, String)> {
        let ledger = Ledger::in_memory("doppler");
        ledger.dropped("egress", reason, "app", 37);
        let mut builder = BatchBuilder::new();
        for report in ledger.take_reports() {
            write_loss(&mut builder, ledger.component(), &report);
        }
        let batch = builder.finish();
        batch
            .iter()
            .map(|envelope| (envelope.kind(), envelope.source_id().to_owned()))
            .collect()
    }

    /// A loss is a report, which is not shed with the source that lost, and a line in that source's own stream where
    /// lines are missing.
    #[test]
    fn losses_are_told_to_whom_they_concern() {
        let report = (Kind::Counter, weir_flow::loss_reports::SOURCE.to_owned());
        let line = (Kind::Log, "app".to_owned());
        assert_eq!(told(Reason::SlowConsumer), [report.clone(), line]);
        assert_eq!(told(Reason::Unconvertible), [report]);
    }
}
