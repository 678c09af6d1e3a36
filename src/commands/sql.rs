//! `weir sql 'QUERY'`: queries the log cache over HTTPS.

mod follow;
mod request;

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use http::HeaderMap;
use http_body_util::BodyExt as _;
use weir_error::ErrorKind;
use weir_net::AnswerBody;

use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Output, note, size, stdout_is_terminal};

pub(crate) use request::{Caller, Format, Query};

const EXAMPLES: &str = "\
Examples:
  weir sql \"select * from logs where source_id = 'web' order by timestamp desc limit 10\"
  weir sql \"select source_id, count(*) as lines from logs group by 1 order by 2 desc\"
  weir sql \"select source_id, reason, sum(count) from drops group by 1, 2\"
  weir sql --format csv \"select timestamp, name, value from gauges where source_id = 'web'\" > web.csv
  weir sql --vertical \"select * from logs where source_id = 'web' order by timestamp desc limit 1\"
  weir sql --follow \"select source_id, body from logs where body like '%ERROR%'\"
  weir sql - < report.sql

Tables: logs, counters, gauges, timers, events, drops. All start with timestamp, source_id, instance_id, seq, tags.
  logs      stream (OUT, ERR), source_type, body, body_bytes
  counters  name, delta, total          gauges  name, value, unit
  timers    name, start, stop           events  title, body
  drops     component, hop, reason, count";

/// Ask the log cache in SQL
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// One SELECT; `-` reads it from standard input
    query: String,

    /// How rows are printed
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    /// Print rows as they arrive, one JSON object per line, until Ctrl-C. For a filter and a projection of one table
    #[arg(long, conflicts_with_all = ["format", "timeout", "max_rows", "wide", "vertical"])]
    follow: bool,

    /// Give up after this long, e.g. 500ms, 10s, 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Print at most this many rows
    #[arg(long, value_name = "N")]
    max_rows: Option<u64>,

    /// Print a line for each column of a row, as a terminal gets them where a table would be wider than it is
    #[arg(long, short = 'x', conflicts_with = "format")]
    vertical: bool,

    /// Print all of each cell, and a table however wide; otherwise `…` stands for what is wider than 500 columns or higher
    /// than 200 lines
    #[arg(long)]
    wide: bool,

    /// Print long answers at once, not page by page by `$PAGER` (default: less)
    #[arg(long)]
    no_pager: bool,
}

impl Args {
    fn format(&self) -> Format {
        if self.vertical { Format::Vertical } else { self.format }
    }

    fn output(&self) -> Output {
        // Arrow is a binary format, which no pager can show.
        if self.no_pager || self.format == Format::Arrow {
            Output::stdout()
        } else {
            Output::paged()
        }
    }
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(&state)?;
    let sql = match args.query.as_str() {
        "-" => from_stdin()?,
        query => query.to_owned(),
    };
    if args.follow {
        follow::run(&state, &Query::following(sql), &mut Output::stdout()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let query = Query {
        sql,
        format: args.format(),
        timeout: args.timeout,
        max_rows: args.max_rows,
        follow: false,
        wide: args.wide,
        width: (stdout_is_terminal() && !args.wide).then(|| size().0),
        caller: Caller::User,
    };
    let response = query.send(&stack).await?;
    let remark = cut_short(&query, response.headers());
    let mut output = args.output();
    let printed = print(response.into_body(), &mut output).await;
    // A failure is printed after the pager is left, which would cover it.
    output.close()?;
    printed?;
    if let Some(remark) = remark {
        note(&remark);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the notice for an answer that the server truncated.
fn cut_short(query: &Query, headers: &HeaderMap) -> Option<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // With `--max-rows`, the user expects that the answer may be cut.
    let because_asked = match header("x-weir-truncated")? {
        "rows" => query.max_rows.is_some(),
        _ => false,
    };
    let rows = header("x-weir-rows").unwrap_or_default();
    (!because_asked)
        .then(|| format!("weir: these are only the first {rows} rows; aggregate, or page by a condition on `seq`"))
}

/// Prints the answer as it arrives.
async fn print(mut body: AnswerBody, output: &mut Output) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(ErrorKind::Unavailable, format!("the answer broke off: {error}"))
                .with_hint("what was printed is not all; ask again")
        })?;
        if let Some(data) = frame.data_ref() {
            output.text(data)?;
        }
    }
    Ok(())
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::io("standard input", &error))?;
    Ok(text)
}

/// Parses a duration such as `500ms`, `10s`, `2m` or `1h`. A number without a unit is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number and a unit, such as 500ms, 10s or 2m".to_owned())?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("`{other}` is no unit; known are ms, s, m, h")),
    };
    Ok(Duration::from_millis(number.saturating_mul(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations with known units are read, and others are refused.
    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        assert_eq!(duration("5d"), Err("`d` is no unit; known are ms, s, m, h".to_owned()));
        assert!(duration("soon").is_err());
        assert!(duration("").is_err());
    }
}
