//! Checks of the stack: whether it runs, whether every server answers under its name, and whether envelopes were lost.

use std::time::Duration;

use weir_component::{Component as _, Description, Port};
use weir_error::ErrorKind;
use weir_flow::LedgerSnapshot;
use weir_platform_route_registrar::INTERFACES;

use super::Finding;
use crate::client::Stack;
use crate::commands::drain;
use crate::commands::sql::{Format, Query};
use crate::components::Table;
use crate::stack::{Counts, Ports};
use crate::state::{Endpoints, Lock, StateDir};
use crate::terminal::thousands;

/// The time after which a server on this machine counts as not answering.
const DEADLINE: Duration = Duration::from_secs(5);

/// The number of reads of the ledgers until those of doppler and log cache agree.
const LOOKS: u32 = 50;
/// The time between two reads of the ledgers.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

const DOPPLER: &str = weir_doppler_server::Server::DESCRIPTION.name;
const LOG_CACHE: &str = weir_log_cache_server::Server::DESCRIPTION.name;

/// Returns all findings.
pub(super) async fn findings(state: &StateDir, table: &Table) -> Vec<Finding> {
    let stack = match Stack::find(state) {
        Ok(stack) => stack,
        Err(failure) => return absent(state, table, &failure.to_string()),
    };
    let mut findings = vec![Finding::fine(
        "stack",
        format!("is running (process {})", Lock::holder(state).unwrap_or_default()),
    )];
    for (port, address, name) in servers(table, &stack.endpoints) {
        findings.push(answers(&stack, port, address, name).await);
    }
    // With `--only`, the other components are not missing.
    let runs = |component| stack.endpoints.pids.contains_key(component);
    if runs(LOG_CACHE) {
        findings.push(sql(&stack).await);
    }
    if runs(weir_agents_syslog::Server::DESCRIPTION.name) {
        findings.extend(drains(&stack).await);
    }
    if runs(DOPPLER) && runs(LOG_CACHE) {
        findings.push(storage(state).await);
    }
    if runs(weir_platform_names_proxy::Server::DESCRIPTION.name) {
        findings.push(names(&stack).await);
    }
    findings.push(losses(state));
    findings
}

/// Checks whether the names of the stack's interfaces lead through the names proxy and the router to answers.
async fn names(stack: &Stack) -> Finding {
    let (mut answered, mut problems) = (Vec::new(), Vec::new());
    for (label, key) in INTERFACES {
        if !stack.endpoints.addresses.contains_key(key) {
            continue;
        }
        let name = format!("{label}.{}", stack.endpoints.domain);
        match stack.ask_by_name(&name, "/").await {
            // Any answer of the interface itself will do.
            Ok(answer) if answer.router_error.is_none() => answered.push(name),
            Ok(answer) => problems.push(format!("`{name}` answers {answer}")),
            Err(error) => problems.push(format!("`{name}`: {error}")),
        }
    }
    match problems.is_empty() {
        true => Finding::fine("names", format!("{} answer through the router", answered.join(", "))),
        false => Finding::broken(
            "names",
            problems.join("; "),
            "`weir route list` says what is registered; look into the logs of gorouter and route registrar",
        ),
    }
}

/// Checks by their ledgers whether the log cache took all envelopes that the doppler sent to it.
async fn storage(state: &StateDir) -> Finding {
    let ledger = |component| {
        let read = LedgerSnapshot::read(&state.ledger(), component);
        read.ok().flatten().unwrap_or_default()
    };
    let (mut doppler, mut log_cache) = (ledger(DOPPLER), ledger(LOG_CACHE));
    for _ in 0..LOOKS {
        if doppler.storing > 0 && log_cache.stored >= doppler.stored {
            break;
        }
        // Ledgers are written once a second. A file may be older than the subscription, or than the other file.
        tokio::time::sleep(BETWEEN_LOOKS).await;
        if doppler.storing <= 0 {
            doppler = ledger(DOPPLER);
        }
        log_cache = ledger(LOG_CACHE);
    }
    stored(&doppler, &log_cache)
}

/// Compares the envelopes that the doppler sent to the log cache with those that the log cache took.
fn stored(doppler: &LedgerSnapshot, log_cache: &LedgerSnapshot) -> Finding {
    if doppler.storing <= 0 {
        return Finding::broken(
            "log cache",
            "is not subscribed at the doppler: what comes now is not stored",
            "the doppler's log says whether it refuses it (`max_durable_subscriptions`), the log cache's why it cannot \
             reach it",
        );
    }
    let (sent, took) = (doppler.stored, log_cache.stored);
    match sent.saturating_sub(took) {
        0 => Finding::fine(
            "log cache",
            format!("took all {} envelopes that the doppler gave it", thousands(sent)),
        ),
        missing => Finding::odd(
            "log cache",
            format!(
                "took {} envelopes, {} fewer than the doppler says it gave it",
                thousands(took),
                thousands(missing)
            ),
            "one that was killed has not counted its last second; if the number grows, look into its log",
        ),
    }
}

/// Returns the findings without a running stack: whether one could start.
fn absent(state: &StateDir, table: &Table, failure: &str) -> Vec<Finding> {
    let mut findings = vec![match Lock::holder(state) {
        Some(pid) => Finding::odd(
            "stack",
            format!("process {pid} is starting or stopping it"),
            "look again in a moment",
        ),
        None if state.endpoints().exists() => Finding::odd(
            "stack",
            failure.lines().next().unwrap_or_default().trim_start_matches("error: "),
            format!("start it again with `weir{} up`", state.as_flag()),
        ),
        None => Finding::fine(
            "stack",
            format!("is not running; `weir{} up` starts it", state.as_flag()),
        ),
    }];
    let taken = Ports::usual(table).taken(table);
    if taken.is_empty() {
        findings.push(Finding::fine("ports", "the usual ones are free"));
    }
    for one in taken {
        findings.push(Finding::odd(
            "ports",
            one.to_string(),
            "stop who has it, or start with `weir up --ports auto`",
        ));
    }
    findings
}

