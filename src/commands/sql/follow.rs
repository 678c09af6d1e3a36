//! `weir sql --follow`: prints rows as they arrive, one JSON object per line, until Ctrl-C.
//!
//! Between rows, the log cache sends remarks, whose keys no column can have: `$missed` (rows that a slow reader has missed),
//! `$error` and `$end`. They go to standard error, so that the output has only rows.

use http_body_util::BodyExt as _;
use serde_json::Value;
use weir_error::ErrorKind;
use weir_net::AnswerBody;

use super::Query;
use crate::client::{Stack, reconnect};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Output, note, thousands};

/// The beginning of a line that is a remark.
const REMARK: &[u8] = b"{\"$";

/// Prints rows as they arrive. Reconnects when the log cache restarts.
pub(super) async fn run(state: &StateDir, query: &Query, output: &mut Output) -> Result<(), Failure> {
    let mut body = query.send(&Stack::find(state)?).await?.into_body();
    loop {
        let why = print(&mut body, output).await?;
        note(&format!(
            "weir: {why}, connecting again; what arrives meanwhile is not shown"
        ));
        body = reconnect(state, async |stack| query.send(&stack).await)
            .await?
            .into_body();
        note("weir: connected again");
    }
}

/// Prints rows until the answer ends. Returns the reason of an end after which reconnecting may help.
async fn print(body: &mut AnswerBody, output: &mut Output) -> Result<String, Failure> {
    let mut lines = Lines::default();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok("the answer broke off".to_owned());
        };
        let Some(data) = frame.data_ref() else { continue };
        lines.push(data, |line| {
            if line.starts_with(REMARK) {
                remark(line)
            } else {
                output.text(line)?;
                output.text(b"\n")?;
                Ok(None)
            }
        })?;
        output.flush()?;
        if let Some(why) = lines.end.take() {
            return Ok(why);
        }
    }
    Ok("the answer ended".to_owned())
}

/// Prints a remark. Returns the reason if it announces the end.
fn remark(line: &[u8]) -> Result<Option<String>, Failure> {
    let remark: Value = serde_json::from_slice(line).unwrap_or_default();
    if let Some(missed) = remark["$missed"].as_u64() {
        note(&format!(
            "weir: {} rows came too fast to be looked at; they are in the log cache",
            thousands(missed)
        ));
    }
    if let Some(error) = remark["$error"].as_str() {
        let failure = Failure::new(ErrorKind::InvalidInput, error);
        return Err(match remark["$hint"].as_str() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        });
    }
    Ok(remark.get("$end").map(|_| "the log cache stopped".to_owned()))
}

/// Joins pieces of an answer into lines.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    end: Option<String>,
}

impl Lines {
    /// Passes each complete line to `take`, and keeps a reason that it returns.
    fn push(
        &mut self,
        mut data: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<Option<String>, Failure>,
    ) -> Result<(), Failure> {
        while let Some(end) = data.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&data[..end]);
            data = &data[end + 1..];
            let line = std::mem::take(&mut self.partial);
            if let Some(why) = take(&line)? {
                self.end = Some(why);
            }
        }
        self.partial.extend_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines are complete, wherever the pieces were cut.
    #[test]
    fn lines_are_whole() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in ["{\"a\":1}\n{\"a\"", ":2}", "\n"] {
            lines
                .push(piece.as_bytes(), |line| {
                    seen.push(String::from_utf8_lossy(line).into_owned());
                    Ok(None)
                })
                .expect("taken");
        }
        assert_eq!(seen, ["{\"a\":1}", "{\"a\":2}"]);
    }

    /// A remark is printed, ends the stream, or fails it.
    #[test]
    fn remarks_are_understood() {
        assert_eq!(remark(br#"{"$missed":12}"#).expect("just said"), None);
        assert_eq!(
            remark(br#"{"$end":"stopping"}"#).expect("an end").as_deref(),
            Some("the log cache stopped")
        );
        let failure = remark(br#"{"$error":"division by zero","$hint":"use nullif"}"#).expect_err("a failure");
        assert_eq!(failure.to_string(), "error: division by zero\nhint: use nullif");
    }
}
