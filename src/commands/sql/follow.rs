//! `weir sql --follow`: rows as they arrive, an object per line, until Ctrl-C.
//!
//! Between rows the log cache says what is not a row in objects whose key no column can have: `$missed` (rows that came
//! while we were too slow), `$error` and `$end`. Those go to standard error, so that the output is rows only.

use http_body_util::BodyExt as _;
use serde_json::Value;
use weir_error::ErrorKind;
use weir_net::AnswerBody;

use super::Query;
use crate::client::{Stack, again};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Output, note, thousands};

/// How every line begins that is not a row.
const REMARK: &[u8] = b"{\"$";

/// Prints rows as they come; connects again when the log cache restarts.
pub(super) async fn run(state: &StateDir, query: &Query, output: &mut Output) -> Result<(), Failure> {
    let mut body = query.send(&Stack::find(state)?).await?.into_body();
    loop {
        let why = print(&mut body, output).await?;
        note(&format!(
            "weir: {why}, connecting again; what arrives meanwhile is not shown"
        ));
        body = again(state, async |stack| query.send(&stack).await).await?.into_body();
        note("weir: connected again");
    }
}

/// Prints what comes until it ends; gives the reason where connecting again may help.
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

/// Says what is no row; gives the reason if it is the end.
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

/// Whole lines out of pieces.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    end: Option<String>,
}

impl Lines {
    /// Gives each complete line to `take`; a reason that it gives is kept.
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

    /// Lines are whole however they were cut on the way.
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

    /// What is no row ends the stream, fails it, or is just said.
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
