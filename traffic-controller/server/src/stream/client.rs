//! Who a stream is for.

use std::net::SocketAddr;

use weir_auth::Caller;

/// A client, as an operator wants to see it named.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// The header `X-Forwarded-For`, as it was sent.
    pub(crate) forwarded_for: String,
    /// What it asked for, with its query.
    pub(crate) path: String,
    /// Who it is.
    pub(crate) caller: Caller,
}

/// Title of the event that says that a slow consumer was disconnected.
pub(crate) const SLOW_CONSUMER: &str = "Traffic Controller has disconnected slow consumer";

impl Client {
    /// Body of that event, in the original's words.
    pub(crate) fn slow_consumer(&self) -> String {
        format!(
            "Remote Address: {}\nX-Forwarded-For: {}\nPath: {}\n\nWhen Loggregator detects a slow connection, that \
             connection is disconnected to prevent back pressure on the system. This may be due to improperly scaled \
             nozzles, or slow user connections to Loggregator",
            self.peer, self.forwarded_for, self.path
        )
    }
}
