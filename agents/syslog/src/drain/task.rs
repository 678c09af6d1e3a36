//! The task of a drain: it does everything that concerns the drain, one thing after the other.
//!
//! Undelivered envelopes are, from the oldest to the newest, in `trials` (messages that were set aside), `flight`
//! (handed to the transport), `outgoing`, `loads`, on disk, in `later`, and in the queue. `later` holds only what could
//! not be written to disk and belongs behind what is there. While `spilling` is set, envelopes from memory go to disk.
//! Otherwise they go directly to the drain, and there is nothing unread on disk.

mod connection;
mod delivery;
mod disk;
mod search;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};
use weir_drain::{BindingId, Closed, Failure, Outcome, Outcomes, Sender};
use weir_flow::Reason;

use super::backlog::{Backlog, Finished};
use super::breaker::Breaker;
use super::flight::{Cargo, Flight};
use super::packing::{Load, Packer};
use super::queue::Waiting;
use super::trials::Trials;
use super::{Control, Drain, Env, Order};
use crate::spill::Limits;
use crate::status::State;

use connection::Connection;

/// The time to the next wake-up if nothing needs one.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// The shortest time between two publications of the counts. A change of state is published at once.
const PUBLISH: Duration = Duration::from_millis(25);

/// The state of the task.
pub(super) struct Task {
    me: Arc<Drain>,
    env: Arc<Env>,
    control: watch::Receiver<Control>,
    order: Order,
    packer: Packer,
    breaker: Breaker,
    connection: Connection,
    flight: Flight,
    /// What broken connections tell about messages. Holds the messages that are set aside.
    trials: Trials,
    /// The next shipment, which waits until the transport accepts it.
    outgoing: Option<Cargo>,
    loads: VecDeque<Load>,
    backlog: Backlog,
    /// What belongs behind the backlog on disk.
    later: VecDeque<Load>,
    spilling: bool,
    /// Whether everything that was in flight when spilling began has a copy on disk.
    copied: bool,
    /// A buffer for parcels from the queue. It is kept to save allocations.
    taken: VecDeque<Waiting>,
    /// When parcels were last taken from the queue in order to send them.
    packed: Option<Instant>,
    /// When the connection was last used.
    used: Instant,
    /// Whether the drain was ever connected.
    reached: bool,
    /// When a connection that had worked was last closed and reopened without a pause.
    quick_reconnect: Option<Instant>,
    /// The fingerprint of the shipment that the drain refuses for a reason that concerns all shipments, and how often
    /// it did.
    repeated_refusal: Option<(u64, u32)>,
    last_error: Option<Arc<str>>,
    /// When the status was last published. `None` means that it should be published now.
    published: Option<Instant>,
    /// Whether anything has happened since.
    unpublished: bool,
    /// The binding under which the connection was made.
    connected_binding: BindingId,
    /// The number of signs that the drain can be reached again that were acted upon.
    signs: u64,
    /// When producers were last released from waiting while the disk fails.
    released: Instant,
    timer: std::pin::Pin<Box<Sleep>>,
}

/// The events that the task waits for.
enum Event {
    Control,
    Connected(Result<(Sender, Outcomes), Failure>),
    Sent(Result<(), Closed>),
    Outcome(Outcome),
    Disk(Finished),
    GiveUp(u64),
    Queue,
    Time,
}

impl Task {
    pub(super) fn new(me: Arc<Drain>, env: Arc<Env>, found: bool) -> Self {
        let binding = me.binding();
        let now = env.clock.instant();
        let mut backlog = Backlog::new(
            &env.tasks,
            env.folder(&binding),
            Limits::of(env.terms.spill),
            &env.budget,
            binding.source_id(),
            now,
        );
        // Only a drain that had a backlog before the restart. Others open one when they need it.
        if found {
            backlog.open();
        }
        Self {
            control: me.control.subscribe(),
            order: Order::Run,
            packer: Packer::new(&binding, env.terms.metadata),
            breaker: Breaker::default(),
            connection: Connection::Down,
            flight: Flight::default(),
            trials: Trials::default(),
            outgoing: None,
            loads: VecDeque::new(),
            backlog,
            later: VecDeque::new(),
            // A backlog that was found is older than anything that arrives.
            spilling: found,
            copied: true,
            taken: VecDeque::new(),
            packed: None,
            used: now,
            reached: false,
            quick_reconnect: None,
            repeated_refusal: None,
            last_error: None,
            published: None,
            unpublished: false,
            connected_binding: binding.id,
            signs: 0,
            released: now,
            timer: Box::pin(sleep_until((now + FAR).into())),
            me,
            env,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            // One reading of the clock for a whole turn, so that all parts agree on what is due.
            let now = self.env.clock.instant();
            if self.close_is_overdue(now) {
                self.drop_connection().await;
            }
            let wake = self.pump(now);
            let wake = self.publish_at(now).map_or(wake, |at| at.min(wake));
            if self.is_done(now) {
                break;
            }
            self.wake_at(wake, now);
            let event = self.next().await;
            self.unpublished = true;
            self.on(event).await;
        }
        self.end().await;
    }

