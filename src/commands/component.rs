//! stub
use crate::failure::Failure;
use crate::stack::Component;
use std::process::ExitCode;
/// x
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) async fn run(_: Component, _: Args) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
