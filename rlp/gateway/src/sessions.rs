//! Streams that clients come back to.
//!
//! A client that sends the header `Last-Event-ID` (empty at first) gets events with an id: the session's name, and the
//! event's number in it. When its connection is gone, or its time or its token's is over, the stream waits for it with
//! what it kept; a request with the last id goes on behind that event. It must come from the same user or client, with a
//! token that is valid then, and ask for the same. A name is 128 random bits: to know it is not enough, and to guess it
//! is no use.

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

/// What a client says that it has: an event of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    session: String,
    pub(crate) number: u64,
}

impl Cursor {
    /// Reads the header; `None` if it is no id of ours.
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

/// Random bytes of a name, and its length as text.
const NAME_BYTES: usize = 16;
const NAME_LEN: usize = 22;

/// A client at a stream.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) outlet: Outlet,
    pub(crate) caller: Caller,
    /// The number of the last event that it has.
    pub(crate) after: u64,
}

/// A client on its way to a stream, and how it learns that the stream took it.
#[derive(Debug)]
struct Coming {
    attachment: Attachment,
    taken: oneshot::Sender<()>,
}

/// The way to a stream that a client comes back to.
#[derive(Debug)]
pub(crate) struct Way(mpsc::Sender<Coming>);

impl Way {
    /// Hands a client to the stream; whether it took it. One that ends does not, and the client must not be told that it
    /// has a stream.
    pub(crate) async fn attach(self, attachment: Attachment) -> bool {
        let (taken, is_taken) = oneshot::channel();
        self.0.send(Coming { attachment, taken }).await.is_ok() && is_taken.await.is_ok()
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
    stream: mpsc::Sender<Coming>,
}

impl Sessions {
    /// No more than `most`, of which no caller has more than `most_of_one`.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            of_one: Quota::new(most_of_one),
            open: Mutex::default(),
            random: SystemRandom::new(),
        })
    }

    /// Opens a session for a stream; `None` if there are too many, of all or of this caller, or the system has no random
    /// bytes.
    pub(crate) fn open(self: &Arc<Self>, caller: &Caller, request: &EgressBatchRequest) -> Option<Session> {
        let share = self.of_one.take(caller, 1)?;
        let mut name = [0; NAME_BYTES];
        self.random.fill(&mut name).ok()?;
        let name = URL_SAFE_NO_PAD.encode(name);
        let (stream, coming) = mpsc::channel(1);
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
        drop(open);
        Some(Session {
            name,
            coming,
            sessions: Arc::clone(self),
            _share: share,
        })
    }

    /// The stream that `caller` comes back to, if there is one that it may have.
    pub(crate) fn find(&self, cursor: &Cursor, caller: &Caller, request: &EgressBatchRequest) -> Option<Way> {
        let open = self.open.lock();
        let entry = open.get(&cursor.session)?;
        (entry.owner == caller.id() && entry.request == *request).then(|| Way(entry.stream.clone()))
    }
}

/// A stream's session, until it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    coming: mpsc::Receiver<Coming>,
    sessions: Arc<Sessions>,
    _share: Share,
}

impl Session {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the client to come back. Cancel safe.
    pub(crate) async fn attachment(&mut self) -> Attachment {
        while let Some(Coming { attachment, taken }) = self.coming.recv().await {
            // Nobody waits for the word any more: that one is gone again.
            if taken.send(()).is_ok() {
                return attachment;
            }
        }
        // It is retired.
        std::future::pending().await
    }

    /// Nobody is taken from now on, nor whoever is on the way.
    pub(crate) fn retire(&mut self) {
        self.sessions.open.lock().remove(&self.name);
        self.coming.close();
        while self.coming.try_recv().is_ok() {}
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
    use crate::line::Line;

    fn request(shard_id: &str) -> EgressBatchRequest {
        EgressBatchRequest {
            shard_id: shard_id.to_owned(),
            ..EgressBatchRequest::default()
        }
    }

    /// A session is found by who opened it, with what it was opened for, as long as it is there.
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

    /// One caller cannot take them all.
    #[test]
    fn sessions_are_shared_out() {
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

    /// Whoever comes to a stream is told whether it was taken: not before, and not by a stream that ends.
    #[tokio::test]
    async fn only_who_is_taken_has_a_stream() {
        let sessions = Sessions::new(1, 1);
        let dev = Caller::new("dev", Scope::Everything);
        let mut session = sessions.open(&dev, &request("a")).unwrap();
        let cursor = Cursor::parse(&format!("{}.1", session.name())).unwrap();
        let come = || {
            let attachment = Attachment {
                outlet: Outlet::new(Line::new().0).0,
                caller: dev.clone(),
                after: 1,
            };
            let way = sessions.find(&cursor, &dev, &request("a")).unwrap();
            Box::pin(way.attach(attachment))
        };
        let mut first = come();
        assert_eq!(first.as_mut().now_or_never(), None);
        session.attachment().await;
        assert!(first.await);
        // One that has gone again does not take the stream from who comes next.
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

    /// What is no id of ours is none.
    #[test]
    fn other_ids_are_none() {
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
