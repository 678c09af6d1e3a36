//! Lines of the program's start and end as the original writes them to standard output: what watches a deployment, and the
//! original's process-level suite, look for some of them.

use std::io::Write;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use weir_service::clock;

/// The form of a line's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TimeFormat {
    /// `1700000000.000000000`.
    #[default]
    UnixEpoch,
    /// `2023-11-14T22:13:20.000000000Z`.
    Rfc3339,
}

/// Where lines go.
pub(super) struct Lines<'o> {
    /// Standard output.
    pub(super) out: &'o mut (dyn Write + Send),
    /// The form of times.
    pub(super) format: TimeFormat,
}

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lines")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Lines<'_> {
    /// Says that something went as it should.
    pub(super) fn info(&mut self, message: &str, data: Value) {
        self.line(1, "info", message, data);
    }

    /// Says why the program ends.
    pub(super) fn fatal(&mut self, message: &str, error: &str) {
        self.line(3, "fatal", message, json!({ "error": error }));
    }

    fn line(&mut self, number: u8, level: &str, message: &str, data: Value) {
        let now = clock::now_nanos();
        let mut line = match self.format {
            TimeFormat::UnixEpoch => json!({
                "log_level": number,
                "timestamp": format!("{}.{:09}", now / 1_000_000_000, now % 1_000_000_000),
            }),
            TimeFormat::Rfc3339 => json!({
                "log_level": level,
                "timestamp": DateTime::from_timestamp_nanos(now).to_rfc3339_opts(SecondsFormat::Nanos, true),
            }),
        };
        line["message"] = message.into();
        line["source"] = "vcap.gorouter".into();
        if !data.is_null() {
            line["data"] = data;
        }
        // A closed standard output is no reason to stop serving.
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).ok();
    }
}
