//! stub
use super::Query;
use crate::client::Stack;
use crate::failure::Failure;
use crate::terminal::Output;
pub(super) async fn run(_stack: &Stack, _query: Query, _output: &mut Output) -> Result<(), Failure> {
    Ok(())
}
