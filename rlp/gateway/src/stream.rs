//! One stream, on a task of its own: from the RLP to its client, until something ends it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep};
use weir_auth::Ended;
use weir_flow::{LogContext, Reason};

use crate::backlog::Backlog;
use crate::config::{Resume, Times};
use crate::events;
use crate::outlet::Outlet;
use crate::places::Place;
use crate::provider::{Failure, News, Provider};
use crate::sessions::{Attachment, Session};

/// How long the last event of a stream may take; then the connection is cut.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often is looked at what lies in the socket by now, where nothing else happens.
const LOOK: Duration = Duration::from_millis(200);

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The client is gone, and will not be waited for.
    Gone,
    /// It did not take an event in time.
    Slow,
    /// Its token ended.
    NotAllowed(Ended),
    /// It has had its time.
    Timeout,
    /// The RLP does not answer, or does not want to.
    Provider(Failure),
    /// The gateway stops.
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

    /// Whether it is the gateway's rule that ended it, and not what the client did or may do: it may come back.
    const fn is_by_rule(&self) -> bool {
        matches!(self, Self::Timeout | Self::NotAllowed(Ended::Expired))
    }

    /// The last event.
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
            // Not in the words of the RLP or the transport, which name addresses and certificates of the inside.
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

/// The client that a stream has now.
struct Client {
    outlet: Outlet,
    name: String,
    ended: BoxFuture<'static, Ended>,
    /// When its time is over.
    until: Instant,
    /// When it last got something.
    heard: Instant,
    /// Since when an event waits for room.
    stuck: Option<Instant>,
}

impl Client {
    fn new(attachment: Attachment, times: &Times) -> Self {
        let Attachment { outlet, caller, .. } = attachment;
        let now = Instant::now();
        Self {
            outlet,
            name: caller.name().to_owned(),
            ended: Box::pin(async move { caller.ended().await }),
            until: now + times.stream,
            heard: now,
            stuck: None,
        }
    }

    fn sent(&mut self) {
        self.heard = Instant::now();
        self.stuck = None;
    }
}

/// What a stream is made of.
pub(crate) struct Stream {
    provider: Provider,
    /// Since when the RLP is away, and why.
    away: Option<(Instant, Failure)>,
    backlog: Backlog,
    client: Option<Client>,
    /// Until when a client that is gone is waited for.
    parked_until: Instant,
    session: Option<Session>,
    window: Duration,
    times: Times,
    timer: Pin<Box<Sleep>>,
    /// When it was last looked at what lies in the socket.
    looked: Instant,
    context: LogContext,
    _place: Place,
}

fn heartbeat(context: &LogContext) -> Bytes {
    events::heartbeat(context.clock.now_nanos().div_euclid(1_000_000_000))
}

/// What happens next.
enum Step {
    News(News),
    Room,
    Tick,
    Came(Attachment),
    Gone,
    End(End),
}

impl Stream {
    pub(crate) fn new(
        provider: Provider,
        attachment: Attachment,
        session: Option<(Session, Resume)>,
        times: Times,
        context: LogContext,
        place: Place,
    ) -> Self {
        context.ledger.subscribers(1);
        let (session, resume) = session.unzip();
        let now = Instant::now();
        Self {
            provider,
            away: None,
            backlog: Backlog::new(resume.map_or(0, |resume| resume.bytes)),
            client: Some(Client::new(attachment, &times)),
            parked_until: now,
            session,
            window: resume.map_or(Duration::ZERO, |resume| resume.window),
            times,
            timer: Box::pin(tokio::time::sleep_until(now)),
            looked: now,
            context,
            _place: place,
        }
    }

    /// Sends an event ahead of all others.
    pub(crate) fn greet(&mut self, event: Bytes) {
        if let Some(client) = &mut self.client {
            client.outlet.send(event);
        }
    }

