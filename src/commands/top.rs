//! `weir top`: shows the busiest sources, their rates and losses.
//!
//! Rates come from `Meta` of the log cache (stored and expired envelopes of each source), totals from the ledgers, and the losses of
//! each source from the table `drops`.

mod view;

use std::process::ExitCode;
use std::time::Duration;

use weir_proto::logcache_v1::{MetaRequest, MetaResponse};
use weir_service::clock;

use crate::client::{Stack, call};
use crate::commands::sql::{Format, Query, duration};
use crate::failure::Failure;
use crate::stack::{Counts, StatusLine};
use crate::state::StateDir;
use crate::terminal::{self, Output, Screen};

use view::{Sample, table};

const EXAMPLES: &str = "\
Examples:
  weir top                                  redraws every second on a terminal; Ctrl-C ends it
  weir top --once                           one look, for scripts
  weir top --interval 5s --rows 50

RATE is envelopes per second of a source; HELD what the log cache keeps of it; EXPIRED what it gave up for newer ones;
DROPPED what was lost on the way.";

const META: &str = "/logcache.v1.Egress/Meta";
/// The time limit of the query for losses, which must not delay the screen.
const DROPS_TIMEOUT: Duration = Duration::from_secs(2);

/// Watch the busiest sources, their rates and losses
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print one look and end
    #[arg(long)]
    once: bool,

    /// The time between two looks
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    interval: Duration,

    /// At most this many sources [default: what fits]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(&state)?;
    let redraw = terminal::stdout_is_terminal() && !args.once;
    // In a shorter time, little is counted, and the requests of this command would be a load themselves.
    let interval = args.interval.max(Duration::from_millis(100));
    let mut screen = Screen::default();
    let mut output = Output::stdout();
    let mut before = sample(&stack).await?;
    loop {
        tokio::time::sleep(interval).await;
        let now = sample(&stack).await?;
        let status = StatusLine {
            total: now.counts.clone(),
            last: now.counts.since(&before.counts),
            elapsed: now.at.duration_since(before.at),
        };
        let (_, rows) = terminal::size();
        // Of the terminal, 4 rows are taken: status, empty line, head of the table, and the row that `Screen` leaves free.
        let rows = args
            .rows
            .unwrap_or(if redraw { rows.saturating_sub(4) } else { usize::MAX });
        let mut lines = vec![status.to_string(), String::new()];
        lines.extend(table(&before, &now, rows));
        if redraw {
            screen.draw(&lines).map_err(|error| Failure::output(&error))?;
        } else {
            for line in &lines {
                output.line(line)?;
            }
            if args.once {
                return Ok(ExitCode::SUCCESS);
            }
            output.line("")?;
        }
        before = now;
    }
}

/// Reads the present state of the stack.
async fn sample(stack: &Stack) -> Result<Sample, Failure> {
    let meta: MetaResponse = call(&stack.log_cache()?, META, &MetaRequest::default()).await?;
    Ok(Sample {
        at: clock::instant(),
        sources: meta.meta,
        counts: Counts::read(&stack.state.ledger()),
        drops: drops(stack).await,
    })
}

/// Returns the losses by source; none if the query fails.
async fn drops(stack: &Stack) -> Vec<(String, u64)> {
    let sql = "select source_id, sum(count) as dropped from drops group by 1";
    let Ok(text) = Query::new(sql, Format::Ndjson)
        .with_timeout(DROPS_TIMEOUT)
        .text(stack)
        .await
    else {
        return Vec::new();
    };
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|row| {
            let dropped = &row["dropped"];
            let count = dropped
                .as_u64()
                .or_else(|| dropped.as_str().and_then(|text| text.parse().ok()))?;
            Some((row["source_id"].as_str()?.to_owned(), count))
        })
        .collect()
}