    /// Does everything that can be done without waiting. Returns when this should be repeated at the latest.
    fn pump(&mut self, now: Instant) -> Instant {
        // The order matters: the search may put messages back, which the others then send or store.
        let search = self.pump_search(now);
        let disk = self.pump_disk(now);
        let connection = self.pump_connection(now);
        let delivery = self.pump_delivery(now);
        let order = match self.order {
            Order::Run => None,
            Order::Remove(by) | Order::Stop(by) => Some(by),
        };
        // Each part returned when it wants to be called again; the earliest of these counts.
        let wakes = [search, disk, connection, delivery, order];
        wakes.into_iter().flatten().min().unwrap_or(now + FAR)
    }

    /// Sets the timer. It is not moved back to a later time: an early wake-up does no harm, and setting the timer for
    /// each shipment would cost time.
    fn wake_at(&mut self, at: Instant, now: Instant) {
        let set = self.timer.deadline().into_std();
        // Resetting a timer costs a lock, so a timer that fires too early is left alone: the next turn sets it again.
        if at < set || set <= now {
            self.timer.as_mut().reset(at.into());
        }
    }

    async fn next(&mut self) -> Event {
        let Self {
            me,
            env,
            control,
            connection,
            flight,
            outgoing,
            backlog,
            timer,
            ..
        } = self;
        let clock = &env.clock;
        // While a job runs on disk, no second one can be started, so a request to give up bytes has to wait.
        let owed = if backlog.is_free() { backlog.owed() } else { None };
        let shipment = outgoing.as_ref().map(|cargo| flight.shipment(cargo));
        let (sender, outcomes, connecting) = connection.ends();
        tokio::select! {
            changed = control.changed() => match changed {
                Ok(()) => Event::Control,
                // The sender is dropped only when the agent ends.
                Err(_) => std::future::pending().await,
            },
            outcome = connection::next_outcome(outcomes) => Event::Outcome(outcome),
            sent = send(sender, shipment) => Event::Sent(sent),
            connected = connection::connected(connecting) => Event::Connected(connected),
            finished = backlog.done(|| clock.instant()) => Event::Disk(finished),
            bytes = Backlog::asked_to_give_up(owed.as_deref()) => Event::GiveUp(bytes),
            () = me.queue.changed() => Event::Queue,
            () = timer.as_mut() => Event::Time,
        }
    }

    async fn on(&mut self, event: Event) {
        let now = self.env.clock.instant();
        match event {
            Event::Control => self.controlled().await,
            Event::Connected(result) => self.connected(result, now).await,
            Event::Sent(Ok(())) => self.sent(now),
            // The stream of outcomes gives the reason.
            Event::Sent(Err(Closed)) => self.connection.stop_sending(),
            Event::Outcome(outcome) => self.outcome(outcome, now).await,
            Event::Disk(finished) => self.finished(finished, now),
            Event::GiveUp(bytes) if bytes > 0 => self.backlog.give_up(bytes),
            Event::GiveUp(_) | Event::Queue | Event::Time => {}
        }
    }

    async fn controlled(&mut self) {
        let Control { binding, order, signs } = self.control.borrow_and_update().clone();
        self.order = order;
        self.published = None;
        // A probe succeeded, or the same host and port was bound again. Both end the pause of the breaker.
        if signs != self.signs {
            self.signs = signs;
            self.breaker.retry_now();
        }
        if binding.id == self.connected_binding {
            return;
        }
        self.connected_binding = binding.id;
        // The credentials or the host name changed: a new connection is made, and what was in flight is sent again.
        self.drop_connection().await;
        self.recall_suspects();
        self.trials.begin_anew();
        self.breaker.succeeded();
        self.reached = false;
        self.packer = Packer::new(&binding, self.env.terms.metadata);
        self.backlog.rename(&self.env.folder(&binding));
    }

    /// Returns whether there is nothing left to do.
    fn is_done(&mut self, now: Instant) -> bool {
        match self.order {
            Order::Run => false,
            Order::Remove(by) => now >= by || (self.is_idle() && !self.backlog.exists() && self.backlog.is_free()),
            Order::Stop(by) => {
                let delivering =
                    self.connection.is_up() || (self.connection.is_connecting() && !self.breaker.has_failed());
                now >= by || !delivering || self.is_idle()
            }
        }
    }

    /// Returns whether nothing waits and nothing is in flight.
    fn is_idle(&self) -> bool {
        self.flight.is_empty() && self.trials.aside().is_empty() && !self.has_work()
    }

    /// Returns whether there is something to deliver that is not in flight.
    fn has_work(&self) -> bool {
        self.trials.wants_connection()
            || self.outgoing.is_some()
            || !self.loads.is_empty()
            || !self.later.is_empty()
            || self.backlog.facts().unread > 0
            || self.backlog.moving().0 > 0
            || self.me.queue.held().envelopes > 0
    }

