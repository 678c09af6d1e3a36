//! The input and output of one connection, in one task: reads batches into the session, writes what waits for the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;
use weir_net::{Place, UnderWay};

use crate::client::{Client, Shared};
use crate::ending::Ending;
use crate::session::Session;

/// The room of a new connection for what it reads.
const SMALL_ROOM: usize = 4 << 10;

/// Most room for what is read at once. A message that is larger gets more while it arrives, from a common budget.
const LARGE_ROOM: usize = 64 << 10;

/// What a connection may hold of unfinished messages without asking.
const FREE: usize = 2 * LARGE_ROOM;

/// A buffer that was written is kept for the next bytes up to this size.
const KEPT: usize = 256 << 10;

/// Batches of one turn, after which other connections have theirs.
const BATCHES: usize = 2;

/// How long a publisher waits at a time for a subscriber that it has left with much to write.
const PAUSE: Duration = Duration::from_millis(2);

/// How often a publisher waits for such a subscriber after one batch: it must not be held up by one that never reads.
const PAUSES: u32 = 5;

/// Bytes that have to be written within each write deadline.
const PROGRESS: usize = 64 << 10;

/// When a connection is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// How long a client may take until it has said who it is.
    pub(crate) authentication: Duration,
    /// How often a silent client is asked for a sign of life.
    pub(crate) ping: Duration,
    /// How many such questions may be without an answer.
    pub(crate) unanswered: u32,
    /// How long the client may take to take some of what is written.
    pub(crate) write: Duration,
}

/// A connection, after `INFO` and the handshake of TLS.
pub(crate) struct Connection<S> {
    stream: S,
    place: Place,
    /// Keeps the place once the client has said who it is: it may be silent then.
    seated: Option<UnderWay>,
    shared: Arc<Shared>,
    client: Arc<Client>,
    session: Session,
    times: Times,
    /// A publisher waits for a subscriber that has more bytes than this to write.
    crowded: usize,

    input: BytesMut,
    /// How much is read at once.
    room: usize,
    /// Bytes that have to be in the input for the next operation.
    needs: usize,
    /// Bytes of the budget of unfinished messages that the input holds.
    held: usize,
    paused: Option<(Arc<Client>, u32)>,
    pause: Pin<Box<Sleep>>,

    output: Vec<u8>,
    written: usize,
    /// Whether what was written may still be in the transport.
    unflushed: bool,
    /// Bytes since the write deadline was set.
    progress: usize,
    write_deadline: Option<Instant>,

    authentication_deadline: Instant,
    ping_due: Instant,
    /// Whether the client has said anything since the last look.
    heard: bool,
    unanswered: u32,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(
        stream: S,
        place: Place,
        shared: &Arc<Shared>,
        client: &Arc<Client>,
        times: Times,
        since: Instant,
    ) -> Self {
        let authentication_deadline = since + times.authentication;
        let ping_due = since + times.ping;
        Self {
            stream,
            place,
            seated: None,
            session: Session::new(Arc::clone(shared), Arc::clone(client)),
            crowded: shared.outbound.connection / 8,
            shared: Arc::clone(shared),
            client: Arc::clone(client),
            times,
            input: BytesMut::new(),
            room: SMALL_ROOM,
            needs: 1,
            held: 0,
            paused: None,
            pause: Box::pin(tokio::time::sleep_until(since)),
            output: Vec::new(),
            written: 0,
            unflushed: false,
            progress: 0,
            write_deadline: None,
            authentication_deadline,
            ping_due,
            heard: false,
            unanswered: 0,
            timer: Box::pin(tokio::time::sleep_until(authentication_deadline.min(ping_due))),
        }
    }

