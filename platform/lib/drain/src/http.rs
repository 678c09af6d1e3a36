//! HTTP drains: POSTs over HTTP/2 where the drain speaks it, else over a few HTTP/1.1 connections.
//!
//! ```text
//! accepted ─▶ waiting (posts) ─▶ pool of connections, each with room for some ─▶ answers ─▶ Settled | Rejected
//!                                      └ one more is dialled when all are busy        └ transient: Broken
//! ```
//!
//! `https` sends each message of a shipment as a POST of its own, `https-batch` the whole shipment as one. A batch that is
//! refused for what is in it is halved until the messages that are refused are found: they take no neighbours along.
//! Several POSTs are under way at the same time, so the drain may see them in another order than they were sent in. Each has
//! an `Idempotency-Key` made of the binding, when the shipment came in, the shipment, and which part of it it is: the same
//! when it is sent again.
//!
//! An answer that may be another one next time (429, 5xx, a time-out, a connection lost) ends the transport: what is under
//! way may finish for a moment, then [`Outcome::Broken`] hands the rest back, with the delay that the drain asked for. A
//! connection that the drain closed between two POSTs is no failure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;
use weir_service::Tasks;

use crate::connection::{Accepted, Line, Outcome, Refused, Room, finished};
use crate::{Binding, Failure, Scheme, Settings};

mod answer;
mod connection;
mod post;

use connection::{Connection, Opener};
use post::{Done, Post, Result as PostResult, Template};

/// How long what is under way may still be answered once the transport ends.
const GRACE: Duration = Duration::from_secs(2);

/// How long no further connection is asked for after one was refused.
const CONTENT: Duration = Duration::from_secs(5);

/// So many single messages are under way in the place of one batch.
const SINGLES: usize = 8;

/// Shipments are taken while no more POSTs than this wait for a connection.
const MOST_WAITING: usize = 256;

/// The transport to one HTTP drain.
#[derive(Debug)]
pub(crate) struct Transport {
    opener: Arc<Opener>,
    template: Arc<Template>,
    settings: Settings,
    /// How long a connection is used.
    life: Option<Duration>,
    each_message: bool,
    pool: Vec<Connection>,
    next_connection: u64,
}

/// A shipment of which POSTs wait or are under way.
#[derive(Debug)]
struct Pending {
    room: Room,
    posts: u32,
    refused: Vec<Refused>,
}

impl Transport {
    /// Opens the first connection, if it is not there yet: from then on the drain is known to be there.
    pub(crate) async fn connect(
        binding: &Binding,
        settings: &Settings,
        tasks: &Tasks,
        stream: Option<TlsStream<TcpStream>>,
    ) -> Result<Self, Failure> {
        let opener = Arc::new(Opener::new(binding, settings, tasks)?);
        let template = Arc::new(Template::new(binding)?);
        let scheme = binding.url.scheme();
        let first = match stream {
            Some(stream) => opener.over(stream, 0).await?,
            None => opener.open(0).await?,
        };
        Ok(Self {
            life: (scheme == Scheme::HttpsBatch).then_some(settings.connection_life),
            each_message: scheme == Scheme::Https,
            settings: settings.clone(),
            pool: vec![first],
            next_connection: 1,
            template,
            opener,
        })
    }

    fn open(&mut self) -> BoxFuture<'static, Result<Connection, Failure>> {
        let (opener, number) = (Arc::clone(&self.opener), self.next_connection);
        self.next_connection += 1;
        Box::pin(async move { opener.open(number).await })
    }

    /// Runs until the drain fails, or everything was sent and nothing more comes, or nobody listens.
    pub(crate) async fn run(self, line: Line) {
        let mut run = Run {
            transport: self,
            line,
            shipments: BTreeMap::new(),
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            opening: None,
            content_until: None,
            more: true,
        };
        let Some(failure) = run.until_over().await else {
            return;
        };
        // What is under way may be answered yet, and need not be sent again then.
        run.waiting.clear();
        let answered = async {
            while let Some(done) = run.under_way.next().await {
                _ = book(&mut run.transport, &mut run.shipments, &run.line, done);
            }
        };
        _ = timeout(GRACE, answered).await;
        run.line.end(failure);
    }
}

struct Run {
    transport: Transport,
    line: Line,
    shipments: BTreeMap<u64, Pending>,
    waiting: VecDeque<Post>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    opening: Option<BoxFuture<'static, Result<Connection, Failure>>>,
    /// The drain gives us no more connections: until then those that we have must do.
    content_until: Option<Instant>,
    more: bool,
}

