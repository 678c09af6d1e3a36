//! The stack observes itself: logs, metrics, spans and losses of its components go into its own pipeline.
//!
//! Logs, spans and metrics come from the telemetry outbox. Losses come from the ledgers, each as a report with a running total
//! (`weir_flow::loss_reports`, from which the log cache makes a row of `drops`), and, where a reader would miss lines, as a log
//! line of source type `LGR` in the stream of the source whose lines were lost.

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

/// The greatest number of envelopes in one shipment.
const SHIPMENT: usize = 1000;
/// How often losses are reported.
const LOSSES_EVERY: Duration = Duration::from_secs(1);
/// How long a shipment waits for an agent that is away before it is lost. The outbox keeps later envelopes meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last shipments may take when the stack stops.
const FINISH: Duration = Duration::from_millis(500);

/// The reasons of intended losses, by configuration or by a consumer. They get no `LGR` line.
const INTENDED: [Reason; 3] = [Reason::Unconvertible, Reason::LogsDisabled, Reason::ConsumerGone];
/// The component that writes `LGR` lines about its losses itself, because it knows the drain and the cause.
const WRITES_OWN_LINES: &str = weir_agents_syslog::Server::DESCRIPTION.name;

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

/// The task that ships telemetry and losses to an agent.
#[derive(Debug)]
pub(crate) struct Observation {
    telemetry: Telemetry,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Observation {
    /// Starts to ship to `agent`.
    pub(crate) fn start(telemetry: Telemetry, agent: &Target, ledgers: Vec<Arc<Ledger>>) -> Self {
        let (trigger, stop) = Shutdown::new();
        let tasks = Tasks::new(trigger.clone(), Health::new());
        let pace = Pace {
            patience: PATIENCE,
            ..Pace::default()
        };
        let producer = Producer::new(agent, Ledger::in_memory("telemetry"), &tasks, pace);
        // Without `quiet`, each shipment would log and measure, and so cause the next shipment.
        let task = background(quiet(ship(producer, telemetry.outbox(), ledgers, stop)));
        Self {
            telemetry,
            trigger,
            task,
        }
    }

    /// Ships the remaining telemetry and ends. To be called before the agent stops, which takes the shipments.
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
    // After a long shipment, losses are reported once, not once for each missed tick.
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
            _ = ticks.tick() => send_losses(&mut producer, &ledgers).await,
            () = stop.requested(), if !open => break,
        }
    }
    send_losses(&mut producer, &ledgers).await;
    // Shipments that are not acknowledged in time are no loss of ours: the agent has them in its ledger.
    drop(producer.flush().await);
}

/// Reports the losses since the last call. A report that cannot be sent is not repeated, but the next one has the running total.
async fn send_losses(producer: &mut Producer, ledgers: &[Arc<Ledger>]) {
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
    if component != WRITES_OWN_LINES && !INTENDED.iter().any(|intended| intended.as_str() == *reason) {
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

    fn written(reason: Reason) -> Vec<(Kind, String)> {
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

    /// A loss makes a report under a source id of its own and, unless it was intended, a line in the stream of its source.
    #[test]
    fn losses_make_a_report_and_a_line() {
        let report = (Kind::Counter, weir_flow::loss_reports::SOURCE.to_owned());
        let line = (Kind::Log, "app".to_owned());
        assert_eq!(written(Reason::SlowConsumer), [report.clone(), line]);
        assert_eq!(written(Reason::Unconvertible), [report]);
    }
}
