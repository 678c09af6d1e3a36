//! What all connections of a router share.

use std::time::Duration;

use weir_net::ProxyVersion;
use weir_service::Clock;
use weir_tls::ClientTls;

use crate::config::AcceptProxy;
use crate::relay::Pipes;
use crate::sessions::Sessions;
use crate::stats::Stats;

/// What a connection needs on its way.
#[derive(Debug)]
pub(crate) struct Router {
    /// How backends with TLS are spoken to; `None`: there are none.
    pub(crate) tls: Option<ClientTls>,
    /// Pipes for splicing.
    pub(crate) pipes: Pipes,
    /// How long things may take.
    pub(crate) times: Times,
    /// Whether clients begin with a PROXY header.
    pub(crate) expected: AcceptProxy,
    /// The PROXY header that backends are sent, if any.
    pub(crate) announced: Option<ProxyVersion>,
    /// The connections that are carried.
    pub(crate) sessions: Sessions,
    /// What the metrics tell.
    pub(crate) stats: Stats,
    /// Where connections are told, if anywhere.
    pub(crate) telemetry: Option<weir_applog::Connections>,
    /// What time it is.
    pub(crate) clock: Clock,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Connecting to a backend, with the handshake of TLS.
    pub(crate) connect: Duration,
    /// A connection on which nothing is carried.
    pub(crate) idle: Duration,
    /// A client's first bytes, where they decide.
    pub(crate) hello: Duration,
}
