//! Streams that clients come back to.
//!
//! A client that sends the header `Last-Event-ID` (empty at first) gets events with an id: the session's name, and the
//! event's number in it. When its connection is gone, the stream waits for it with what it kept; a request with the last
//! id goes on behind that event. It must come from the same user or client, with a token that is valid then, and ask for
//! the same. A name is 128 random bits: to know it is not enough, and to guess it is no use.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;
use weir_auth::Caller;
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

/// All sessions of a gateway.
#[derive(Debug)]
pub(crate) struct Sessions {
    most: usize,
    open: Mutex<HashMap<String, Entry>>,
    random: SystemRandom,
}

#[derive(Debug)]
struct Entry {
    owner: String,
    request: EgressBatchRequest,
    stream: mpsc::Sender<Attachment>,
}

impl Sessions {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
            random: SystemRandom::new(),
        })
    }

    /// Opens a session for a stream; `None` if there are too many, or the system has no random bytes.
    pub(crate) fn open(self: &Arc<Self>, caller: &Caller, request: &EgressBatchRequest) -> Option<Session> {
        let mut name = [0; NAME_BYTES];
        self.random.fill(&mut name).ok()?;
        let name = URL_SAFE_NO_PAD.encode(name);
        let (stream, attachments) = mpsc::channel(1);
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
            attachments,
            sessions: Arc::clone(self),
        })
    }

    /// The stream that `caller` comes back to, if there is one that it may have.
    pub(crate) fn find(
        &self,
        cursor: &Cursor,
        caller: &Caller,
        request: &EgressBatchRequest,
    ) -> Option<mpsc::Sender<Attachment>> {
        let open = self.open.lock();
        let entry = open.get(&cursor.session)?;
        (entry.owner == caller.id() && entry.request == *request).then(|| entry.stream.clone())
    }
}

/// A stream's session, until it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    attachments: mpsc::Receiver<Attachment>,
    sessions: Arc<Sessions>,
}

impl Session {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the client to come back. Cancel safe.
    pub(crate) async fn attachment(&mut self) -> Attachment {
        match self.attachments.recv().await {
            Some(attachment) => attachment,
            // The list holds the other end as long as we are.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use weir_auth::Scope;

    use super::*;

    fn request(shard_id: &str) -> EgressBatchRequest {
        EgressBatchRequest {
            shard_id: shard_id.to_owned(),
            ..EgressBatchRequest::default()
        }
    }

    /// A session is found by who opened it, with what it was opened for, as long as it is there.
    #[test]
    fn sessions_belong_to_their_callers() {
        let sessions = Sessions::new(2);
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
