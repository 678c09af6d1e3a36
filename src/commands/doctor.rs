//! `weir doctor`: finds problems, and says what to do.
//!
//! There are two groups of checks: of the machine and the state directory ([`machine`]), and of the running stack ([`stack`]). Each
//! finding is one line. The exit code is 0 unless something is broken.

mod machine;
mod stack;

use std::process::ExitCode;

use crate::components::{Table, table};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Colour, Output};

const EXAMPLES: &str = "\
Examples:
  weir doctor                               look at everything
  weir --state-dir /var/lib/weir doctor     of another stack

It changes nothing. Exit code 0: nothing is broken (warnings are allowed); 1: something is.";

/// Look for what is wrong: ports, limits, clock, certificates, disk, and the running stack
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Fine,
    Odd,
    Broken,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    level: Level,
    subject: &'static str,
    text: String,
    hint: Option<String>,
}

impl Finding {
    fn fine(subject: &'static str, text: impl Into<String>) -> Self {
        Self {
            level: Level::Fine,
            subject,
            text: text.into(),
            hint: None,
        }
    }

    fn odd(subject: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            level: Level::Odd,
            subject,
            text: text.into(),
            hint: Some(hint.into()),
        }
    }

    fn broken(subject: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            level: Level::Broken,
            subject,
            text: text.into(),
            hint: Some(hint.into()),
        }
    }
}

impl Finding {
    /// Returns the word at the beginning of the line, and its colour.
    const fn word(&self) -> (Colour, &'static str) {
        match self.level {
            Level::Fine => (Colour::Green, "ok     "),
            Level::Odd => (Colour::Yellow, "odd    "),
            Level::Broken => (Colour::Red, "BROKEN "),
        }
    }

    /// Returns the text behind the word, with the hint on the next line.
    fn rest(&self) -> String {
        let hint = self
            .hint
            .as_ref()
            .map_or_else(String::new, |hint| format!("\n{:21}hint: {hint}", ""));
        format!("{:<13} {}{hint}\n", self.subject, self.text)
    }

    /// Returns the finding as it is printed without colours.
    #[cfg(test)]
    pub(crate) fn to_text(&self) -> String {
        format!("{}{}", self.word().1, self.rest())
    }
}

pub(crate) async fn run(_: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let mut output = Output::stdout();
    let show = |finding: &Finding| {
        let (colour, word) = finding.word();
        output.word(colour, word)?;
        output.text(finding.rest().as_bytes())?;
        output.flush()
    };
    Ok(match look(&state, table(), show).await? {
        Level::Broken => ExitCode::FAILURE,
        Level::Odd | Level::Fine => ExitCode::SUCCESS,
    })
}

/// Checks the machine, and the stack in `state`, whose components are in `table`. Returns the highest severity.
pub(crate) async fn look(
    state: &StateDir,
    table: &Table,
    mut show: impl FnMut(&Finding) -> Result<(), Failure>,
) -> Result<Level, Failure> {
    let mut worst = Level::Fine;
    let mut take = |findings: Vec<Finding>| {
        findings.iter().try_for_each(|finding| {
            worst = worst.max(finding.level);
            show(finding)
        })
    };
    take(machine::findings(state))?;
    take(stack::findings(state, table).await)?;
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Subjects and hints are aligned.
    #[test]
    fn findings_line_up() {
        let line = |finding: Finding| finding.to_text();
        assert_eq!(
            line(Finding::fine("disk", "42 GiB free")),
            "ok     disk          42 GiB free\n"
        );
        assert_eq!(
            line(Finding::broken("token", "can be read by others", "chmod 600 it")),
            "BROKEN token         can be read by others\n                     hint: chmod 600 it\n"
        );
    }
}