    /// Ends the task. What is left is written to disk or counted as lost.
    async fn end(mut self) {
        self.me.ending.store(true, Ordering::Relaxed);
        // Closed before the last envelopes are counted. What the router pushes after this is counted by the router.
        self.me.queue.close();
        match self.order {
            Order::Remove(_) => self.discard_everything().await,
            Order::Run | Order::Stop(_) => self.save_everything().await,
        }
        self.publish();
        self.me.connected.store(false, Ordering::Relaxed);
        self.me.over.send_replace(true);
        // Reports are written by one task for all drains, which would otherwise learn of the end with the next interval
        // only.
        self.env.status_changed.notify_one();
    }

    /// Counts envelopes as lost.
    fn lose(&self, reason: Reason, losses: &[weir_flow::Loss]) {
        self.me.account.lose(reason, losses);
    }

    /// Publishes the status if [`PUBLISH`] has passed since the last time. Otherwise returns when to do it.
    fn publish_at(&mut self, now: Instant) -> Option<Instant> {
        match self.published {
            Some(published) if published + PUBLISH > now => Some(published + PUBLISH).filter(|_| self.unpublished),
            _ => {
                self.publish();
                self.published = Some(now);
                self.unpublished = false;
                None
            }
        }
    }

    /// Publishes the status of the drain.
    fn publish(&mut self) {
        let facts = self.backlog.facts();
        let held = self.me.queue.held();
        let (moving, moving_bytes) = self.backlog.moving();
        let (in_flight, in_flight_bytes) = self.flight.waiting();
        let in_hand = self.loads.iter().chain(&self.later);
        let (mut lines, mut bytes) = in_hand.fold((0, 0), |(lines, bytes), load| {
            (lines + load.envelopes(), bytes + load.bytes())
        });
        for cargo in self.outgoing.iter().chain(self.trials.aside()) {
            lines += u64::from(cargo.envelopes);
            bytes += cargo.bytes.len() as u64;
        }
        lines += held.envelopes as u64 + moving + in_flight + facts.unread;
        // The backlog counts bytes of what is not settled, so the bytes of what is unread are estimated by their share.
        let unread_bytes = facts
            .bytes
            .checked_mul(facts.unread)
            .and_then(|it| it.checked_div(facts.unsettled.max(1)));
        bytes += held.bytes as u64 + moving_bytes + in_flight_bytes + unread_bytes.unwrap_or(facts.bytes);
        let oldest = self.oldest(held.oldest);
        let state = self.state(lines);
        let now = self.env.clock.now_nanos();
        let next_try = self.breaker.open_until(self.env.clock.instant()).map(|until| {
            let pause = until.saturating_duration_since(self.env.clock.instant());
            now.saturating_add(i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX))
        });
        let error = self.breaker.has_failed().then(|| self.last_error.clone()).flatten();
        let disk_error = self.backlog.trouble().cloned();
        self.me.disk_failed.store(disk_error.is_some(), Ordering::Relaxed);
        self.me.connected.store(self.connection.is_up(), Ordering::Relaxed);
        let status_changed = self.me.status.update(now, |status| {
            status.state = state;
            status.waiting_lines = lines;
            status.waiting_bytes = bytes;
            status.oldest = oldest;
            // The value is computed from two clocks and differs by a little each time.
            let moved = status
                .next_try
                .zip(next_try)
                .is_none_or(|(before, after)| before.abs_diff(after) > 1_000_000);
            if moved {
                status.next_try = next_try;
            }
            status.last_error = error;
            status.disk_error = disk_error;
        });
        if status_changed {
            self.env.status_changed.notify_one();
        }
    }

    fn state(&self, waiting: u64) -> State {
        if matches!(self.order, Order::Remove(_)) {
            State::Removed
        } else if self.breaker.has_failed() {
            State::Retrying
        } else if !self.reached {
            State::Connecting
        } else if self.spilling && waiting > 0 {
            State::Spilling
        } else {
            State::Flowing
        }
    }

    /// Returns when the oldest envelope that waits arrived, in nanoseconds since the epoch.
    fn oldest(&self, queued: Option<Instant>) -> Option<i64> {
        let aside = self.trials.aside().front().map(|cargo| cargo.arrived);
        let in_hand = aside.or_else(|| self.flight.oldest_arrival()).or_else(|| {
            let outgoing = self.outgoing.as_ref().map(|cargo| cargo.arrived);
            outgoing.or_else(|| self.loads.front().map(Load::arrived))
        });
        in_hand
            .or_else(|| self.backlog.facts().oldest)
            .or_else(|| self.later.front().map(Load::arrived))
            .or_else(|| queued.map(|since| self.arrival(since)))
    }

    /// Converts a moment of the monotonic clock to nanoseconds since the epoch.
    fn arrival(&self, since: Instant) -> i64 {
        let age = self.env.clock.instant().saturating_duration_since(since);
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        self.env.clock.now_nanos().saturating_sub(age)
    }
}

async fn send(sender: Option<&mut Sender>, shipment: Option<weir_drain::Shipment>) -> Result<(), Closed> {
    match (sender, shipment) {
        (Some(sender), Some(shipment)) => sender.send(shipment).await,
        _ => std::future::pending().await,
    }
}
