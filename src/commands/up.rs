//! stub
use crate::failure::Failure;
use crate::state::StateDir;
use std::process::ExitCode;
/// x
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) async fn run(_: Args, _: StateDir) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
