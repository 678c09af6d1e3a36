//! The connections that are carried now: how many there are, when the last one has ended, and how to cut them.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{AbortHandle, AbortRegistration};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections of a router. Clones are of one router.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<Open>,
    last_ended: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    sessions: HashMap<u64, AbortHandle>,
    /// No connection lives any more.
    is_cut: bool,
}

/// A connection that is carried until this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        open.sessions.remove(&self.number);
        if open.sessions.is_empty() {
            self.shared.last_ended.notify_waiters();
        }
    }
}

impl Sessions {
    /// Enters a connection, whose work has to end when the registration says so.
    pub(crate) fn enter(&self) -> (Session, AbortRegistration) {
        let (cut, registration) = AbortHandle::new_pair();
        let mut open = self.shared.open.lock();
        let number = open.next;
        open.next += 1;
        if open.is_cut {
            cut.abort();
        }
        open.sessions.insert(number, cut);
        drop(open);
        let shared = Arc::clone(&self.shared);
        (Session { number, shared }, registration)
    }

    /// Waits until there is no connection.
    pub(crate) async fn all_ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.shared.last_ended.notified());
            ended.as_mut().enable();
            if self.shared.open.lock().sessions.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Cuts all connections, also those that come later; how many there are.
    pub(crate) fn cut_all(&self) -> usize {
        let mut open = self.shared.open.lock();
        open.is_cut = true;
        open.sessions.values().for_each(AbortHandle::abort);
        open.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{Abortable, pending};

    use super::*;

    /// Connections end one by one or are cut together, and who waits for the last one is told.
    #[tokio::test]
    async fn the_last_one_is_waited_for() {
        let sessions = Sessions::default();
        sessions.all_ended().await;
        let (first, _cut) = sessions.enter();
        let (second, cut) = sessions.enter();
        let work = tokio::spawn(async move {
            let _second = second;
            Abortable::new(pending::<()>(), cut).await
        });
        drop(first);
        assert!(futures::poll!(std::pin::pin!(sessions.all_ended())).is_pending());
        assert_eq!(sessions.cut_all(), 1);
        assert!(work.await.expect("no panic").is_err());
        sessions.all_ended().await;
        let (_late, cut) = sessions.enter();
        assert!(Abortable::new(pending::<()>(), cut).await.is_err());
    }
}