impl Run {
    /// Why it is over; `None` if nobody listens any more.
    async fn until_over(&mut self) -> Option<Failure> {
        loop {
            self.dispatch();
            if !self.more && self.shipments.is_empty() {
                return Some(finished());
            }
            let idle = self.transport.next_idle();
            let opening = OptionFuture::from(self.opening.as_mut());
            tokio::select! {
                biased;
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => {
                    match book(&mut self.transport, &mut self.shipments, &self.line, done) {
                        Ok(again) => for post in again.into_iter().rev() {
                            let place = self.waiting.partition_point(|other| other.sequence < post.sequence);
                            self.waiting.insert(place, post);
                        },
                        Err(failure) => return Some(failure),
                    }
                }
                Some(opened) = opening => {
                    self.opening = None;
                    match opened {
                        Ok(connection) => self.transport.pool.push(connection),
                        // The others will do, for now.
                        Err(_) if !self.under_way.is_empty() => self.content_until = Some(Instant::now() + CONTENT),
                        Err(failure) => return Some(failure),
                    }
                }
                accepted = self.line.accepted.recv(), if self.more && self.waiting.len() < MOST_WAITING => {
                    match accepted {
                        Some(accepted) => self.accept(accepted),
                        None => self.more = false,
                    }
                }
                () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => self.transport.drop_idle(),
                () = self.line.reporter.abandoned() => return None,
            }
        }
    }

    /// Cuts a shipment into POSTs.
    fn accept(&mut self, accepted: Accepted) {
        let Accepted { shipment, room } = accepted;
        let posts = self.transport.template.posts(&shipment, self.transport.each_message);
        if posts.is_empty() {
            return self.line.reporter.finish(Outcome::Settled(shipment.sequence), room);
        }
        let pending = Pending {
            room,
            posts: u32::try_from(posts.len()).unwrap_or(u32::MAX),
            refused: Vec::new(),
        };
        self.shipments.insert(shipment.sequence, pending);
        self.waiting.extend(posts);
    }

    /// Puts what waits on connections that have room; has another one opened where there is none.
    fn dispatch(&mut self) {
        while !self.waiting.is_empty() {
            let Some(lease) = self.transport.lease() else {
                break;
            };
            let Some(post) = self.waiting.pop_front() else {
                break;
            };
            let template = Arc::clone(&self.transport.template);
            let deadline = self.transport.settings.http_timeout;
            self.under_way.push(Box::pin(post.send(lease, template, deadline)));
        }
        let most = match self.content_until {
            Some(until) if Instant::now() < until => 1,
            _ => self.transport.settings.http_connections.max(1),
        };
        if !self.waiting.is_empty() && self.opening.is_none() && self.transport.pool.len() < most {
            self.opening = Some(self.transport.open());
        }
    }
}

/// Books what became of a POST; returns what is to be sent instead of it: a POST that never reached the drain, or the halves
/// of one that was refused.
fn book(
    transport: &mut Transport,
    shipments: &mut BTreeMap<u64, Pending>,
    line: &Line,
    done: Done,
) -> Result<Vec<Post>, Failure> {
    let Done {
        mut post,
        connection,
        result,
    } = done;
    let healthy = matches!(result, PostResult::Taken | PostResult::Refused(_));
    let proven = transport.give_back(connection, healthy);
    let refusal = match result {
        PostResult::Taken => None,
        PostResult::Refused(failure) => Some(failure),
        PostResult::Failed(failure) => return Err(failure),
        // A connection that worked before was closed meanwhile: that is no failure of the drain.
        PostResult::Lost { sent, .. } if proven && !(sent && post.was_lost) => {
            post.was_lost |= sent;
            return Ok(vec![post]);
        }
        PostResult::Lost { failure, .. } => return Err(failure),
    };
    let Some(pending) = shipments.get_mut(&post.sequence) else {
        return Ok(Vec::new());
    };
    if let Some(failure) = refusal {
        if !failure.drain_wide
            && let Some(halves) = post.halves()
        {
            pending.posts += 1;
            return Ok(halves.into());
        }
        pending.refused.push(Refused {
            messages: post.messages.clone(),
            failure,
        });
    }
    pending.posts -= 1;
    if pending.posts == 0
        && let Some(pending) = shipments.remove(&post.sequence)
    {
        let sequence = post.sequence;
        let outcome = if pending.refused.is_empty() {
            Outcome::Settled(sequence)
        } else {
            Outcome::Rejected {
                sequence,
                refused: pending.refused,
            }
        };
        line.reporter.finish(outcome, pending.room);
    }
    Ok(Vec::new())
}

impl Transport {
    /// Room for one POST on a connection that may be used, the oldest first.
    fn lease(&mut self) -> Option<connection::Lease> {
        let life = self.life;
        self.pool.retain(|connection| !connection.is_over(life));
        let streams = match self.each_message {
            true => self.settings.http2_streams.saturating_mul(SINGLES),
            false => self.settings.http2_streams,
        };
        let streams = streams.max(1);
        self.pool
            .iter_mut()
            .find_map(|connection| connection.lease(streams, life))
    }

    /// Takes a lease back. Whether the connection had carried a POST to its answer before.
    fn give_back(&mut self, lease: connection::Returned, healthy: bool) -> bool {
        let number = lease.number;
        let Some(connection) = self.pool.iter_mut().find(|connection| connection.number == number) else {
            return false;
        };
        let proven = connection.proven;
        connection.give_back(lease, healthy);
        proven
    }

    /// When the next connection has been idle for too long.
    fn next_idle(&self) -> Option<Instant> {
        let idle = self.pool.iter().filter_map(Connection::idle_since).min();
        idle.map(|since| since + self.settings.idle_timeout)
    }

    fn drop_idle(&mut self) {
        let longest = self.settings.idle_timeout;
        self.pool
            .retain(|connection| connection.idle_since().is_none_or(|since| since.elapsed() < longest));
    }
}
