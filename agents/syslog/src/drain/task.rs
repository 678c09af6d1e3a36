//! The task of a drain: everything that happens to it, one thing after the other.
//!
//! What is to be delivered lies, oldest first, in `trials` (set aside), `flight` (handed to the transport), `outgoing`,
//! `loads`, on disk, `later`, and the queue. `later` is only ever filled with what could not be written to disk, behind which it belongs.
//! While `spilling`, what is in memory goes to disk; else it goes to the drain directly, and there is nothing unread on
//! disk.

mod delivery;
mod disk;
mod line;
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

use line::Line;

/// A wake-up that is never needed.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// The numbers are told so often at most; a change of state at once.
const PUBLISH: Duration = Duration::from_millis(25);

/// See the module.
pub(super) struct Task {
    me: Arc<Drain>,
    env: Arc<Env>,
    control: watch::Receiver<Control>,
    order: Order,
    packer: Packer,
    breaker: Breaker,
    line: Line,
    flight: Flight,
    /// What broken connections say about messages; holds those that are set aside.
    trials: Trials,
    /// Waits for the transport's window.
    outgoing: Option<Cargo>,
    loads: VecDeque<Load>,
    backlog: Backlog,
    /// Belongs behind what is on disk.
    later: VecDeque<Load>,
    spilling: bool,
    /// What was under way when it began to spill has copies on disk.
    copied: bool,
    /// For taking things out of the queue.
    taken: VecDeque<Waiting>,
    /// When something was last taken out of the queue for sending.
    packed: Option<Instant>,
    /// When the connection was last used.
    used: Instant,
    /// It was connected to at least once.
    reached: bool,
    /// A connection that had worked broke, and the next attempt was made at once.
    hiccup: Option<Instant>,
    /// The shipment that the drain refused for a reason that is about all of them, and how often.
    stubborn: Option<(u64, u32)>,
    last_error: Option<Arc<str>>,
    /// When the numbers were last told; `None`: tell them now.
    published: Option<Instant>,
    /// Something happened since.
    unpublished: bool,
    /// Whose connection it is.
    bound: BindingId,
    /// Signs that the drain is back that were heeded.
    signs: u64,
    /// When it was last looked after what producers wait for while the disk fails.
    released: Instant,
    timer: std::pin::Pin<Box<Sleep>>,
}

