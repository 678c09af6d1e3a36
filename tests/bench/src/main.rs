//! `weir-bench`: what an envelope costs, in CPU time of the server processes.
//!
//! ```text
//! cargo run --release -p weir-bench                        every scenario
//! cargo run --release -p weir-bench -- relay firehose      those whose names begin so
//! cargo run --release -p weir-bench -- --original DIR      beside the original's programs found in DIR
//! ```
//!
//! Each scenario starts the components that it is about as processes of their own, with certificates and configuration in
//! a temporary directory, drives them over mTLS from here, and reads from `/proc` what *they* used. The load generator and
//! the consumers run in this process and are not counted: batches are encoded once and only their timestamps patched,
//! consumers count fields without decoding. CPU time per envelope is the figure to trust on a machine that does other
//! things too; latencies and the highest rates are the machine's as much as ours.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod cpu;
mod load;
mod machine;
mod meter;
mod remote;
mod report;
mod scenario;
mod servers;
mod sinks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::report::Report;
use crate::scenario::{SCENARIOS, Settings};
use crate::servers::Programs;

/// CPU time, loss and latency of Weir's components, and of the original's beside them.
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Arguments {
    /// Scenarios to run: all whose names begin with one of these
    scenarios: Vec<String>,

    /// Names of the scenarios, and what they are
    #[arg(long)]
    list: bool,

    /// How long each load is measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// How often each scenario is measured; the median is shown
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,

    /// The weir program (default: the release build beside this one, built if need be)
    #[arg(long, value_name = "FILE", env = "WEIR_BIN")]
    weir: Option<PathBuf>,

    /// Folder with the original's programs (router, rlp, trafficcontroller, log-cache, syslog-agent, syslog-server,
    /// nats-server): measured too
    #[arg(long, value_name = "DIR")]
    original: Option<PathBuf>,

    /// Only the original
    #[arg(long, requires = "original")]
    original_only: bool,

    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        report::list(&SCENARIOS);
        return Ok(ExitCode::SUCCESS);
    }
    let programs = Programs::find(arguments.weir, arguments.original, arguments.original_only)?;
    let settings = Settings {
        measure: Duration::from_secs(arguments.seconds),
        runs: arguments.runs,
    };
    let chosen = |name: &str| {
        arguments.scenarios.is_empty()
            || arguments
                .scenarios
                .iter()
                .any(|wanted| name.starts_with(wanted.as_str()))
    };
    let mut report = Report::new();
    for scenario in SCENARIOS.iter().filter(|scenario| chosen(scenario.name)) {
        for program in &programs {
            if !arguments.json {
                report::progress(scenario.name, program);
            }
            report.add(scenario::run(*scenario, program, settings).await);
        }
    }
    anyhow::ensure!(!report.is_empty(), "no such scenario: see --list");
    if arguments.json {
        report::print(&serde_json::to_string_pretty(&report)?);
    } else {
        report::print(&report.table());
    }
    Ok(if report.all_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