    /// Serves the client until the connection ends, and returns why it did.
    pub(crate) async fn serve(mut self) -> Ending {
        let ending = poll_fn(|cx| self.poll(cx)).await;
        if ending == Ending::SlowConsumer {
            weir_service::limited!(
                warn,
                Duration::from_secs(10),
                client = self.client.id,
                name = self.session.name(),
                "slow consumer: a client did not take its messages, which are lost, and is disconnected"
            );
        } else {
            tracing::debug!(client = self.client.id, reason = ending.reason(), "connection ended");
        }
        if !matches!(ending, Ending::Gone | Ending::SlowConsumer) {
            let deadline = self.times.write;
            let last_words = async {
                if let Some(text) = ending.text() {
                    self.session.say_error(text);
                }
                poll_fn(|cx| self.poll_last_words(cx)).await;
            };
            // A client that does not read its last words does without.
            tokio::time::timeout(deadline, last_words).await.ok();
        }
        self.shared.remove(&self.client);
        self.shared.unfinished.give(self.held);
        ending
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.client.outbound.register(cx.waker());
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Err(ending) = self.look() {
                return Poll::Ready(ending);
            }
        }
        for _ in 0..BATCHES {
            if let Some(ending) = self.client.outbound.ending() {
                return Poll::Ready(ending);
            }
            if let Poll::Ready(Err(ending)) = self.poll_write(cx) {
                return Poll::Ready(ending);
            }
            ready!(self.poll_paused(cx));
            if let Err(ending) = ready!(self.poll_batch(cx)) {
                return Poll::Ready(ending);
            }
        }
        // Whoever was woken has its turn before the next batch.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, and carries out what has arrived completely.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        self.make_room()?;
        let room = self.input.capacity() - self.input.len();
        let count = match ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)) {
            Ok(0) | Err(_) => return Poll::Ready(Err(Ending::Gone)),
            Ok(count) => count,
        };
        self.heard = true;
        if count == room {
            self.room = (self.room * 2).min(LARGE_ROOM);
        }
        if self.input.len() < self.needs {
            return Poll::Ready(Ok(()));
        }
        let read = self.session.read(&self.input);
        self.paused = self.session.end_batch(self.crowded).map(|client| (client, 0));
        let read = read?;
        self.input.advance(read.done);
        self.needs = read.needs;
        if self.seated.is_none() && self.session.is_connected() {
            self.seated = Some(self.place.begin());
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for the next read: as much as reads use, and for a large message twice as much as has arrived of it, so
    /// that what it announces costs nothing.
    fn make_room(&mut self) -> Result<(), Ending> {
        if self.held > 0 && self.input.is_empty() {
            self.input = BytesMut::new();
            self.shared.unfinished.give(std::mem::take(&mut self.held));
        }
        let missing = self.needs.saturating_sub(self.input.len());
        let room = missing.min(self.input.len()).max(self.room);
        self.input.reserve(room);
        let more = self.input.capacity().saturating_sub(FREE).saturating_sub(self.held);
        if more > 0 {
            self.held += more;
            if !self.shared.unfinished.take(more) {
                return Err(Ending::Busy);
            }
        }
        Ok(())
    }

    /// Waits, but not for long, while a subscriber has much to write of what this client has published.
    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some((subscriber, pauses)) = &mut self.paused {
            if *pauses == PAUSES || subscriber.outbound.waiting() <= self.crowded {
                self.paused = None;
                break;
            }
            if *pauses == 0 {
                *pauses = 1;
                self.pause.as_mut().reset(Instant::now() + PAUSE);
            }
            ready!(self.pause.as_mut().poll(cx));
            *pauses += 1;
            self.pause.as_mut().reset(Instant::now() + PAUSE);
        }
        Poll::Ready(())
    }

    /// Writes all that waits. Ready without an error when all is with the transport.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        loop {
            if self.written == self.output.len() {
                let mut spare = std::mem::take(&mut self.output);
                if spare.capacity() > KEPT {
                    spare = Vec::new();
                }
                spare.clear();
                self.output = self.client.outbound.take(spare);
                self.written = 0;
                self.write_deadline = None;
                if self.output.is_empty() {
                    if self.unflushed {
                        ready!(self.poll_transport(cx, |stream, cx| stream.poll_flush(cx).map_ok(|()| 1)))?;
                        self.unflushed = false;
                        self.write_deadline = None;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
            let (output, written) = (std::mem::take(&mut self.output), self.written);
            let progress = self.poll_transport(cx, |stream, cx| stream.poll_write(cx, &output[written..]));
            self.output = output;
            let count = ready!(progress)?;
            self.written += count;
            self.unflushed = true;
            self.progress += count;
            if self.progress >= PROGRESS {
                self.progress = 0;
                self.write_deadline = None;
            }
        }
    }

    /// Calls the transport, and sets the write deadline if that has to wait.
    fn poll_transport(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<std::io::Result<usize>>,
    ) -> Poll<Result<usize, Ending>> {
        match call(Pin::new(&mut self.stream), cx) {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Ok(count)),
            Poll::Ready(_) => Poll::Ready(Err(Ending::Gone)),
            Poll::Pending => {
                if self.write_deadline.is_none() {
                    let deadline = Instant::now() + self.times.write;
                    self.write_deadline = Some(deadline);
                    self.progress = 0;
                    if deadline < self.timer.deadline() {
                        self.timer.as_mut().reset(deadline);
                        // Registers the waker for the new deadline, which is in the future.
                        let _pending = self.timer.as_mut().poll(cx);
                    }
                }
                Poll::Pending
            }
        }
    }

    /// Looks what is due, and sets the timer for what is due next.
    fn look(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        if self.write_deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Ending::SlowConsumer);
        }
        let is_connected = self.session.is_connected();
        if !is_connected && self.authentication_deadline <= now {
            return Err(Ending::Late);
        }
        if self.ping_due <= now {
            self.ping_due = now + self.times.ping;
            self.ask()?;
        }
        let authentication = (!is_connected).then_some(self.authentication_deadline);
        let next = [authentication, self.write_deadline].into_iter().flatten();
        self.timer.as_mut().reset(next.fold(self.ping_due, Instant::min));
        Ok(())
    }

    /// Asks a silent client for a sign of life, and gives back the memory that it does not use.
    fn ask(&mut self) -> Result<(), Ending> {
        if std::mem::take(&mut self.heard) {
            self.unanswered = 0;
            return Ok(());
        }
        if self.unanswered >= self.times.unanswered {
            return Err(Ending::Stale);
        }
        self.unanswered += 1;
        if self.session.is_connected() {
            self.session.ping();
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
            self.room = SMALL_ROOM;
            self.shared.unfinished.give(std::mem::take(&mut self.held));
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Writes what waits and closes, whatever else comes.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.poll_write(cx)).is_ok() {
            let rest = self.client.outbound.close();
            if rest.is_empty() {
                // The client may be gone already.
                return Pin::new(&mut self.stream).poll_shutdown(cx).map(drop);
            }
            self.output = rest;
            self.written = 0;
        }
        Poll::Ready(())
    }
}