    /// Serves until it ends. `first` is news that came before the answer was given.
    pub(crate) async fn run(mut self, first: Option<News>) {
        let mut end = first.and_then(|news| self.take(news));
        let end = loop {
            end = match end {
                // The client is told to come back, and finds its stream when it does.
                Some(end) if end.is_by_rule() && self.session.is_some() => {
                    tracing::info!(?end, "stream waits for its client");
                    self.farewell(&end).await;
                    self.park()
                }
                Some(end) => break end,
                None => match self.step().await {
                    Step::News(news) => self.take(news),
                    Step::Room => self.send(),
                    Step::Tick => self.tick(),
                    Step::Came(attachment) => {
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
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        let waiting = backlog.has_waiting();
        // While the RLP is away nothing comes of it but the word that it is back.
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
                room = client.outlet.room(), if waiting || client.stuck.is_some() => room.map_or(Step::Gone, |()| Step::Room),
            }
        };
        tokio::select! {
            biased;
            () = context.shutdown.requested() => Step::End(End::Stopping),
            step = of_client => step,
            attachment = came => Step::Came(attachment),
            () = timer => Step::Tick,
            news = provider.next(), if wants => Step::News(news),
        }
    }

    /// When there is something to do if nothing else happens.
    fn due(&self) -> Instant {
        let mut due = match &self.client {
            None => self.parked_until,
            Some(client) => {
                let next = match client.stuck {
                    Some(since) => since + self.times.slow_consumer,
                    None => client.heard + self.times.heartbeat,
                };
                next.min(client.until)
            }
        };
        if self.backlog.is_on_its_way() {
            due = due.min(self.looked + LOOK);
        }
        if let Some((since, _)) = &self.away {
            due = due.min(*since + self.times.provider);
        }
        due
    }

    fn tick(&mut self) -> Option<End> {
        let now = Instant::now();
        self.look();
        if let Some((since, failure)) = &self.away
            && *since + self.times.provider <= now
        {
            return Some(End::Provider(failure.clone()));
        }
        let Some(client) = &mut self.client else {
            return (self.parked_until <= now).then_some(End::Gone);
        };
        if client.until <= now {
            return Some(End::Timeout);
        }
        match client.stuck {
            Some(since) if since + self.times.slow_consumer <= now => return Some(End::Slow),
            Some(_) => {}
            None if client.heard + self.times.heartbeat <= now => {
                // Where there is no room for it, the last event was not taken either.
                if client.outlet.send(heartbeat(&self.context)) {
                    client.sent();
                } else {
                    client.stuck = Some(client.heard);
                }
            }
            None => {}
        }
        None
    }

    fn take(&mut self, news: News) -> Option<End> {
        match news {
            News::Opened => self.away = None,
            News::Message(message) => {
                self.backlog.push(message, &self.context.ledger);
                if let Some(client) = &mut self.client
                    && client.stuck.is_none()
                    && self.backlog.has_waiting()
                {
                    client.stuck = Some(Instant::now());
                }
            }
            News::Away(failure) if failure.permanent => return Some(End::Provider(failure)),
            News::Away(failure) => {
                tracing::debug!(error = failure.text, "the logs provider does not deliver");
                let since = self.away.take().map_or_else(Instant::now, |(since, _)| since);
                self.away = Some((since, failure));
            }
        }
        None
    }

    /// There is room for an event.
    fn send(&mut self) -> Option<End> {
        let session = self.session.as_ref().map(Session::name);
        let client = self.client.as_mut()?;
        let event = self.backlog.send(session, client.outlet.sent() + 1);
        // Nothing waits: it was a heartbeat that had no room.
        client.outlet.send(event.unwrap_or_else(|| heartbeat(&self.context)));
        client.sent();
        if self.backlog.has_waiting() {
            client.stuck = Some(client.heard);
        }
        if self.looked + LOOK <= client.heard {
            self.look();
        }
        None
    }

    /// Settles what lies in the socket by now.
    fn look(&mut self) {
        self.looked = Instant::now();
        if let Some(client) = &self.client {
            self.backlog.written(client.outlet.written(), &self.context.ledger);
        }
    }

    /// The client is gone: a stream that it may come back to waits for it, with whatever token it has then.
    fn park(&mut self) -> Option<End> {
        self.look();
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
            // It came back on another connection before this one was seen to be gone.
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
        client.stuck = self.backlog.has_waiting().then(Instant::now);
        tracing::info!(caller = client.name, "stream resumed");
        self.client = Some(client);
    }

    /// Tells the client why its stream ends, as far as it listens.
    async fn farewell(&mut self, end: &End) {
        self.look();
        let Some(mut client) = self.client.take() else {
            return;
        };
        let line = client.outlet.line();
        let Some(event) = end.event() else {
            if *end == End::Slow {
                line.cut();
            }
            return;
        };
        let said = async move {
            client.outlet.room().await.ok()?;
            client.outlet.send(event);
            Some(client.outlet.finish().await)
        };
        match tokio::time::timeout(FAREWELL, said).await {
            Ok(Some(all)) => self.backlog.written(all, &self.context.ledger),
            // Gone meanwhile, or not reading.
            Ok(None) | Err(_) => line.cut(),
        }
    }

    /// Says why it ends, then counts what the client did not get.
    async fn finish(mut self, end: End) {
        let name = self.client.as_ref().map_or("", |client| client.name.as_str());
        match &end {
            End::Slow => tracing::warn!(caller = name, "slow consumer was disconnected"),
            End::Provider(failure) => tracing::warn!(caller = name, error = failure.text, "stream ended"),
            end => tracing::info!(caller = name, ?end, "stream ended"),
        }
        if let Some(session) = &mut self.session {
            // Whoever comes back now begins anew.
            session.retire();
        }
        if end == End::Stopping {
            // What is in hand still goes out, if the client takes it.
            drop(tokio::time::timeout(FAREWELL, self.empty()).await);
        }
        self.farewell(&end).await;
        // The RLP counts as sent what lies in our buffers: what is lost there is ours to count.
        while self.receive() {}
        self.backlog.abandon(end.reason(), &self.context.ledger);
    }

    /// Takes in what came already; whether there was something.
    fn receive(&mut self) -> bool {
        match self.provider.next().now_or_never() {
            Some(News::Message(message)) => {
                self.backlog.push(message, &self.context.ledger);
                true
            }
            _ => false,
        }
    }

    /// Sends all that came already, as long as the client takes it.
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
    fn drop(&mut self) {
        self.backlog.abandon(Reason::ShuttingDown, &self.context.ledger);
        self.context.ledger.subscribers(-1);
    }
}