/// What the task waits for.
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
        if found {
            backlog.open();
        }
        Self {
            control: me.control.subscribe(),
            order: Order::Run,
            packer: Packer::new(&binding, env.terms.metadata),
            breaker: Breaker::default(),
            line: Line::Down,
            flight: Flight::default(),
            trials: Trials::default(),
            outgoing: None,
            loads: VecDeque::new(),
            backlog,
            later: VecDeque::new(),
            // What is found is older than what comes.
            spilling: found,
            copied: true,
            taken: VecDeque::new(),
            packed: None,
            used: now,
            reached: false,
            hiccup: None,
            stubborn: None,
            last_error: None,
            published: None,
            unpublished: false,
            bound: binding.id,
            signs: 0,
            released: now,
            timer: Box::pin(sleep_until((now + FAR).into())),
            me,
            env,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = self.env.clock.instant();
            if self.hangs(now) {
                self.drop_line().await;
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

    /// Does what can be done without waiting; says when to do so again, whatever happens.
    fn pump(&mut self, now: Instant) -> Instant {
        // What it concludes is work for the others.
        let search = self.pump_search(now);
        let disk = self.pump_disk(now);
        let line = self.pump_line(now);
        let delivery = self.pump_delivery(now);
        let order = match self.order {
            Order::Run => None,
            Order::Remove(by) | Order::Stop(by) => Some(by),
        };
        // What was moved may have freed the way for what comes first.
        let wakes = [search, disk, line, delivery, order];
        wakes.into_iter().flatten().min().unwrap_or(now + FAR)
    }

    /// An earlier wake-up than wanted does no harm; setting the timer for every shipment would.
    fn wake_at(&mut self, at: Instant, now: Instant) {
        let set = self.timer.deadline().into_std();
        if at < set || set <= now {
            self.timer.as_mut().reset(at.into());
        }
    }

    async fn next(&mut self) -> Event {
        let Self {
            me,
            env,
            control,
            line,
            flight,
            outgoing,
            backlog,
            timer,
            ..
        } = self;
        let clock = &env.clock;
        let owed = if backlog.is_free() { backlog.owed() } else { None };
        let shipment = outgoing.as_ref().map(|cargo| flight.shipment(cargo));
        let (sender, outcomes, connecting) = line.ends();
        tokio::select! {
            changed = control.changed() => match changed {
                Ok(()) => Event::Control,
                // Nobody can order anything any more: only at the end of the agent.
                Err(_) => std::future::pending().await,
            },
            outcome = line::next_outcome(outcomes) => Event::Outcome(outcome),
            sent = send(sender, shipment) => Event::Sent(sent),
            connected = line::connected(connecting) => Event::Connected(connected),
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
            // The outcomes say why.
            Event::Sent(Err(Closed)) => self.line.stop_sending(),
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
        if signs != self.signs {
            self.signs = signs;
            self.breaker.hope();
        }
        if binding.id == self.bound {
            return;
        }
        self.bound = binding.id;
        // New credentials, or a new host name: the connection begins anew, and what was under way is sent again.
        self.drop_line().await;
        self.recall_suspects();
        self.trials.begin_anew();
        self.breaker.succeeded();
        self.reached = false;
        self.packer = Packer::new(&binding, self.env.terms.metadata);
        self.backlog.rename(&self.env.folder(&binding));
    }

    /// Whether there is nothing left to do.
    fn is_done(&mut self, now: Instant) -> bool {
        match self.order {
            Order::Run => false,
            Order::Remove(by) => now >= by || (self.is_idle() && !self.backlog.exists() && self.backlog.is_free()),
            Order::Stop(by) => {
                let delivering = self.line.is_up() || (self.line.is_connecting() && !self.breaker.has_failed());
                now >= by || !delivering || self.is_idle()
            }
        }
    }

    /// Whether nothing waits and nothing is on its way.
    fn is_idle(&self) -> bool {
        self.flight.is_empty() && self.trials.aside().is_empty() && !self.has_work()
    }

    /// Whether there is something to deliver, apart from what is on its way.
    fn has_work(&self) -> bool {
        self.trials.wants_line()
            || self.outgoing.is_some()
            || !self.loads.is_empty()
            || !self.later.is_empty()
            || self.backlog.facts().unread > 0
            || self.backlog.moving().0 > 0
            || self.me.queue.held().envelopes > 0
    }

    /// The end: what is left goes to disk, or is counted.
    async fn end(mut self) {
        self.me.ending.store(true, Ordering::Relaxed);
        self.me.queue.close();
        match self.order {
            Order::Remove(_) => self.give_everything_up().await,
            Order::Run | Order::Stop(_) => self.put_everything_away().await,
        }
        self.publish();
        self.me.connected.store(false, Ordering::Relaxed);
        self.me.over.send_replace(true);
        self.env.news.notify_one();
    }

    /// Counts what is lost.
    fn lose(&self, reason: Reason, losses: &[weir_flow::Loss]) {
        self.me.account.lose(reason, losses);
    }

    /// Tells everybody how it is, now or a little later; says when.
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

    /// Tells everybody how it is.
    fn publish(&mut self) {
        let facts = self.backlog.facts();
        let held = self.me.queue.held();
        let (moving, moving_bytes) = self.backlog.moving();
        let (flying, flying_bytes) = self.flight.waiting();
        let in_hand = self.loads.iter().chain(&self.later);
        let (mut lines, mut bytes) = in_hand.fold((0, 0), |(lines, bytes), load| {
            (lines + load.envelopes(), bytes + load.bytes())
        });
        for cargo in self.outgoing.iter().chain(self.trials.aside()) {
            lines += u64::from(cargo.envelopes);
            bytes += cargo.bytes.len() as u64;
        }
        lines += held.envelopes as u64 + moving + flying + facts.unread;
        let unread_bytes = facts
            .bytes
            .checked_mul(facts.unread)
            .and_then(|it| it.checked_div(facts.unsettled.max(1)));
        bytes += held.bytes as u64 + moving_bytes + flying_bytes + unread_bytes.unwrap_or(facts.bytes);
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
        self.me.connected.store(self.line.is_up(), Ordering::Relaxed);
        let news = self.me.status.update(now, |status| {
            status.state = state;
            status.waiting_lines = lines;
            status.waiting_bytes = bytes;
            status.oldest = oldest;
            // It moves a little each time it is computed.
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
        if news {
            self.env.news.notify_one();
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

    /// When the oldest that waits came in.
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

    /// A moment of the clock that does not jump, on the one that tells the date.
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
