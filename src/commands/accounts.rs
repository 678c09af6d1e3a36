//! Prints the lists of `weir user`, `weir group` and `weir client`.

use serde_json::Value;
use weir_error::ErrorKind;

use crate::failure::Failure;
use crate::terminal::{Output, table};

/// Prints a list as a table on a terminal, and with tabs into a pipe.
pub(super) fn show<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let mut output = Output::stdout();
    for line in table(head, rows) {
        output.line(&line)?;
    }
    Ok(())
}

/// Prints a list as JSON.
pub(super) fn print_json(list: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(list)
        .map_err(|error| Failure::new(ErrorKind::Internal, format!("list: {error}")))?;
    let mut output = Output::stdout();
    output.text(format!("{text}\n").as_bytes())?;
    output.flush()
}
