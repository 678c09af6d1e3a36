//! Log lines as the original's programs write them to standard output: what watches a deployment looks for some of them.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use weir_service::Clock;

/// What every line begins with.
const SOURCE: &str = "routing-api";

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFormat {
    /// `{"timestamp":"1700000000.000000000","source":…,"message":…,"log_level":1,"data":…}`
    #[default]
    UnixEpoch,
    /// `{"timestamp":"2023-11-14T22:13:20.000000000Z","level":"info","source":…,"message":…,"data":…}`
    Rfc3339,
}

/// The weight of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Error,
}

/// Writes lines.
pub(super) struct Lines<'o> {
    pub(super) out: &'o mut (dyn Write + Send),
    pub(super) format: TimeFormat,
    pub(super) clock: Clock,
}

#[derive(Serialize)]
struct Epoch<'l> {
    timestamp: String,
    source: &'l str,
    message: String,
    log_level: u8,
    data: &'l Map<String, Value>,
}

#[derive(Serialize)]
struct Pretty<'l> {
    timestamp: String,
    level: &'l str,
    source: &'l str,
    message: String,
    data: &'l Map<String, Value>,
}

impl Lines<'_> {
    /// Writes that something happened.
    pub(super) fn info(&mut self, message: &str, data: &[(&str, Value)]) {
        self.write(Level::Info, message, data);
    }

    /// Writes that something failed.
    pub(super) fn error(&mut self, message: &str, error: &str) {
        self.write(Level::Error, message, &[("error", error.into())]);
    }

    fn write(&mut self, level: Level, message: &str, data: &[(&str, Value)]) {
        let nanos = self.clock.now_nanos();
        let data: Map<String, Value> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        let message = format!("{SOURCE}.{message}");
        let line = match self.format {
            TimeFormat::UnixEpoch => serde_json::to_string(&Epoch {
                timestamp: format!(
                    "{}.{:09}",
                    nanos.div_euclid(1_000_000_000),
                    nanos.rem_euclid(1_000_000_000)
                ),
                source: SOURCE,
                message,
                log_level: if level == Level::Info { 1 } else { 2 },
                data: &data,
            }),
            TimeFormat::Rfc3339 => serde_json::to_string(&Pretty {
                timestamp: DateTime::<Utc>::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Nanos, true),
                level: if level == Level::Info { "info" } else { "error" },
                source: SOURCE,
                message,
                data: &data,
            }),
        };
        // Nobody may be reading, which is no reason not to serve.
        let line = line.unwrap_or_default();
        drop(writeln!(self.out, "{line}").and_then(|()| self.out.flush()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines are the original's, field by field.
    #[test]
    fn lines_are_as_the_originals() {
        let (_hands, clock) = Clock::manual(1_700_000_000_000_000_007);
        for (format, expected) in [
            (
                TimeFormat::UnixEpoch,
                "{\"timestamp\":\"1700000000.000000007\",\"source\":\"routing-api\",\"message\":\"routing-api.started\",\
                 \"log_level\":1,\"data\":{\"port\":3000}}\n",
            ),
            (
                TimeFormat::Rfc3339,
                "{\"timestamp\":\"2023-11-14T22:13:20.000000007Z\",\"level\":\"info\",\"source\":\"routing-api\",\
                 \"message\":\"routing-api.started\",\"data\":{\"port\":3000}}\n",
            ),
        ] {
            let mut out = Vec::new();
            let mut lines = Lines {
                out: &mut out,
                format,
                clock: clock.clone(),
            };
            lines.info("started", &[("port", 3000.into())]);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
