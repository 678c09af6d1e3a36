//! `weir drain list`: shows the status of all drains.

use std::process::ExitCode;

use chrono::DateTime;
use weir_error::ErrorKind;
use weir_service::clock;

use super::status::{self, CacheStatus, Drain, UNKNOWN};
use super::store;
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Output, thousands};

const EXAMPLES: &str = "\
Examples:
  weir drain list                           all drains of the stack, wherever they come from
  weir drain list --json | jq '.[] | select(.state != \"flowing\")'

STATE: connecting; flowing; retrying (away, what waits is in memory); spilling (what waits is on disk
as well); over_limit (too many drains of one source: nothing is sent); removed; unknown (added, and
not applied). WAITING counts lines that are not delivered yet, LAG is the age of the oldest, LOST
what was dropped and counted.";

/// The number of digits of an id that are shown.
const DIGITS: usize = 12;

/// Show all drains and how they are doing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// As JSON, with whole IDs and everything else
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(state)?;
    let mut drains = status::drains(&stack).await?;
    let cache = status::cache(&stack).await?;
    add_unknown(&mut drains, state, &cache)?;
    drains.sort_by(|one, other| (&one.app, &one.url, &one.binding).cmp(&(&other.app, &other.url, &other.binding)));
    let mut output = Output::stdout();
    if args.json {
        let text = serde_json::to_string_pretty(&drains)
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("drains: {error}")))?;
        output.text(format!("{text}\n").as_bytes())?;
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    // Scripts get all drains. On a screen, a removed one matters only while lines wait for it.
    drains.retain(|drain| drain.state != "removed" || drain.waiting_lines > 0);
    if drains.is_empty() {
        output.line("no drains; add one with `weir drain add --source-id ID URL`")?;
    } else {
        for line in table(&drains, clock::now_nanos()) {
            output.line(&line)?;
        }
    }
    for source in cache.sources.iter().filter(|source| source.error.is_some()) {
        let since = source.stale_since.as_deref().unwrap_or_default();
        let error = source.error.as_deref().unwrap_or_default();
        output.line(&format!(
            "warning: drains of `{}` are as they were at {since}: {error}",
            source.place
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds the drains that are in the file and not at the agent, with the reason of a refusal.
fn add_unknown(drains: &mut Vec<Drain>, state: &StateDir, cache: &CacheStatus) -> Result<(), Failure> {
    for drain in store::read(state)?.drains {
        let (id, url) = match drain.binding() {
            Ok(binding) => (binding.id.to_string(), binding.url.safe().to_owned()),
            Err(refusal) => (String::new(), refusal.url_safe),
        };
        if !id.is_empty() && drains.iter().any(|row| row.binding == id) {
            continue;
        }
        let refused = cache
            .refused
            .iter()
            .find(|refused| refused.app == drain.source_id && refused.url == url);
        drains.push(Drain {
            binding: id,
            app: drain.source_id,
            url,
            state: UNKNOWN.to_owned(),
            last_error: refused.map(|refused| refused.text.clone()),
            ..Drain::default()
        });
    }
    Ok(())
}

/// Returns aligned lines. The error of a drain is on a line below it.
fn table(drains: &[Drain], now: i64) -> Vec<String> {
    const RIGHT: [bool; 8] = [false, false, false, false, true, true, true, false];
    let head = ["ID", "SOURCE", "STATE", "SINCE", "WAITING", "LOST", "LAG", "URL"].map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(head)
        .chain(drains.iter().map(|drain| row(drain, now)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..RIGHT.len()).map(width).collect();
    let mut lines = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).zip(RIGHT).map(|((cell, &width), right)| {
            if right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
        let drain = index.checked_sub(1).and_then(|index| drains.get(index));
        let Some(drain) = drain.filter(|drain| drain.state != "flowing") else {
            continue;
        };
        if let Some(error) = &drain.last_error {
            let next = drain.next_try.as_deref().and_then(|at| age(at, now));
            let next = next
                .filter(|age| *age <= 0)
                .map_or_else(String::new, |age| format!("; next try in {}", duration(-age)));
            lines.push(format!("{:indent$}{error}{next}", "", indent = widths[0] + 2));
        }
    }
    lines
}

fn row(drain: &Drain, now: i64) -> [String; 8] {
    let since = drain.since.as_deref().and_then(|since| age(since, now));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds are shown as whole seconds at most"
    )]
    let lag = (drain.lag_ms / 1000.0) as i64;
    [
        drain.binding.chars().take(DIGITS).collect(),
        drain.app.clone(),
        drain.state.clone(),
        since.map_or_else(String::new, |age| format!("{} ago", duration(age.max(0)))),
        thousands(drain.waiting_lines),
        thousands(drain.lost),
        duration(lag),
        drain.url.clone(),
    ]
}

/// Returns the seconds since a time; negative for a time in the future.
fn age(time: &str, now: i64) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(time).ok()?.timestamp_nanos_opt()?;
    Some((now - time) / 1_000_000_000)
}

/// Returns a duration in its two largest units.
fn duration(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use weir_agents_binding_cache::statics::{StaticDrain, StaticDrains};

    use super::*;

    /// Each drain has a line, with its error below.
    #[test]
    fn drains_line_up() {
        let now = DateTime::parse_from_rfc3339("2026-01-03T10:11:12Z")
            .expect("a time")
            .timestamp_nanos_opt();
        let drains = [
            Drain {
                binding: "0123456789abcdef0123456789abcdef".to_owned(),
                app: "web".to_owned(),
                url: "syslog://h:1".to_owned(),
                state: "flowing".to_owned(),
                since: Some("2026-01-03T08:11:12.000Z".to_owned()),
                last_error: Some("of before".to_owned()),
                ..Drain::default()
            },
            Drain {
                binding: "fedcba9876543210fedcba9876543210".to_owned(),
                app: "worker".to_owned(),
                url: "https://h/x".to_owned(),
                state: "spilling".to_owned(),
                since: Some("2026-01-03T10:09:42.000Z".to_owned()),
                waiting_lines: 12_345,
                lost: 7,
                lag_ms: 90_500.0,
                last_error: Some("connection refused".to_owned()),
                next_try: Some("2026-01-03T10:11:20.000Z".to_owned()),
                ..Drain::default()
            },
        ];
        assert_eq!(
            table(&drains, now.expect("in range")),
            [
                "ID            SOURCE  STATE     SINCE      WAITING  LOST    LAG  URL",
                "0123456789ab  web     flowing   2h00m ago        0     0     0s  syslog://h:1",
                "fedcba987654  worker  spilling  1m30s ago   12,345     7  1m30s  https://h/x",
                "              connection refused; next try in 8s",
            ]
        );
    }

    /// A drain that was added and is not applied is listed, with the reason.
    #[test]
    fn what_is_not_applied_is_listed() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let drain = StaticDrain {
            source_id: "web".to_owned(),
            hostname: String::new(),
            url: "syslog://u:hunter2@10.0.0.1:1".to_owned(),
            cert: String::new(),
            key: String::new(),
            ca: String::new(),
        };
        let id = drain.binding().expect("valid").id.to_string();
        let store = store::Store::take(&state).expect("taken");
        store.write(&StaticDrains { drains: vec![drain] }).expect("written");
        let refused = weir_agents_binding_cache::status::Refused {
            app: "web".to_owned(),
            url: "syslog://10.0.0.1:1".to_owned(),
            text: "is blacklisted".to_owned(),
            used: false,
        };
        let cache = CacheStatus {
            refused: vec![refused],
            ..CacheStatus::default()
        };
        let mut drains = Vec::new();
        add_unknown(&mut drains, &state, &cache).expect("read");
        assert_eq!(
            (drains[0].state.as_str(), drains[0].last_error.as_deref()),
            (UNKNOWN, Some("is blacklisted"))
        );
        assert!(!format!("{drains:?}").contains("hunter2"));
        add_unknown(&mut drains, &state, &cache).expect("read");
        assert_eq!((drains.len(), drains[0].binding.as_str()), (1, id.as_str()));
    }
}
