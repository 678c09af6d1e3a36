//! Streams that clients can resume.
//!
//! A client that sends the header `Last-Event-ID`, which is empty at first, gets events with an id. An id consists of
//! the name of the session and the number of the event. When the connection is lost, or the time limit of the stream or
//! its token is reached, the stream waits for its client and keeps events. A request with the id of the last received
//! event continues after that event. It must come from the same user or client, with a token that is valid then, and
//! have the same query. The name has 128 random bits, so it cannot be guessed, and knowing it does not suffice.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{mpsc, oneshot};
use weir_auth::{Caller, Quota, Share};
use weir_proto::loggregator_v2::EgressBatchRequest;

use crate::outlet::Outlet;

/// The last event of a session that a client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    session: String,
    pub(crate) number: u64,
}

impl Cursor {
    /// Parses the header. Returns `None` if it is not an id of this gateway.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (session, number) = text.trim().rsplit_once('.')?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (digits && session.len() == NAME_LEN).then_some(())?;
        Some(Self {
            session: session.to_owned(),
            number: number.parse().ok()?,
        })
    }
}

/// The number of random bytes in the name of a session.
const NAME_BYTES: usize = 16;
/// The length of the name as text.
const NAME_LEN: usize = 22;

/// A client that is connected to a stream.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) outlet: Outlet,
    pub(crate) caller: Caller,
    /// The number of the last event that the client has.
    pub(crate) after: u64,
}

/// A client that asks to be connected to a stream, and the sender with which the stream accepts it.
#[derive(Debug)]
struct AttachRequest {
    attachment: Attachment,
    taken: oneshot::Sender<()>,
}

/// A handle through which a client can be connected to an existing stream.
#[derive(Debug)]
pub(crate) struct StreamHandle(mpsc::Sender<AttachRequest>);

impl StreamHandle {
    /// Hands the client to the stream. Returns whether the stream accepted it. A stream that is ending does not, and
    /// then the client must not get a success response.
    pub(crate) async fn attach(self, attachment: Attachment) -> bool {
        let (taken, is_taken) = oneshot::channel();
        // A request in the channel of a stream that ends is dropped with its `taken`, which makes this false.
        self.0.send(AttachRequest { attachment, taken }).await.is_ok() && is_taken.await.is_ok()
    }
}

/// All sessions of a gateway.
#[derive(Debug)]
pub(crate) struct Sessions {
    most: usize,
    of_one: Arc<Quota>,
    open: Mutex<HashMap<String, Entry>>,
    random: SystemRandom,
}

#[derive(Debug)]
struct Entry {
    owner: String,
    request: EgressBatchRequest,
    stream: mpsc::Sender<AttachRequest>,
}

impl Sessions {
    /// Creates sessions, at most `most`, and at most `most_of_one` of one caller.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            of_one: Quota::new(most_of_one),
            open: Mutex::default(),
            random: SystemRandom::new(),
        })
    }

    /// Opens a session for a stream. Returns `None` if there are too many, in total or of this caller, or if the system
    /// has no random bytes.
    pub(crate) fn open(self: &Arc<Self>, caller: &Caller, request: &EgressBatchRequest) -> Option<Session> {
        let share = self.of_one.take(caller, 1)?;
        // The name is a secret of its owner, who proves with it that an event was received.
        let mut name = [0; NAME_BYTES];
        self.random.fill(&mut name).ok()?;
        let name = URL_SAFE_NO_PAD.encode(name);
        let (stream, requests) = mpsc::channel(1);
        let mut open = self.open.lock();
        if open.len() >= self.most {
            return None;
        }
        let entry = Entry {
            owner: caller.id().to_owned(),
            request: request.clone(),
            stream,
        };
        open.insert(name.clone(), entry);
        // Released before the session is built, because dropping a session takes this lock.
        drop(open);
        Some(Session {
            name,
            requests,
            sessions: Arc::clone(self),
            _share: share,
        })
    }

    /// Returns the handle of the stream that `cursor` names, if `caller` opened it with an equal request.
    pub(crate) fn find(&self, cursor: &Cursor, caller: &Caller, request: &EgressBatchRequest) -> Option<StreamHandle> {
        let open = self.open.lock();
        let entry = open.get(&cursor.session)?;
        // Another caller, or another query, gets the same answer as an unknown session, and learns nothing about it.
        (entry.owner == caller.id() && entry.request == *request).then(|| StreamHandle(entry.stream.clone()))
    }
}

/// The session of a stream. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    requests: mpsc::Receiver<AttachRequest>,
    sessions: Arc<Sessions>,
    _share: Share,
}

impl Session {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until a client reconnects. Cancel safe.
    pub(crate) async fn attachment(&mut self) -> Attachment {
        while let Some(AttachRequest { attachment, taken }) = self.requests.recv().await {
            // Nobody waits for the answer, so this client has disconnected again.
            if taken.send(()).is_ok() {
                return attachment;
            }
        }
        // The session is retired.
        std::future::pending().await
    }

