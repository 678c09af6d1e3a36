//! The table, or the JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeStruct as _};

use crate::machine::Machine;
use crate::scenario::{Bound, Outcome, Scenario};
use crate::servers::Programs;

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            machine: Machine::here(),
            outcomes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Whether Weir met every target.
    pub(crate) fn all_met(&self) -> bool {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.programs == "weir")
            .all(|outcome| outcome.error.is_none() && outcome.missed().is_empty())
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "{} × {}, {} GiB, Linux {}, load {} at the start; weir {}\n\n",
            machine.cores, machine.cpu, machine.memory_gib, machine.kernel, machine.load, machine.weir
        );
        text.push_str(
            "| scenario | programs | figures | CPU µs/sent and peak MiB by process | against the targets |\n",
        );
        text.push_str("|---|---|---|---|---|\n");
        for outcome in &self.outcomes {
            text.push_str(&row(outcome));
        }
        let ratios: Vec<String> = self.outcomes.iter().filter_map(|outcome| self.ratio(outcome)).collect();
        if !ratios.is_empty() {
            text.push_str("\n| scenario | figure | weir | original | original ÷ weir |\n|---|---|---|---|---|\n");
            text.push_str(&ratios.concat());
        }
        text
    }

    /// A row for each figure that Weir's outcome shares with the original's of the same scenario.
    fn ratio(&self, ours: &Outcome) -> Option<String> {
        if ours.programs != "weir" {
            return None;
        }
        let theirs = self
            .outcomes
            .iter()
            .find(|outcome| outcome.programs == "original" && outcome.scenario.name == ours.scenario.name)?;
        let rows = ours.figures.iter().filter_map(|(name, ours_value)| {
            let theirs_value = theirs.figure(name)?;
            let ratio = theirs_value / ours_value;
            let ratio = if ratio.is_finite() {
                format!("{ratio:.1}")
            } else {
                "–".to_owned()
            };
            Some(format!(
                "| {} | {name} | {} | {} | {ratio} |\n",
                ours.scenario.name,
                number(*ours_value),
                number(theirs_value)
            ))
        });
        Some(rows.collect())
    }
}

impl Outcome {
    /// The targets that were not met, with the value that was.
    fn missed(&self) -> Vec<(&'static str, f64, Bound)> {
        self.scenario
            .targets
            .iter()
            .filter_map(|target| {
                let value = self.figure(target.figure)?;
                (!target.bound.is_met_by(value)).then_some((target.figure, value, target.bound))
            })
            .collect()
    }

    fn verdict(&self) -> String {
        if let Some(error) = &self.error {
            return format!("**failed**: {}", error.replace('\n', " "));
        }
        if self.programs != "weir" || self.scenario.targets.is_empty() {
            return "–".to_owned();
        }
        let missed = self.missed();
        if missed.is_empty() {
            return "met".to_owned();
        }
        let list: Vec<String> = missed
            .iter()
            .map(|(figure, value, bound)| {
                let (than, bound) = match bound {
                    Bound::AtMost(bound) => (">", bound),
                    Bound::AtLeast(bound) => ("<", bound),
                };
                format!("**missed**: {figure} {} {than} {}", number(*value), number(*bound))
            })
            .collect();
        list.join("<br>")
    }
}

fn row(outcome: &Outcome) -> String {
    let figures: Vec<String> = outcome
        .figures
        .iter()
        .map(|(name, value)| format!("{name} {}", number(*value)))
        .collect();
    let processes: Vec<String> = outcome
        .processes
        .iter()
        .map(|(name, figures)| {
            format!(
                "{name} {}, {}",
                number(figures.cpu_micros_per_sent),
                number(figures.peak_mib)
            )
        })
        .collect();
    format!(
        "| {} | {} | {} | {} | {} |\n",
        outcome.scenario.name,
        outcome.programs,
        figures.join(" · "),
        processes.join(" · "),
        outcome.verdict()
    )
}

/// Three or more digits that say something.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 2)?;
        report.serialize_field("machine", &self.machine)?;
        let results: Vec<Entry<'_>> = self.outcomes.iter().map(Entry).collect();
        report.serialize_field("results", &results)?;
        report.end()
    }
}

/// An outcome as JSON has it.
struct Entry<'a>(&'a Outcome);

impl Serialize for Entry<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outcome = self.0;
        let figures: BTreeMap<&str, f64> = outcome.figures.iter().copied().collect();
        let (mut at_most, mut at_least) = (BTreeMap::new(), BTreeMap::new());
        for target in outcome.scenario.targets {
            match target.bound {
                Bound::AtMost(bound) => at_most.insert(target.figure, bound),
                Bound::AtLeast(bound) => at_least.insert(target.figure, bound),
            };
        }
        let mut entry = serializer.serialize_map(None)?;
        entry.serialize_entry("scenario", outcome.scenario.name)?;
        entry.serialize_entry("programs", outcome.programs)?;
        entry.serialize_entry("figures", &figures)?;
        entry.serialize_entry("at_most", &at_most)?;
        entry.serialize_entry("at_least", &at_least)?;
        entry.serialize_entry("processes", &outcome.processes)?;
        entry.serialize_entry("error", &outcome.error)?;
        entry.end()
    }
}

/// Prints the scenarios.
#[expect(clippy::print_stdout, reason = "the output of this program")]
pub(crate) fn list(scenarios: &[Scenario]) {
    for scenario in scenarios {
        println!("{:18} {}", scenario.name, scenario.what);
    }
}

/// Says what runs now.
#[expect(clippy::print_stderr, reason = "progress of this program")]
pub(crate) fn progress(scenario: &str, programs: &Programs) {
    eprintln!("{scenario} ({}) …", programs.name());
}

/// Prints the result.
#[expect(clippy::print_stdout, reason = "the output of this program")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}
