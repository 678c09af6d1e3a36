//! The reports behind `drain_status`: gauges with the source id of the app whose drain it is.

use std::time::{Duration, Instant};

use weir_drain::Binding;
use weir_envelope::batch::RawEnvelope;
use weir_envelope::encode::Writer;

use super::ORIGIN;
use crate::registry::AGENT_SOURCE;
use crate::status::{Snapshot, State, rfc3339};

/// The interval of reports about a drain in use.
const IN_USE: Duration = Duration::from_secs(15);

/// The interval of reports about a drain to which nothing was sent yet. Every agent of a foundation knows all bindings
/// and uses few of them.
const UNUSED: Duration = Duration::from_secs(300);

/// The interval of reports about a drain that fails or falls behind. Its numbers are likely to be watched.
const IN_TROUBLE: Duration = Duration::from_secs(2);

/// The shortest interval of reports about changes.
const AT_MOST: Duration = Duration::from_secs(1);

/// The last report about one drain.
#[derive(Debug, Default)]
pub(super) struct Reports {
    last: Option<(Instant, State, bool)>,
}

impl Reports {
    /// Returns whether a report is due. If so, it counts as sent.
    pub(super) fn is_due(&mut self, status: &Snapshot, used: bool, now: Instant) -> bool {
        let waits = status.waiting_lines > 0;
        let due = match self.last {
            None => true,
            Some((at, state, waited)) => {
                // Waiting lines make the values change quickly, so operators see them sooner.
                let every = match status.state {
                    State::Retrying | State::Spilling if waits => IN_TROUBLE,
                    _ if used || waits || waited => IN_USE,
                    _ => UNUSED,
                };
                let changed = state != status.state || (waited && !waits);
                now >= at + if changed { AT_MOST } else { every }
            }
        };
        if due {
            self.last = Some((now, status.state, waits));
        }
        due
    }
}

/// Appends an encoded report to `out`.
pub(super) fn write(out: &mut Vec<u8>, binding: &Binding, status: &Snapshot, lost: u64, instance: &str, wall: i64) {
    let mut writer = Writer::new(out);
    writer
        .timestamp(wall)
        .source_id(binding.source_id().unwrap_or(AGENT_SOURCE))
        .instance_id(instance)
        .tag("origin", ORIGIN)
        .tag("binding", &binding.id.to_string())
        .tag("drain_url", binding.url.safe())
        .tag("state", status.state.as_str())
        .tag("since", &rfc3339(status.since));
    if let Some(error) = &status.last_error {
        writer.tag("last_error", error);
    }
    if let Some(next_try) = status.next_try {
        writer.tag("next_try", &rfc3339(next_try));
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    let double = |count: u64| count as f64;
    writer.gauge(&[
        ("drain_waiting_lines", "lines", double(status.waiting_lines)),
        ("drain_waiting_bytes", "bytes", double(status.waiting_bytes)),
        ("drain_lost", "lines", double(lost)),
        ("drain_lag", "ms", double(status.lag_ms(wall))),
    ]);
}

/// Returns whether an envelope is such a report.
pub(crate) fn is_report(envelope: RawEnvelope<'_>) -> bool {
    let view = envelope.view();
    let mut ours = (false, false);
    for (key, value) in view.tags() {
        match key {
            "origin" => ours.0 = value == ORIGIN,
            "binding" => ours.1 = true,
            _ => {}
        }
    }
    ours == (true, true)
}
