//! The task of one stream: it passes envelopes from the RLP to the client until something ends it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep};
use weir_auth::Ended;
use weir_flow::{LogContext, Reason};

use crate::backlog::Backlog;
use crate::config::{RawResume, RawTimeouts};
use crate::events;
use crate::outlet::Outlet;
use crate::provider::{Failure, Provider, ProviderEvent};
use crate::sessions::{Attachment, Session};
use crate::stream_limits::StreamPermit;

/// How long the last event may take to be written before the connection is cut.
const LAST_EVENT: Duration = Duration::from_secs(5);

/// How often written pieces are settled while nothing else happens.
const SETTLE_EVERY: Duration = Duration::from_millis(200);

/// The reason for which a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The client disconnected and cannot resume.
    Gone,
    /// The client did not accept an event in time.
    Slow,
    /// The token of the client ended.
    NotAllowed(Ended),
    /// The time limit was reached.
    Timeout,
    /// The RLP does not answer, or refuses the subscription.
    Provider(Failure),
    /// The gateway is stopping.
    Stopping,
}

impl End {
    const fn reason(&self) -> Reason {
        match self {
            Self::Slow => Reason::SlowConsumer,
            Self::Stopping => Reason::ShuttingDown,
            _ => Reason::ConsumerGone,
        }
    }

    /// Returns whether the stream ended by a limit of the gateway, so that the client may resume it.
    const fn is_resumable(&self) -> bool {
        // A revoked token and a withdrawn right are not among them: nothing is kept for a caller who may not read it
        // any more.
        matches!(self, Self::Timeout | Self::NotAllowed(Ended::Expired))
    }

    /// Returns the last event.
    fn event(&self) -> Option<Bytes> {
        match self {
            Self::Gone | Self::Slow => None,
            Self::NotAllowed(Ended::Expired) => Some(events::closing("closing because the token has expired")),
            Self::NotAllowed(Ended::Revoked) => Some(events::closing("closing because the token was revoked")),
            Self::NotAllowed(Ended::Withdrawn) => {
                Some(events::closing("closing because the right to read was withdrawn"))
            }
            Self::Timeout => Some(events::closing("closing due to stream timeout")),
            Self::Stopping => Some(events::closing("closing due to shutdown")),
            // Messages of the RLP and the transport contain internal addresses and certificates, so clients do not get
            // them.
            Self::Provider(failure) => {
                let message = if failure.permanent {
                    "the logs provider refuses this stream"
                } else {
                    "the logs provider does not deliver"
                };
                Some(events::error("streaming_unavailable", message))
            }
        }
    }
}

/// The client that is connected to the stream.
struct Client {
    outlet: Outlet,
    name: String,
    ended: BoxFuture<'static, Ended>,
    /// When the time limit is reached.
    until: Instant,
    /// When an event was last sent to it.
    last_sent: Instant,
    /// Since when an event has been waiting for room.
    blocked_since: Option<Instant>,
}

impl Client {
    fn new(attachment: Attachment, times: &RawTimeouts) -> Self {
        let Attachment { outlet, caller, .. } = attachment;
        let now = Instant::now();
        Self {
            outlet,
            name: caller.name().to_owned(),
            ended: Box::pin(async move { caller.ended().await }),
            until: now + times.stream.get(),
            last_sent: now,
            blocked_since: None,
        }
    }

    fn sent(&mut self) {
        self.last_sent = Instant::now();
        self.blocked_since = None;
    }
}

/// The state of a stream.
pub(crate) struct Stream {
    provider: Provider,
    /// Since when the RLP has been absent, and why.
    away: Option<(Instant, Failure)>,
    backlog: Backlog,
    client: Option<Client>,
    /// Until when the stream waits for its client to reconnect.
    parked_until: Instant,
    session: Option<Session>,
    window: Duration,
    times: RawTimeouts,
    timer: Pin<Box<Sleep>>,
    /// When written pieces were last settled.
    settled_at: Instant,
    context: LogContext,
    _permit: StreamPermit,
}

fn heartbeat(context: &LogContext) -> Bytes {
    events::heartbeat(context.clock.now_nanos().div_euclid(1_000_000_000))
}

/// What happens next.
enum Step {
    Provider(ProviderEvent),
    Room,
    Tick,
    Attached(Attachment),
    Gone,
    End(End),
}

impl Stream {
    pub(crate) fn new(
        provider: Provider,
        attachment: Attachment,
        session: Option<(Session, RawResume)>,
        times: RawTimeouts,
        context: LogContext,
        permit: StreamPermit,
    ) -> Self {
        context.ledger.subscribers(1);
        let (session, resume) = session.unzip();
        let now = Instant::now();
        Self {
            provider,
            away: None,
            backlog: Backlog::new(resume.map_or(0, |resume| resume.bytes.as_usize())),
            client: Some(Client::new(attachment, &times)),
            parked_until: now,
            session,
            window: resume.map_or(Duration::ZERO, |resume| resume.window.get()),
            times,
            timer: Box::pin(tokio::time::sleep_until(now)),
            settled_at: now,
            context,
            _permit: permit,
        }
    }

