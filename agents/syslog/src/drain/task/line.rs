//! The connection: when it is made, when it is given up, and what its end means.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use weir_drain::{Failure, Outcome, Outcomes, Sender, Stage, connect};

use super::{Order, Task};
use crate::drain::packing::Load;
use crate::drain::trials::QUIET;

/// A connection that worked and was closed is made again at once, but not more often than this.
const HICCUP: Duration = Duration::from_secs(10);

/// A connection that we ended has so long to say that it is over.
const CLOSING: Duration = Duration::from_secs(15);

/// An open connection.
pub(super) struct Ends {
    sender: Option<Sender>,
    outcomes: Outcomes,
    since: Instant,
    /// Something was handed over.
    carried: bool,
    /// The drain took something.
    worked: bool,
    /// We ended it.
    closing_since: Option<Instant>,
}

/// The connection to the drain, or its absence.
pub(super) enum Line {
    Down,
    Connecting(BoxFuture<'static, Result<(Sender, Outcomes), Failure>>),
    Up(Ends),
}

type Connecting = BoxFuture<'static, Result<(Sender, Outcomes), Failure>>;

impl Line {
    /// What can be waited for.
    pub(super) fn ends(&mut self) -> (Option<&mut Sender>, Option<&mut Outcomes>, Option<&mut Connecting>) {
        match self {
            Self::Down => (None, None, None),
            Self::Connecting(connecting) => (None, None, Some(connecting)),
            Self::Up(ends) => (ends.sender.as_mut(), Some(&mut ends.outcomes), None),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self, Self::Connecting(_))
    }

    /// Whether shipments can be handed to it.
    pub(super) const fn takes(&self) -> bool {
        matches!(self, Self::Up(Ends { sender: Some(_), .. }))
    }

    /// It takes no more; its outcomes still come.
    pub(super) fn stop_sending(&mut self) {
        if let Self::Up(ends) = self {
            ends.sender = None;
        }
    }

    /// Something was handed over.
    pub(super) fn carries(&mut self) {
        if let Self::Up(ends) = self {
            ends.carried = true;
        }
    }

    /// When a message may be tried on it alone; `None`: it is not a new connection any more.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        match self {
            Self::Up(ends) if !ends.carried => Some(ends.since + QUIET),
            _ => None,
        }
    }

    /// The drain took something.
    pub(super) fn worked(&mut self) {
        if let Self::Up(ends) = self {
            ends.worked = true;
        }
    }
}

/// Waits for the next outcome, if there is a connection; else for ever. Cancel safe.
pub(super) async fn next_outcome(outcomes: Option<&mut Outcomes>) -> Outcome {
    match outcomes {
        Some(outcomes) => outcomes.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for a connection, if one is being made; else for ever. Cancel safe.
pub(super) async fn connected(connecting: Option<&mut Connecting>) -> Result<(Sender, Outcomes), Failure> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

impl Task {
    /// Makes a connection where one is wanted, and ends one that is not; says when to look again.
    pub(super) fn pump_line(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.line {
            Line::Down => {
                if !self.has_work() || matches!(self.order, Order::Stop(_)) && self.breaker.has_failed() {
                    return None;
                }
                if let Some(until) = self.breaker.open_until(now) {
                    return Some(until);
                }
                let (binding, env) = (self.me.binding(), Arc::clone(&self.env));
                let connecting = async move { connect(&binding, &env.settings, &env.tasks).await };
                self.line = Line::Connecting(connecting.boxed());
                None
            }
            Line::Connecting(_) => None,
            Line::Up(Ends {
                closing_since: Some(since),
                ..
            }) => Some(*since + CLOSING),
            Line::Up(ends) => {
                let mut end = None;
                if self.me.binding().app.is_none() {
                    end = Some(ends.since + self.env.terms.aggregate_refresh);
                }
                if self.is_idle() {
                    let idle = self.used + self.env.terms.idle_timeout;
                    end = Some(end.map_or(idle, |end| end.min(idle)));
                }
                if end.is_some_and(|end| end <= now) {
                    self.hang_up(now);
                    return Some(now + CLOSING);
                }
                end
            }
        }
    }

    /// Ends the connection in order: what was handed over is still delivered.
    pub(super) fn hang_up(&mut self, now: Instant) {
        if let Line::Up(ends) = &mut self.line {
            ends.sender = None;
            ends.closing_since = Some(now);
        }
    }

    /// Whether a connection that we ended does not come to its end.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        match &self.line {
            Line::Up(ends) => ends.closing_since.is_some_and(|since| since + CLOSING <= now),
            _ => false,
        }
    }

    pub(super) async fn connected(&mut self, result: Result<(Sender, Outcomes), Failure>, now: Instant) {
        match result {
            Ok((sender, outcomes)) => {
                self.used = now;
                self.reached = true;
                self.line = Line::Up(Ends {
                    sender: Some(sender),
                    outcomes,
                    since: now,
                    carried: false,
                    worked: false,
                    closing_since: None,
                });
                self.published = None;
            }
            Err(failure) => {
                self.trials.outage();
                self.fail(&failure, now).await;
            }
        }
    }

    /// The connection is over.
    pub(super) async fn broken(&mut self, failure: &Failure, now: Instant) {
        let (worked, closing) = match &self.line {
            Line::Up(ends) => (ends.worked, ends.closing_since.is_some()),
            _ => (false, false),
        };
        let closed = failure.stage == Stage::Closed;
        let answers = self.answers();
        let messages = self.flight.messages();
        let expected = closing && closed && (answers || messages == 0);
        // Most servers close connections now and then. That is no trouble as long as the next one works.
        let hiccup = answers && closed && worked && self.hiccup.is_none_or(|last| last + HICCUP <= now);
        let idle = self.is_idle();
        self.take_line_down().await;
        if hiccup {
            self.hiccup = Some(now);
        } else if !expected && !idle {
            self.judge(failure, messages, now);
        }
        self.free();
    }

    /// The drain fails: the connection is given up and made again after a pause.
    pub(super) async fn fail(&mut self, failure: &Failure, now: Instant) {
        self.failed(failure, now);
        self.drop_line().await;
    }

    /// The drain fails: it is tried again after a pause.
    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) {
        self.note_failure(failure);
        self.breaker.failed(failure.retry_after, now);
    }

    pub(super) fn note_failure(&mut self, failure: &Failure) {
        if !self.breaker.has_failed() {
            let binding = self.me.binding();
            tracing::info!(binding = %binding.id, drain = %binding.url, error = %failure, "drain fails, trying again until it works");
        }
        self.last_error = Some(failure.to_string().into());
        self.published = None;
    }

    /// Gives the connection up; what it had not settled is to be sent again.
    pub(super) async fn drop_line(&mut self) {
        self.take_line_down().await;
        self.free();
    }

    /// Gives the connection up; what it had not settled is in `loads` again.
    async fn take_line_down(&mut self) {
        self.line = Line::Down;
        // Only then it is known what is on disk.
        let clock = self.env.clock.clone();
        if let Some(finished) = self.backlog.settle_down(|| clock.instant()).await {
            self.finished(finished, clock.instant());
        }
        self.env.flying.fetch_sub(self.flight.bytes(), Ordering::Relaxed);
        let again = self.flight.take_unsettled().into_iter().chain(self.outgoing.take());
        for cargo in again.collect::<Vec<_>>().into_iter().rev() {
            self.loads.push_front(Load::Shipment(cargo));
        }
    }
}
