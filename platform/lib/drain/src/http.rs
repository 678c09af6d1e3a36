//! The transport of HTTP drains: POSTs over HTTP/2 where the drain supports it, and else over a few HTTP/1.1
//! connections.
//!
//! ```text
//! accepted ─▶ waiting (posts) ─▶ pool of connections, each with some streams ─▶ answers ─▶ Settled | Rejected
//!                                      └ one more is opened when all are busy         └ transient: Broken
//! ```
//!
//! `https` sends each message of a shipment as a POST of its own, and `https-batch` the whole shipment as one. A batch
//! that is refused for its contents is halved until the refused messages are found, so the other messages are
//! delivered. Several POSTs are under way at a time, so the drain may see them in another order than they were sent.
//! Each POST has an `Idempotency-Key`, a digest of the binding, the arrival time and contents of the shipment, and the
//! part of it that the POST carries. It is equal when the POST is sent again.
//!
//! A transient failure (429, 5xx, a time-out, a lost connection) ends the transport. POSTs under way get a short time
//! for their answers, and then [`Outcome::Broken`] tells the caller to send the rest again, after the delay that the
//! drain asked for. A connection that the drain closes between two POSTs is not a failure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;
use weir_service::Tasks;

use crate::connection::{Accepted, Outcome, Refused, TransportEnd, WindowPermit, finished};
use crate::{Binding, Failure, Scheme, Settings};

mod answer;
mod connection;
mod post;

use connection::{Connection, Opener};
use post::{Done, Post, Result as PostResult, Template};

/// How long a transport that ends waits for the answers of the POSTs under way.
const GRACE: Duration = Duration::from_secs(2);

/// How long the transport opens no further connection after one was refused.
const RECONNECT_PAUSE: Duration = Duration::from_secs(5);

/// How many POSTs of single messages may be under way for each batch that might be.
const SINGLES_PER_BATCH: usize = 8;

/// The number of POSTs waiting for a connection from which on no further shipment is accepted.
const MOST_WAITING: usize = 256;

/// The transport to one HTTP drain.
#[derive(Debug)]
pub(crate) struct Transport {
    opener: Arc<Opener>,
    template: Arc<Template>,
    settings: Settings,
    /// How long a connection is used before it is replaced; `None` for no limit.
    life: Option<Duration>,
    /// Whether each message is a POST of its own.
    each_message: bool,
    pool: Vec<Connection>,
    next_connection: u64,
}

/// A shipment with POSTs that wait or are under way.
#[derive(Debug)]
struct Pending {
    room: WindowPermit,
    /// The number of POSTs that have no result yet.
    posts: u32,
    refused: Vec<Refused>,
}

impl Transport {
    /// Returns a transport with its first connection, which is made over `stream` if there is one.
    ///
    /// # Errors
    /// If the drain cannot be reached, or the binding cannot be used.
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

    /// Runs until the drain fails, until the sender is dropped and everything is settled, or until the outcomes are
    /// dropped.
    pub(crate) async fn run(self, end: TransportEnd) {
        let mut run = Run {
            transport: self,
            end,
            shipments: BTreeMap::new(),
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            opening: None,
            no_new_connection_until: None,
            more: true,
        };
        let Some(failure) = run.run_until_end().await else {
            return;
        };
        // A POST that is still answered need not be sent again over the next connection.
        run.waiting.clear();
        let answered = async {
            while let Some(done) = run.under_way.next().await {
                _ = settle_post(&mut run.transport, &mut run.shipments, &run.end, done);
            }
        };
        _ = timeout(GRACE, answered).await;
        run.end.close(failure);
    }
}

/// The state of a running transport.
struct Run {
    transport: Transport,
    end: TransportEnd,
    shipments: BTreeMap<u64, Pending>,
    waiting: VecDeque<Post>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    opening: Option<BoxFuture<'static, Result<Connection, Failure>>>,
    /// The drain refused a further connection, and none is opened before this time.
    no_new_connection_until: Option<Instant>,
    more: bool,
}

