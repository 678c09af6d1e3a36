//! What is said in an app's log about one of its drains, and when.

use std::time::{Duration, Instant};

use weir_drain::Binding;

use crate::drain::account::Account;
use crate::status::{Snapshot, State, rfc3339};

/// Lines in a row at most; then one for each [`REFILL`].
const BURST: u32 = 4;
const REFILL: Duration = Duration::from_secs(30);

/// The first reminder of something that lasts, and the rarest.
const REMIND: Duration = Duration::from_secs(30);
const REMIND_AT_LEAST: Duration = Duration::from_secs(600);

/// What was said last about one drain.
#[derive(Debug)]
pub(super) struct Lines {
    state: Said,
    /// When it is said again if it lasts.
    remind_at: Instant,
    remind_after: Duration,
    lost: u64,
    /// Of the refused, by reason.
    refused: Vec<u64>,
    disk: bool,
    tokens: u32,
    refilled: Instant,
}

/// What an app's log knows of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing, or that it works.
    Works,
    Fails,
    IsSlow,
    OverLimit,
}

impl Lines {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Said::Works,
            remind_at: now,
            remind_after: REMIND,
            lost: 0,
            refused: Vec::new(),
            disk: false,
            tokens: BURST,
            refilled: now,
        }
    }

    /// What is to be said now. What there is no room for is said later, if it still holds.
    pub(super) fn about(
        &mut self,
        binding: &Binding,
        status: &Snapshot,
        account: &Account,
        now: Instant,
        wall: i64,
    ) -> Vec<String> {
        while self.tokens < BURST && self.refilled + REFILL <= now {
            self.tokens += 1;
            self.refilled += REFILL;
        }
        if self.tokens == BURST {
            self.refilled = now;
        }
        let url = binding.url.safe();
        let mut said = Vec::new();
        self.about_state(url, status, account.lost(), now, wall, &mut said);
        self.about_disk(url, status, &mut said);
        self.about_losses(binding, account, &mut said);
        said
    }

    /// Takes the right to say something.
    fn may_say(&mut self) -> bool {
        let may = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        may
    }

    fn about_state(
        &mut self,
        url: &str,
        status: &Snapshot,
        lost: u64,
        now: Instant,
        wall: i64,
        said: &mut Vec<String>,
    ) {
        let is = match status.state {
            State::Retrying => Said::Fails,
            State::OverLimit => Said::OverLimit,
            // Slow is what stays so for a while; until then it only catches up.
            State::Spilling if self.state == Said::IsSlow || wall.saturating_sub(status.since) > SLOW => Said::IsSlow,
            State::Spilling | State::Flowing => Said::Works,
            // It has new credentials, and nobody knows yet whether they help.
            State::Connecting if self.state == Said::Fails => return,
            State::Connecting => Said::Works,
            State::Removed => return,
        };
        let changed = is != self.state;
        let reminds = !changed && matches!(is, Said::Fails | Said::IsSlow) && now >= self.remind_at;
        if !(changed || reminds) || !self.may_say() {
            return;
        }
        self.remind_after = if changed {
            REMIND
        } else {
            (self.remind_after * 2).min(REMIND_AT_LEAST)
        };
        self.remind_at = now + self.remind_after;
        let waiting = lines(status.waiting_lines);
        let lost_text = match lost {
            0 => "none was lost".to_owned(),
            lost => format!("{} lost so far", were(lost)),
        };
        said.push(match is {
            Said::Fails => {
                let since = rfc3339(status.since);
                let error = status.last_error.as_deref().unwrap_or("the reason is not known");
                let next = match status.next_try {
                    Some(next) if next > wall => format!("; next attempt in {} s", (next - wall) / 1_000_000_000 + 1),
                    _ => String::new(),
                };
                let wait = if status.waiting_lines == 1 { "waits" } else { "wait" };
                format!("syslog drain {url} fails since {since}: {error}; {waiting} {wait} for it, {lost_text}{next}")
            }
            Said::IsSlow => {
                format!("syslog drain {url} is slower than this app; {waiting} on the way to it, {lost_text}")
            }
            Said::Works if self.state == Said::OverLimit => format!("syslog drain {url} is used now"),
            Said::Works if status.waiting_lines > 0 => {
                let are = if status.waiting_lines == 1 { "is" } else { "are" };
                format!("syslog drain {url} works again; {waiting} {are} still on the way to it, {lost_text}")
            }
            Said::Works => format!("syslog drain {url} works again; {lost_text}"),
            Said::OverLimit => {
                format!("syslog drain {url} is not used: this app has more drains than the platform allows")
            }
        });
        self.state = is;
    }

    fn about_disk(&mut self, url: &str, status: &Snapshot, said: &mut Vec<String>) {
        match &status.disk_error {
            Some(error) if !self.disk && self.may_say() => {
                self.disk = true;
                said.push(format!(
                    "lines for syslog drain {url} cannot be kept on the platform's disk ({error}); what does not fit into \
                     memory will be lost until it works again"
                ));
            }
            None => self.disk = false,
            Some(_) => {}
        }
    }

    fn about_losses(&mut self, binding: &Binding, account: &Account, said: &mut Vec<String>) {
        let url = binding.url.safe();
        // In this order: what is refused meanwhile is not taken for another loss.
        let lost = account.lost();
        let refused = account.refused();
        self.refused.resize(refused.len(), 0);
        let untold: u64 = refused.iter().zip(&self.refused).map(|((_, is), told)| is - told).sum();
        let new_lost = lost.saturating_sub(self.lost).saturating_sub(untold);
        for (index, (why, count)) in refused.iter().enumerate() {
            let new = count - self.refused[index];
            // The first at once, then as many as there is room for.
            if new > 0 && self.may_say() {
                self.refused[index] = *count;
                self.lost += new;
                said.push(format!("{} not taken by syslog drain {url} and lost: {why}", were(new)));
            }
        }
        if new_lost > 0 && self.may_say() {
            self.lost += new_lost;
            let app = binding.source_id().unwrap_or_default();
            said.push(format!(
                "{new_lost} messages lost for application {app} in user provided syslog drain with url {url}"
            ));
        }
    }
}

/// A drain that has its backlog on disk for so long is slow, in nanoseconds.
const SLOW: i64 = 30_000_000_000;

fn lines(count: u64) -> String {
    if count == 1 {
        "1 line".to_owned()
    } else {
        format!("{count} lines")
    }
}

fn were(count: u64) -> String {
    if count == 1 {
        "1 line was".to_owned()
    } else {
        format!("{count} lines were")
    }
}
