//! The connection to the drain: when it is opened, when it is closed, and what its end means.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use weir_drain::{Failure, Outcome, Outcomes, Sender, Stage, connect};

use super::{Order, Task};
use crate::drain::packing::Load;
use crate::drain::trials::QUIET;

/// The shortest time between two reconnections without a pause, after connections that had worked were closed.
const QUICK_RECONNECT: Duration = Duration::from_secs(10);

/// How long a connection may take to end after this side has closed it.
const CLOSING: Duration = Duration::from_secs(15);

/// An open connection.
pub(super) struct OpenConnection {
    sender: Option<Sender>,
    outcomes: Outcomes,
    since: Instant,
    /// Whether a shipment was handed over.
    carried: bool,
    /// Whether the drain accepted something.
    worked: bool,
    /// When this side closed the connection.
    closing_since: Option<Instant>,
}

/// The connection to the drain, or its absence.
pub(super) enum Connection {
    Down,
    Connecting(BoxFuture<'static, Result<(Sender, Outcomes), Failure>>),
    Up(OpenConnection),
}

type Connecting = BoxFuture<'static, Result<(Sender, Outcomes), Failure>>;

impl Connection {
    /// Returns the parts that can be waited for.
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

    /// Returns whether shipments can be handed over.
    pub(super) const fn takes(&self) -> bool {
        matches!(self, Self::Up(OpenConnection { sender: Some(_), .. }))
    }

    /// Hands over no further shipments. Outcomes of earlier ones still arrive.
    pub(super) fn stop_sending(&mut self) {
        if let Self::Up(ends) = self {
            ends.sender = None;
        }
    }

    /// Records that a shipment was handed over.
    pub(super) fn carries(&mut self) {
        if let Self::Up(ends) = self {
            ends.carried = true;
        }
    }

    /// Returns when one message may be tried alone. Returns `None` if the connection is not new any more.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        match self {
            Self::Up(ends) if !ends.carried => Some(ends.since + QUIET),
            _ => None,
        }
    }

    /// Records that the drain accepted something.
    pub(super) fn worked(&mut self) {
        if let Self::Up(ends) = self {
            ends.worked = true;
        }
    }
}

/// Waits for the next outcome if there is a connection, and otherwise for ever. Cancel safe.
pub(super) async fn next_outcome(outcomes: Option<&mut Outcomes>) -> Outcome {
    match outcomes {
        Some(outcomes) => outcomes.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for a connection if one is being opened, and otherwise for ever. Cancel safe.
pub(super) async fn connected(connecting: Option<&mut Connecting>) -> Result<(Sender, Outcomes), Failure> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

impl Task {
    /// Opens a connection if one is needed, and closes one that is not. Returns when to look again.
    pub(super) fn pump_connection(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.connection {
            Connection::Down => {
                // A stopping agent does not wait for a drain that fails. Its lines go to disk.
                if !self.has_work() || matches!(self.order, Order::Stop(_)) && self.breaker.has_failed() {
                    return None;
                }
                if let Some(until) = self.breaker.open_until(now) {
                    return Some(until);
                }
                // Cloned, so that connecting borrows nothing of the task, which continues meanwhile.
                let (binding, env) = (self.me.binding(), Arc::clone(&self.env));
                let connecting = async move { connect(&binding, &env.settings, &env.tasks).await };
                self.connection = Connection::Connecting(connecting.boxed());
                None
            }
            Connection::Connecting(_) => None,
            Connection::Up(OpenConnection {
                closing_since: Some(since),
                ..
            }) => Some(*since + CLOSING),
            Connection::Up(ends) => {
                let mut end = None;
                // An aggregate drain usually is a load balancer over several receivers. A new connection now and then
                // spreads the load.
                if self.me.binding().app.is_none() {
                    end = Some(ends.since + self.env.terms.aggregate_refresh);
                }
                if self.is_idle() {
                    let idle = self.used + self.env.terms.idle_timeout;
                    end = Some(end.map_or(idle, |end| end.min(idle)));
                }
                if end.is_some_and(|end| end <= now) {
                    self.close_in_order(now);
                    return Some(now + CLOSING);
                }
                end
            }
        }
    }

    /// Closes the connection in order: shipments that were handed over are still delivered.
    pub(super) fn close_in_order(&mut self, now: Instant) {
        if let Connection::Up(ends) = &mut self.connection {
            ends.sender = None;
            ends.closing_since = Some(now);
        }
    }

    /// Returns whether a connection that this side closed has not ended in time.
    pub(super) fn close_is_overdue(&self, now: Instant) -> bool {
        match &self.connection {
            Connection::Up(ends) => ends.closing_since.is_some_and(|since| since + CLOSING <= now),
            _ => false,
        }
    }

    pub(super) async fn connected(&mut self, result: Result<(Sender, Outcomes), Failure>, now: Instant) {
        match result {
            Ok((sender, outcomes)) => {
                self.used = now;
                self.reached = true;
                self.connection = Connection::Up(OpenConnection {
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

    /// Handles the end of the connection.
    pub(super) async fn broken(&mut self, failure: &Failure, now: Instant) {
        let (worked, closing) = match &self.connection {
            Connection::Up(ends) => (ends.worked, ends.closing_since.is_some()),
            _ => (false, false),
        };
        let closed = failure.stage == Stage::Closed;
        let answers = self.answers();
        let messages = self.flight.messages();
        // The answers to all requests have arrived, or nothing was in flight, so the end was the agent's own.
        let expected = closing && closed && (answers || messages == 0);
        // Servers close connections from time to time. This is no failure as long as the next connection works.
        let quick_reconnect =
            answers && closed && worked && self.quick_reconnect.is_none_or(|last| last + QUICK_RECONNECT <= now);
        let idle = self.is_idle();
        self.close_and_recall().await;
        if quick_reconnect {
            self.quick_reconnect = Some(now);
        } else if !expected && !idle {
            self.judge(failure, messages, now);
        }
        self.free_memory();
    }

    /// Handles a failure of the drain: the connection is dropped and opened again after a pause.
    pub(super) async fn fail(&mut self, failure: &Failure, now: Instant) {
        self.failed(failure, now);
        self.drop_connection().await;
    }

    /// Handles a failure of the drain: it is tried again after a pause.
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

    /// Drops the connection. What was not settled is sent again.
    pub(super) async fn drop_connection(&mut self) {
        self.close_and_recall().await;
        self.free_memory();
    }

    /// Drops the connection. What was not settled is in `loads` again.
    async fn close_and_recall(&mut self) {
        self.connection = Connection::Down;
        // The running job may be writing a copy of a shipment. Its result says which shipments are on disk.
        let clock = self.env.clock.clone();
        if let Some(finished) = self.backlog.settle_down(|| clock.instant()).await {
            self.finished(finished, clock.instant());
        }
        self.env
            .in_flight_bytes
            .fetch_sub(self.flight.bytes(), Ordering::Relaxed);
        // What was in flight is older than everything in `loads`, so it goes in front, in its order.
        let again = self.flight.take_unsettled().into_iter().chain(self.outgoing.take());
        for cargo in again.collect::<Vec<_>>().into_iter().rev() {
            self.loads.push_front(Load::Shipment(cargo));
        }
    }
}
