//! The lines in an app's log about one of its drains: their texts and when they are written.

use std::time::{Duration, Instant};

use weir_drain::Binding;

use crate::drain::account::Account;
use crate::status::{Snapshot, State, rfc3339};

/// The largest number of lines in a row. After that there is one line per [`REFILL`].
const BURST: u32 = 4;
const REFILL: Duration = Duration::from_secs(30);

/// The first interval of reminders about a lasting state, and the longest one.
const REMIND: Duration = Duration::from_secs(30);
const REMIND_AT_LEAST: Duration = Duration::from_secs(600);

/// The last line that was written about one drain.
#[derive(Debug)]
pub(super) struct Lines {
    state: ReportedState,
    /// When the state is repeated if it lasts.
    remind_at: Instant,
    remind_after: Duration,
    lost: u64,
    /// The number of refused envelopes that were reported, by reason.
    refused: Vec<u64>,
    disk: bool,
    tokens: u32,
    refilled: Instant,
}

/// The state of the drain as the app's log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportedState {
    /// The log says nothing, or that the drain works.
    Works,
    Fails,
    IsSlow,
    OverLimit,
}

impl Lines {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: ReportedState::Works,
            remind_at: now,
            remind_after: REMIND,
            lost: 0,
            refused: Vec::new(),
            disk: false,
            tokens: BURST,
            refilled: now,
        }
    }

    /// Returns the lines to be written now. If there are too many, the rest is written later, if it is still true then.
    pub(super) fn about(
        &mut self,
        binding: &Binding,
        status: &Snapshot,
        account: &Account,
        now: Instant,
        wall: i64,
    ) -> Vec<String> {
        // Tokens are added in whole steps, so that a check more often does not add more.
        while self.tokens < BURST && self.refilled + REFILL <= now {
            self.tokens += 1;
            self.refilled += REFILL;
        }
        if self.tokens == BURST {
            self.refilled = now;
        }
        let url = binding.url.safe();
        let mut written = Vec::new();
        self.about_state(url, status, account.lost(), now, wall, &mut written);
        self.about_disk(url, status, &mut written);
        self.about_losses(binding, account, &mut written);
        written
    }

    /// Returns whether one more line may be written, and counts it.
    fn may_write(&mut self) -> bool {
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
        written: &mut Vec<String>,
    ) {
        let is = match status.state {
            State::Retrying => ReportedState::Fails,
            State::OverLimit => ReportedState::OverLimit,
            // A drain is called slow only when this lasts. Before that it is catching up after an outage.
            State::Spilling if self.state == ReportedState::IsSlow || wall.saturating_sub(status.since) > SLOW => {
                ReportedState::IsSlow
            }
            State::Spilling | State::Flowing => ReportedState::Works,
            // The drain has new credentials, and it is not known yet whether they help.
            State::Connecting if self.state == ReportedState::Fails => return,
            State::Connecting => ReportedState::Works,
            State::Removed => return,
        };
        let changed = is != self.state;
        let reminds = !changed && matches!(is, ReportedState::Fails | ReportedState::IsSlow) && now >= self.remind_at;
        // Without a token, the state is not updated, and the line is written with the next token.
        if !(changed || reminds) || !self.may_write() {
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
        written.push(match is {
            ReportedState::Fails => {
                let since = rfc3339(status.since);
                let error = status.last_error.as_deref().unwrap_or("the reason is not known");
                let next = match status.next_try {
                    Some(next) if next > wall => format!("; next attempt in {} s", (next - wall) / 1_000_000_000 + 1),
                    _ => String::new(),
                };
                let wait = if status.waiting_lines == 1 { "waits" } else { "wait" };
                format!("syslog drain {url} fails since {since}: {error}; {waiting} {wait} for it, {lost_text}{next}")
            }
            ReportedState::IsSlow => {
                format!("syslog drain {url} is slower than this app; {waiting} on the way to it, {lost_text}")
            }
            ReportedState::Works if self.state == ReportedState::OverLimit => format!("syslog drain {url} is used now"),
            ReportedState::Works if status.waiting_lines > 0 => {
                let are = if status.waiting_lines == 1 { "is" } else { "are" };
                format!("syslog drain {url} works again; {waiting} {are} still on the way to it, {lost_text}")
            }
            ReportedState::Works => format!("syslog drain {url} works again; {lost_text}"),
            ReportedState::OverLimit => {
                format!("syslog drain {url} is not used: this app has more drains than the platform allows")
            }
        });
        self.state = is;
    }

    fn about_disk(&mut self, url: &str, status: &Snapshot, written: &mut Vec<String>) {
        match &status.disk_error {
            Some(error) if !self.disk && self.may_write() => {
                self.disk = true;
                written.push(format!(
                    "lines for syslog drain {url} cannot be kept on the platform's disk ({error}); what does not fit into \
                     memory will be lost until it works again"
                ));
            }
            None => self.disk = false,
            Some(_) => {}
        }
    }

    fn about_losses(&mut self, binding: &Binding, account: &Account, written: &mut Vec<String>) {
        let url = binding.url.safe();
        // The order matters: envelopes that are refused between the two reads are not taken for another kind of loss.
        let lost = account.lost();
        let refused = account.refused();
        // The list of reasons only grows, so positions stay valid.
        self.refused.resize(refused.len(), 0);
        let unreported: u64 = refused.iter().zip(&self.refused).map(|((_, is), told)| is - told).sum();
        let new_lost = lost.saturating_sub(self.lost).saturating_sub(unreported);
        for (index, (why, count)) in refused.iter().enumerate() {
            let new = count - self.refused[index];
            // The first refusals are reported at once, the others as soon as a line may be written.
            if new > 0 && self.may_write() {
                self.refused[index] = *count;
                self.lost += new;
                written.push(format!("{} not taken by syslog drain {url} and lost: {why}", were(new)));
            }
        }
        if new_lost > 0 && self.may_write() {
            self.lost += new_lost;
            let app = binding.source_id().unwrap_or_default();
            written.push(format!(
                "{new_lost} messages lost for application {app} in user provided syslog drain with url {url}"
            ));
        }
    }
}

/// How long a drain must have had its backlog on disk to be called slow, in nanoseconds.
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