    /// Sends an event ahead of all others.
    pub(crate) fn send_first(&mut self, event: Bytes) {
        if let Some(client) = &mut self.client {
            client.outlet.send(event);
        }
    }

    /// Serves until the stream ends. `first` is an event of the provider that arrived before the response was sent.
    pub(crate) async fn run(mut self, first: Option<ProviderEvent>) {
        let mut end = first.and_then(|event| self.take(event));
        let end = loop {
            end = match end {
                // The client learns that it should reconnect, and finds its stream when it does.
                Some(end) if end.is_resumable() && self.session.is_some() => {
                    tracing::info!(?end, "stream waits for its client");
                    self.send_last_event(&end).await;
                    self.park()
                }
                Some(end) => break end,
                None => match self.step().await {
                    Step::Provider(event) => self.take(event),
                    Step::Room => self.send(),
                    Step::Tick => self.tick(),
                    Step::Attached(attachment) => {
                        self.attach(attachment);
                        None
                    }
                    Step::Gone => self.park(),
                    Step::End(end) => Some(end),
                },
            };
        };
        self.finish(end).await;
    }

    /// Waits for the next thing to do.
    async fn step(&mut self) -> Step {
        let due = self.due();
        let Self {
            provider,
            away,
            backlog,
            client,
            session,
            timer,
            context,
            ..
        } = self;
        // Resetting a timer costs a lock, and most steps leave the deadline unchanged.
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        let waiting = backlog.has_waiting();
        // While the RLP is absent, its next event can only be that it is back, so it is read even if the backlog is
        // full.
        // With a client, one message at a time is read, so that the queue of a slow client stays in the doppler.
        // Without one, messages are kept for its return.
        let wants = away.is_some() || if client.is_some() { !waiting } else { !backlog.is_full() };
        let came = async {
            match session {
                Some(session) => session.attachment().await,
                None => std::future::pending().await,
            }
        };
        let of_client = async {
            let Some(client) = client else {
                return std::future::pending().await;
            };
            tokio::select! {
                biased;
                why = &mut client.ended => Step::End(End::NotAllowed(why)),
                () = client.outlet.gone() => Step::Gone,
                room = client.outlet.room(), if waiting || client.blocked_since.is_some() => room.map_or(Step::Gone, |()| Step::Room),
            }
        };
        tokio::select! {
            // Biased: the end of a stream must not wait behind envelopes that arrive all the time.
            biased;
            () = context.shutdown.requested() => Step::End(End::Stopping),
            step = of_client => step,
            attachment = came => Step::Attached(attachment),
            () = timer => Step::Tick,
            event = provider.next(), if wants => Step::Provider(event),
        }
    }

    /// Returns when something has to be done if nothing else happens.
    fn due(&self) -> Instant {
        let mut due = match &self.client {
            None => self.parked_until,
            Some(client) => {
                let next = match client.blocked_since {
                    Some(since) => since + self.times.slow_consumer.get(),
                    None => client.last_sent + self.times.heartbeat.get(),
                };
                next.min(client.until)
            }
        };
        if self.backlog.is_on_its_way() {
            due = due.min(self.settled_at + SETTLE_EVERY);
        }
        if let Some((since, _)) = &self.away {
            due = due.min(*since + self.times.provider.get());
        }
        due
    }

    fn tick(&mut self) -> Option<End> {
        let now = Instant::now();
        self.settle_written();
        if let Some((since, failure)) = &self.away
            && *since + self.times.provider.get() <= now
        {
            return Some(End::Provider(failure.clone()));
        }
        let Some(client) = &mut self.client else {
            return (self.parked_until <= now).then_some(End::Gone);
        };
        if client.until <= now {
            return Some(End::Timeout);
        }
        // The order matters: a stream at its time limit ends regularly, even if its client is slow as well.
        match client.blocked_since {
            Some(since) if since + self.times.slow_consumer.get() <= now => return Some(End::Slow),
            Some(_) => {}
            None if client.last_sent + self.times.heartbeat.get() <= now => {
                // If there is no room for the heartbeat, the last event was not accepted either.
                if client.outlet.send(heartbeat(&self.context)) {
                    client.sent();
                } else {
                    client.blocked_since = Some(client.last_sent);
                }
            }
            None => {}
        }
        None
    }

    fn take(&mut self, event: ProviderEvent) -> Option<End> {
        match event {
            ProviderEvent::Opened => self.away = None,
            ProviderEvent::Message(message) => {
                self.backlog.push(message, &self.context.ledger);
                if let Some(client) = &mut self.client
                    && client.blocked_since.is_none()
                    && self.backlog.has_waiting()
                {
                    client.blocked_since = Some(Instant::now());
                }
            }
            ProviderEvent::Unavailable(failure) if failure.permanent => return Some(End::Provider(failure)),
            ProviderEvent::Unavailable(failure) => {
                tracing::debug!(error = failure.text, "the logs provider does not deliver");
                // The first failure sets the start of the outage. Later failures must not extend it.
                let since = self.away.take().map_or_else(Instant::now, |(since, _)| since);
                self.away = Some((since, failure));
            }
        }
        None
    }