/// Returns every port in `endpoints.json`, its address and its server name.
fn servers<'e>(table: &Table, endpoints: &'e Endpoints) -> Vec<(&'static Port, &'e str, &'static str)> {
    let known = |(port, component): (&'static Port, &Description)| {
        let address = endpoints.addresses.get(port.key)?;
        Some((port, address.as_str(), component.server_name()))
    };
    table.ports().filter_map(known).collect()
}

/// Connects to a port, and does a TLS handshake where it has TLS.
async fn answers(stack: &Stack, port: &Port, address: &str, name: &str) -> Finding {
    let key = port.key;
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let attempt = tokio::time::timeout(DEADLINE, stack.handshake(port, address, name)).await;
    let result = attempt.unwrap_or_else(|_| Err("no answer within 5 s".to_owned()));
    match result {
        Ok(()) => Finding::fine("server", format!("{key} answers at `{address}`")),
        Err(error) => Finding::broken(
            "server",
            format!("{key} at `{address}`: {error}"),
            format!(
                "its log is in `{}`; restart the stack if it stays so",
                stack.state.logs().display()
            ),
        ),
    }
}

/// Sends a query to the log cache, which also shows that the query engine works and lines arrive.
async fn sql(stack: &Stack) -> Finding {
    let query = Query::new("select count(*) as n from logs", Format::Csv).with_timeout(DEADLINE);
    match query.text(stack).await {
        Ok(text) => {
            let count: u64 = text
                .lines()
                .nth(1)
                .and_then(|line| line.trim().parse().ok())
                .unwrap_or(0);
            Finding::fine("sql", format!("answers; {} log lines are held", thousands(count)))
        }
        // A build without the feature `sql` is not broken.
        Err(failure) if failure.kind() == ErrorKind::Unimplemented => {
            Finding::fine("sql", failure.message().to_owned())
        }
        Err(failure) => Finding::broken(
            "sql",
            failure.to_string().replace('\n', "; "),
            "look into the log cache's log",
        ),
    }
}

/// Checks the drains, and whether their sources could be read.
async fn drains(stack: &Stack) -> Vec<Finding> {
    let (drains, cache) = match drain::look(stack).await {
        Ok(found) => found,
        Err(failure) => {
            return vec![Finding::broken(
                "drains",
                failure.message(),
                "look into the logs of the syslog agent and the binding cache",
            )];
        }
    };
    let mut findings = Vec::new();
    for source in &cache.sources {
        if let Some(error) = &source.error {
            let since = source.stale_since.as_deref().unwrap_or_default();
            findings.push(Finding::odd(
                "drains",
                format!("those of `{}` are as they were at {since}: {error}", source.place),
                "what was read before stays in force until it can be read again",
            ));
        }
    }
    if cache.refused_count > 0 {
        let first = cache.refused.first().map_or("", |refused| refused.text.as_str());
        findings.push(Finding::odd(
            "drains",
            format!(
                "{} cannot be used as they are: {first}",
                thousands(cache.refused_count as u64)
            ),
            "the apps are told in their own streams",
        ));
    }
    let troubled: Vec<_> = drains.iter().filter(|drain| drain.is_in_trouble()).collect();
    if let Some(first) = troubled.first() {
        let why = first.last_error.as_deref().unwrap_or(&first.state);
        findings.push(Finding::odd(
            "drains",
            format!(
                "{} of {} are in trouble, such as that of `{}` to `{}`: {why}",
                troubled.len(),
                drains.len(),
                first.app,
                first.url
            ),
            "`weir drain list` shows all, `weir drain probe URL` looks why",
        ));
    }
    if findings.is_empty() {
        findings.push(match drains.len() {
            0 => Finding::fine("drains", "there are none"),
            1 => Finding::fine("drains", "the one there is flows"),
            count => Finding::fine("drains", format!("all {count} flow")),
        });
    }
    findings
}

fn losses(state: &StateDir) -> Finding {
    let counts = Counts::read(&state.ledger());
    match counts.dropped_total() {
        0 => Finding::fine("losses", format!("none of {} envelopes", thousands(counts.received))),
        lost => Finding::odd(
            "losses",
            format!(
                "{} envelopes were lost since this directory was made:\n{}",
                thousands(lost),
                counts.losses().join("\n")
            ),
            "`weir sql \"select source_id, reason, sum(count) from drops group by 1, 2\"` says whose",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(storing: i64, stored: u64) -> LedgerSnapshot {
        LedgerSnapshot {
            storing,
            stored,
            ..LedgerSnapshot::default()
        }
    }

    /// A log cache without a subscription is broken, and one that took fewer envelopes than were sent is odd.
    #[test]
    fn a_log_cache_that_misses_something_is_found() {
        let found = |storing, sent, took| stored(&ledger(storing, sent), &ledger(0, took)).to_text();
        assert!(
            found(1, 5000, 5000).starts_with("ok     log cache     took all 5,000"),
            "{}",
            found(1, 5000, 5000)
        );
        assert!(
            found(1, 5000, 5010).starts_with("ok "),
            "it counts before it acknowledges"
        );
        assert!(found(1, 5000, 4000).starts_with("odd    log cache     took 4,000 envelopes, 1,000 fewer"));
        assert!(found(0, 5000, 5000).starts_with("BROKEN log cache     is not subscribed"));
    }
}