impl Run {
    /// Returns the failure that ended the transport; `None` if the outcomes were dropped.
    async fn run_until_end(&mut self) -> Option<Failure> {
        loop {
            self.dispatch();
            if !self.more && self.shipments.is_empty() {
                return Some(finished());
            }
            let idle = self.transport.next_idle();
            let opening = OptionFuture::from(self.opening.as_mut());
            tokio::select! {
                // Answers come first, because they free connections and room for the branches below.
                biased;
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => {
                    match settle_post(&mut self.transport, &mut self.shipments, &self.end, done) {
                        // They go back to the position of their shipment, so that shipments are still sent in order.
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
                        // The drain limits its connections: go on with those that are open.
                        Err(_) if !self.under_way.is_empty() => self.no_new_connection_until = Some(Instant::now() + RECONNECT_PAUSE),
                        Err(failure) => return Some(failure),
                    }
                }
                accepted = self.end.accepted.recv(), if self.more && self.waiting.len() < MOST_WAITING => {
                    match accepted {
                        Some(accepted) => self.accept(accepted),
                        None => self.more = false,
                    }
                }
                () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => self.transport.drop_idle(),
                () = self.end.reporter.abandoned() => return None,
            }
        }
    }

    /// Cuts a shipment into POSTs, and puts them at the end of the queue.
    fn accept(&mut self, accepted: Accepted) {
        let Accepted { shipment, room } = accepted;
        let posts = self.transport.template.posts(&shipment, self.transport.each_message);
        // A shipment without messages needs no answer of the drain.
        if posts.is_empty() {
            return self.end.reporter.finish(Outcome::Settled(shipment.sequence), room);
        }
        let pending = Pending {
            room,
            posts: u32::try_from(posts.len()).unwrap_or(u32::MAX),
            refused: Vec::new(),
        };
        self.shipments.insert(shipment.sequence, pending);
        self.waiting.extend(posts);
    }

    /// Sends waiting POSTs on connections that have room, and opens another connection if none has.
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
        let most = match self.no_new_connection_until {
            // The first connection is always allowed, because without it nothing could be sent.
            Some(until) if Instant::now() < until => 1,
            _ => self.transport.settings.http_connections.max(1),
        };
        if !self.waiting.is_empty() && self.opening.is_none() && self.transport.pool.len() < most {
            self.opening = Some(self.transport.open());
        }
    }
}

/// Handles the result of a POST.
///
/// Returns the POSTs that have to be sent in its place: the POST itself if it did not reach the drain, or the halves of
/// a refused batch.
///
/// # Errors
/// If the result is a failure of the drain, which ends the transport.
fn settle_post(
    transport: &mut Transport,
    shipments: &mut BTreeMap<u64, Pending>,
    end: &TransportEnd,
    done: Done,
) -> Result<Vec<Post>, Failure> {
    let Done {
        mut post,
        connection,
        result,
    } = done;
    let healthy = matches!(result, PostResult::Accepted | PostResult::Refused(_));
    let proven = transport.give_back(connection, healthy);
    let refusal = match result {
        PostResult::Accepted => None,
        PostResult::Refused(failure) => Some(failure),
        PostResult::Failed(failure) => return Err(failure),
        // The drain closed a connection that had worked before, as servers do with idle ones. A POST that may have
        // arrived is sent again only once, in case it is the POST that makes the drain close its connections.
        PostResult::Lost { sent, .. } if proven && !(sent && post.was_lost) => {
            post.was_lost |= sent;
            return Ok(vec![post]);
        }
        PostResult::Lost { failure, .. } => return Err(failure),
    };
    // Not reached: a shipment stays until its last POST has a result.
    let Some(pending) = shipments.get_mut(&post.sequence) else {
        return Ok(Vec::new());
    };
    if let Some(failure) = refusal {
        // A refusal of the whole drain, such as of its credentials, applies to each half as well.
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
        end.reporter.finish(outcome, pending.room);
    }
    Ok(Vec::new())
}

impl Transport {
    /// Takes room for one POST on the oldest usable connection.
    fn lease(&mut self) -> Option<connection::Lease> {
        let life = self.life;
        // Connections that ended, or have lived long enough, are replaced when they are needed.
        self.pool.retain(|connection| !connection.is_over(life));
        let streams = match self.each_message {
            true => self.settings.http2_streams.saturating_mul(SINGLES_PER_BATCH),
            false => self.settings.http2_streams,
        };
        let streams = streams.max(1);
        self.pool
            .iter_mut()
            .find_map(|connection| connection.lease(streams, life))
    }

    /// Returns a lease to its connection, and returns whether the connection had carried a POST to its answer before.
    fn give_back(&mut self, lease: connection::Returned, healthy: bool) -> bool {
        let number = lease.number;
        let Some(connection) = self.pool.iter_mut().find(|connection| connection.number == number) else {
            return false;
        };
        let proven = connection.proven;
        connection.give_back(lease, healthy);
        proven
    }

    /// The time at which the first of the idle connections has been idle for too long.
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
