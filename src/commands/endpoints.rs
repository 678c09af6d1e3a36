//! `weir endpoints [KEY]`: prints the addresses of a running stack, for scripts.

use std::process::ExitCode;

use serde_json::Value;
use weir_error::ErrorKind;

use crate::failure::Failure;
use crate::state::{Endpoints, StateDir};
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir endpoints                            all of them, as JSON
  weir endpoints rlp                        one of them, as it is: 127.0.0.1:8083
  curl --cacert \"$(weir endpoints ca)\" \"$(weir endpoints sql_http)/v1/sql\" \\
       -H \"Authorization: $(weir token)\" --data-binary 'select count(*) from logs'
  kill \"$(weir endpoints pids.doppler)\"     one process of `weir up --processes`";

/// Print where everything listens, and which certificates to use
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print only this value, without quotes; `pids.NAME` is the process of one component
    key: Option<String>,
}

pub(crate) fn run(args: &Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let text = Endpoints::read_text(state)?;
    let mut output = Output::stdout();
    match &args.key {
        None => {
            output.text(text.as_bytes())?;
            output.flush()?;
        }
        Some(key) => output.line(&value(&text, key)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the value of `key` in the JSON object `text`. Strings have no quotes.
fn value(text: &str, key: &str) -> Result<String, Failure> {
    let object: Value = serde_json::from_str(text)
        .map_err(|error| Failure::new(ErrorKind::Internal, format!("`endpoints.json`: {error}")))?;
    let found = key.split('.').try_fold(&object, |value, part| value.get(part));
    match found {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(unknown(&object, key)),
    }
}

fn unknown(object: &Value, key: &str) -> Failure {
    let names: Vec<String> = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    Failure::new(
        ErrorKind::NotFound,
        format!("endpoint `{key}`: this stack has none of that name"),
    )
    .with_hint(format!("it has {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"rlp":"127.0.0.1:8083","pids":{"doppler":7}}"#;

    /// Strings have no quotes, so that a shell can use them. Numbers and objects are JSON.
    #[test]
    fn values_are_ready_for_a_shell() {
        assert_eq!(value(TEXT, "rlp").expect("there"), "127.0.0.1:8083");
        assert_eq!(value(TEXT, "pids.doppler").expect("there"), "7");
        assert_eq!(value(TEXT, "pids").expect("there"), r#"{"doppler":7}"#);
    }

    /// A wrong key is answered with the right ones.
    #[test]
    fn a_wrong_key_is_answered_with_the_right_ones() {
        let failure = value(TEXT, "uaa").expect_err("absent");
        assert_eq!(
            failure.to_string(),
            "error: endpoint `uaa`: this stack has none of that name\nhint: it has `pids`, `rlp`"
        );
    }
}
