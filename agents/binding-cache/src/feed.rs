//! The cloud controller's feed of drains, version 5 (logging §12).
//!
//! A list is read whole or not at all: [`pages`] knows how, [`client`] asks for a page over mTLS.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use weir_drain::feed::Item;
use weir_service::Tasks;
use weir_tls::ClientTls;

mod client;
mod pages;

use client::Client;

/// Where the feed is and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name that the certificate must carry.
    pub(crate) server_name: String,
    /// What stands in front of the feed's path.
    pub(crate) path: String,
    pub(crate) batch_size: u64,
    /// For one request.
    pub(crate) timeout: Duration,
    /// For all pages together.
    pub(crate) max_bytes: usize,
}

/// Why the list could not be read. Texts show neither URLs of drains nor credentials.
#[derive(Debug, Error)]
pub(crate) enum FeedError {
    /// No connection.
    #[error("cloud controller `{address}` cannot be reached: {reason}")]
    Unreachable { address: String, reason: String },
    /// A request took too long.
    #[error("cloud controller did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// All of it took too long.
    #[error("cloud controller's list of drains could not be read within {} s", .0.as_secs())]
    Deadline(Duration),
    /// Not what was asked for.
    #[error("cloud controller answered with status {status}{}{body}", if body.is_empty() { "" } else { ": " })]
    Status { status: u16, body: String },
    /// The answer broke off.
    #[error("cloud controller's answer broke off: {0}")]
    Broken(String),
    /// Not a page of the feed.
    #[error("cloud controller's answer is no page of drains: {0}")]
    Malformed(String),
    /// More than we take.
    #[error("cloud controller's list of drains is larger than {0} bytes")]
    TooLarge(usize),
    /// Pages would not fit together.
    #[error("cloud controller's list of drains changed all the time while it was read ({0} attempts)")]
    Restless(u32),
}

/// Asks one cloud controller.
#[derive(Debug)]
pub(crate) struct Feed {
    endpoint: Endpoint,
    tls: ClientTls,
    deadline: Duration,
    tasks: Tasks,
}

impl Feed {
    pub(crate) fn new(endpoint: Endpoint, tls: &ClientTls, deadline: Duration, tasks: &Tasks) -> Self {
        Self {
            endpoint,
            tls: tls.with_alpn(&[weir_tls::ALPN_HTTP1]),
            deadline,
            tasks: tasks.clone(),
        }
    }

    /// `host:port`, for people.
    pub(crate) fn address(&self) -> String {
        self.endpoint.address()
    }

    /// The whole list. Cancel safe: nothing is kept from one call to the next.
    pub(crate) async fn read(&self) -> Result<Vec<Item>, FeedError> {
        let started = Instant::now();
        let mut client = Client::new(&self.endpoint, &self.tls, &self.tasks);
        let reading = pages::read_all(&mut client, self.endpoint.batch_size);
        let items = tokio::time::timeout(self.deadline, reading)
            .await
            .map_err(|_| FeedError::Deadline(self.deadline))??;
        tracing::debug!(
            drains = items.len(),
            milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the cloud controller's list was read"
        );
        Ok(items)
    }
}

impl Endpoint {
    fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
