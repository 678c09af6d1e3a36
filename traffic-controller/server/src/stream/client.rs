//! The client of a stream.

use std::net::SocketAddr;

use weir_auth::Caller;

/// A client as operators see it in logs and events.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The header `X-Forwarded-For` as it was sent.
    pub(crate) forwarded_for: String,
    /// The requested path with its query.
    pub(crate) path: String,
    /// The authorized caller.
    pub(crate) caller: Caller,
}

/// The title of the event about a slow consumer that was disconnected.
pub(crate) const SLOW_CONSUMER: &str = "Traffic Controller has disconnected slow consumer";

impl Client {
    /// Returns the body of that event, in the words of the original.
    pub(crate) fn slow_consumer(&self) -> String {
        format!(
            "Remote Address: {}\nX-Forwarded-For: {}\nPath: {}\n\nWhen Loggregator detects a slow connection, that \
             connection is disconnected to prevent back pressure on the system. This may be due to improperly scaled \
             nozzles, or slow user connections to Loggregator",
            self.peer, self.forwarded_for, self.path
        )
    }
}