    /// Sends the next event, because there is room for one.
    fn send(&mut self) -> Option<End> {
        let session = self.session.as_ref().map(Session::name);
        let client = self.client.as_mut()?;
        let event = self.backlog.send(session, client.outlet.sent() + 1);
        // Nothing waits, so it was a heartbeat that had no room.
        client.outlet.send(event.unwrap_or_else(|| heartbeat(&self.context)));
        client.sent();
        if self.backlog.has_waiting() {
            client.blocked_since = Some(client.last_sent);
        }
        if self.settled_at + SETTLE_EVERY <= client.last_sent {
            self.settle_written();
        }
        None
    }

    /// Settles the pieces that are in the socket.
    fn settle_written(&mut self) {
        self.settled_at = Instant::now();
        if let Some(client) = &self.client {
            self.backlog.written(client.outlet.written(), &self.context.ledger);
        }
    }

    /// Handles a disconnected client. If the client may resume the stream, the stream waits for it.
    fn park(&mut self) -> Option<End> {
        // What the client has certainly received is settled first, and need not be kept for its return.
        self.settle_written();
        self.client = None;
        if self.session.is_none() {
            return Some(End::Gone);
        }
        self.backlog.detach();
        self.parked_until = Instant::now() + self.window;
        None
    }

    fn attach(&mut self, attachment: Attachment) {
        if let Some(mut before) = self.client.take() {
            // The client reconnected before its old connection was known to be lost.
            before
                .outlet
                .send(events::closing("closing because the stream was resumed elsewhere"));
        }
        let missing = self.backlog.rewind(attachment.after, &self.context.ledger);
        let mut client = Client::new(attachment, &self.times);
        if missing > 0 {
            client
                .outlet
                .send(events::gap(&format!("{missing} events are not kept any more")));
        }
        client.blocked_since = self.backlog.has_waiting().then(Instant::now);
        tracing::info!(caller = client.name, "stream resumed");
        self.client = Some(client);
    }

    /// Tells the client why its stream ends, if it reads.
    async fn send_last_event(&mut self, end: &End) {
        self.settle_written();
        let Some(mut client) = self.client.take() else {
            return;
        };
        let connection = client.outlet.connection();
        // A slow client gets no last event. It does not read, and would keep its connection.
        let Some(event) = end.event() else {
            if *end == End::Slow {
                connection.cut();
            }
            return;
        };
        // The event waits for room behind what the client has not read yet, so the whole attempt has a deadline.
        let said = async move {
            client.outlet.room().await.ok()?;
            client.outlet.send(event);
            Some(client.outlet.finish().await)
        };
        match tokio::time::timeout(LAST_EVENT, said).await {
            Ok(Some(all)) => self.backlog.written(all, &self.context.ledger),
            // The client has disconnected, or does not read.
            Ok(None) | Err(_) => connection.cut(),
        }
    }

    /// Ends the stream, and counts what the client did not get.
    async fn finish(mut self, end: End) {
        let name = self.client.as_ref().map_or("", |client| client.name.as_str());
        match &end {
            End::Slow => tracing::warn!(caller = name, "slow consumer was disconnected"),
            End::Provider(failure) => tracing::warn!(caller = name, error = failure.text, "stream ended"),
            end => tracing::info!(caller = name, ?end, "stream ended"),
        }
        if let Some(session) = &mut self.session {
            // A client that reconnects from now on gets a new stream.
            session.retire();
        }
        if end == End::Stopping {
            // What has already arrived is still sent, if the client accepts it.
            drop(tokio::time::timeout(LAST_EVENT, self.empty()).await);
        }
        self.send_last_event(&end).await;
        // The RLP counts as sent what is in the buffers of this connection, so its loss must be counted here.
        while self.receive() {}
        self.backlog.abandon(end.reason(), &self.context.ledger);
    }

    /// Takes a message that has already arrived. Returns whether there was one.
    fn receive(&mut self) -> bool {
        match self.provider.next().now_or_never() {
            Some(ProviderEvent::Message(message)) => {
                self.backlog.push(message, &self.context.ledger);
                true
            }
            _ => false,
        }
    }

    /// Sends everything that has already arrived, as long as the client accepts it.
    async fn empty(&mut self) {
        loop {
            if !self.backlog.has_waiting() && !self.receive() {
                return;
            }
            let Some(client) = &mut self.client else {
                return;
            };
            if self.backlog.has_waiting() {
                if client.outlet.room().await.is_err() {
                    return;
                }
                self.send();
            }
        }
    }
}

impl Drop for Stream {
    // This counts only if the task was aborted. `finish` leaves an empty backlog.
    fn drop(&mut self) {
        self.backlog.abandon(Reason::ShuttingDown, &self.context.ledger);
        self.context.ledger.subscribers(-1);
    }
}
