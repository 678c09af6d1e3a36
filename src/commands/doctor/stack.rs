//! Checks of the stack: is it there, does every server answer under its name, do envelopes get lost.

use std::time::Duration;

use super::Finding;
use crate::client::Stack;
use crate::commands::sql::{Format, Query};
use crate::stack::{Component, Counts, Ports};
use crate::state::{Lock, StateDir};
use crate::terminal::thousands;

/// A server on this machine that has not answered by then does not answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// All of them.
pub(super) async fn findings(state: &StateDir) -> Vec<Finding> {
    let stack = match Stack::find(state) {
        Ok(stack) => stack,
        Err(failure) => return absent(state, &failure.to_string()),
    };
    let mut findings = vec![Finding::fine(
        "stack",
        format!("is running (process {})", Lock::holder(state).unwrap_or_default()),
    )];
    for (key, address, name) in servers(&stack) {
        findings.push(answers(&stack, key, address, name).await);
    }
    findings.push(sql(&stack).await);
    findings.push(losses(state));
    findings
}

/// Without a stack, the question is whether one could start.
fn absent(state: &StateDir, failure: &str) -> Vec<Finding> {
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
    let taken = Ports::default().taken();
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

fn servers(stack: &Stack) -> [(&'static str, &str, &'static str); 7] {
    let endpoints = &stack.endpoints;
    let [cache, controller, rlp, doppler, agent] = Component::IN_ORDER.map(|component| component.server_names()[0]);
    [
        ("agent", &endpoints.agent, agent),
        ("doppler", &endpoints.doppler, doppler),
        ("rlp", &endpoints.rlp, rlp),
        ("traffic_controller", &endpoints.traffic_controller, controller),
        ("log_cache", &endpoints.log_cache, cache),
        ("log_cache_gateway", &endpoints.log_cache_gateway, cache),
        ("sql_http", &endpoints.sql_http, cache),
    ]
}

/// Connects and shakes hands, which proves port, process and certificates.
async fn answers(stack: &Stack, key: &str, address: &str, name: &str) -> Finding {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let attempt = tokio::time::timeout(DEADLINE, stack.handshake(address, name)).await;
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

/// One question to the log cache says more than a handshake: that the query engine works, and that lines arrive.
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
        Err(failure) => Finding::broken(
            "sql",
            failure.to_string().replace('\n', "; "),
            "look into the log cache's log",
        ),
    }
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