    /// Refuses clients from now on, including those that are waiting.
    pub(crate) fn retire(&mut self) {
        // The entry is removed first, so that nobody gets a new handle. Closing then refuses requests of existing
        // handles.
        self.sessions.open.lock().remove(&self.name);
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use weir_auth::Scope;

    use super::*;
    use crate::connection::ConnectionHandle;

    fn request(shard_id: &str) -> EgressBatchRequest {
        EgressBatchRequest {
            shard_id: shard_id.to_owned(),
            ..EgressBatchRequest::default()
        }
    }

    /// A session is found only by its caller and with its request, while it exists.
    #[test]
    fn sessions_belong_to_their_callers() {
        let sessions = Sessions::new(2, 2);
        let (dev, other) = (
            Caller::new("dev", Scope::Everything),
            Caller::new("other", Scope::Everything),
        );
        let session = sessions.open(&dev, &request("a")).unwrap();
        assert_eq!(session.name().len(), NAME_LEN);
        let cursor = Cursor::parse(&format!(" {}.17 ", session.name())).unwrap();
        assert_eq!(cursor.number, 17);
        assert!(sessions.find(&cursor, &dev, &request("a")).is_some());
        assert!(sessions.find(&cursor, &other, &request("a")).is_none());
        assert!(sessions.find(&cursor, &dev, &request("b")).is_none());
        let second = sessions.open(&dev, &request("a")).unwrap();
        assert_ne!(second.name(), session.name());
        assert!(sessions.open(&dev, &request("a")).is_none());
        drop(session);
        assert!(sessions.find(&cursor, &dev, &request("a")).is_none());
        assert!(sessions.open(&dev, &request("a")).is_some());
    }

    /// One caller cannot take all sessions.
    #[test]
    fn one_caller_cannot_take_all_sessions() {
        let sessions = Sessions::new(3, 2);
        let [a, b, c] = ["a", "b", "c"].map(|name| Caller::new(name, Scope::Everything));
        let first = sessions.open(&a, &request("x")).unwrap();
        let _second = sessions.open(&a, &request("x")).unwrap();
        assert!(sessions.open(&a, &request("x")).is_none());
        let third = sessions.open(&b, &request("x")).unwrap();
        assert!(sessions.open(&c, &request("x")).is_none());
        drop((first, third));
        let _fourth = sessions.open(&a, &request("x")).unwrap();
        assert!(sessions.open(&c, &request("x")).is_some());
    }

    /// A client learns whether the stream accepted it: not before it did, and not from a stream that is ending.
    #[tokio::test]
    async fn only_accepted_clients_have_a_stream() {
        let sessions = Sessions::new(1, 1);
        let dev = Caller::new("dev", Scope::Everything);
        let mut session = sessions.open(&dev, &request("a")).unwrap();
        let cursor = Cursor::parse(&format!("{}.1", session.name())).unwrap();
        let come = || {
            let attachment = Attachment {
                outlet: Outlet::new(ConnectionHandle::new().0).0,
                caller: dev.clone(),
                after: 1,
            };
            let handle = sessions.find(&cursor, &dev, &request("a")).unwrap();
            Box::pin(handle.attach(attachment))
        };
        let mut first = come();
        assert_eq!(first.as_mut().now_or_never(), None);
        session.attachment().await;
        assert!(first.await);
        // A client that has disconnected again does not keep the next one from the stream.
        let mut gone = come();
        assert_eq!(gone.as_mut().now_or_never(), None);
        drop(gone);
        let mut second = come();
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(session.attachment().now_or_never().map(|_| ()), None);
        assert_eq!(second.as_mut().now_or_never(), None);
        let (taken, _) = tokio::join!(second, session.attachment());
        assert!(taken);
        let (mut waits, mut waits_for_room) = (come(), come());
        assert_eq!(waits.as_mut().now_or_never(), None);
        assert_eq!(waits_for_room.as_mut().now_or_never(), None);
        session.retire();
        assert!(!waits.await && !waits_for_room.await);
        assert!(sessions.find(&cursor, &dev, &request("a")).is_none());
        assert!(session.attachment().now_or_never().is_none());
    }

    /// Texts that are not ids of this gateway are not accepted.
    #[test]
    fn foreign_ids_are_rejected() {
        for text in [
            "",
            "0",
            "1700000000",
            "short.1",
            ".1",
            "aaaaaaaaaaaaaaaaaaaaaa.",
            "aaaaaaaaaaaaaaaaaaaaaa.x",
            "aaaaaaaaaaaaaaaaaaaaaa.-1",
            "aaaaaaaaaaaaaaaaaaaaaa.99999999999999999999999",
            "../../etc/passwd.1",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
