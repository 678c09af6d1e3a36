//! `cargo run -p weir-xtask -- <chore>`: what the repository needs done now and then.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_xtask::{citations, proto, structure, workspace_root};

/// Chores of the repository.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Generate platform/lib/proto/src/generated from the .proto files.
    Proto,
    /// Refuse dependencies that point up and citations that lead nowhere; warn of files that have grown long.
    StructureCheck,
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people: its output is its purpose"
)]
fn main() -> anyhow::Result<ExitCode> {
    let root = workspace_root();
    match Arguments::parse().chore {
        Chore::Proto => {
            let crate_dir = root.join(proto::CRATE);
            for name in proto::generate(&crate_dir.join(proto::SOURCES), &crate_dir.join(proto::GENERATED))? {
                println!("wrote {}/{}/{name}", proto::CRATE, proto::GENERATED);
            }
            Ok(ExitCode::SUCCESS)
        }
        Chore::StructureCheck => {
            let mut report = structure::check(&root)?;
            report.violations.extend(citations::broken(&root)?);
            for warning in &report.warnings {
                eprintln!("warning: {warning}");
            }
            for violation in &report.violations {
                eprintln!("error: {violation}");
            }
            Ok(if report.violations.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
