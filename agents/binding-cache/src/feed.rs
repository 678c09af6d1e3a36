//! The cloud controller's feed of syslog drains, version 5 (logging §12).
//!
//! A list is read completely or not at all. [`pages`] puts the pages together, and [`client`] requests one page over
//! mTLS.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use weir_drain::feed::Item;
use weir_net::HttpsClient;
use weir_service::Tasks;
use weir_tls::{ClientTls, TlsError};

mod client;
mod pages;

use client::Client;

/// The address of the feed and the limits of requests.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name that the server's certificate must contain.
    pub(crate) server_name: String,
    /// The path in front of the feed's own path.
    pub(crate) path: String,
    pub(crate) batch_size: u64,
    /// How long one request may take.
    pub(crate) timeout: Duration,
    /// The largest size in bytes of all pages together.
    pub(crate) max_bytes: usize,
}

/// The reason for which the list could not be read. The texts contain neither drain URLs nor credentials.
#[derive(Debug, Error)]
pub(crate) enum FeedError {
    /// No connection could be made.
    #[error("cloud controller `{address}` cannot be reached: {reason}")]
    Unreachable { address: String, reason: String },
    /// A request took too long.
    #[error("cloud controller did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Reading the whole list took too long.
    #[error("cloud controller's list of drains could not be read within {} s", .0.as_secs())]
    Deadline(Duration),
    /// The status of an answer is not 200.
    #[error("cloud controller answered with status {status}{}{body}", if body.is_empty() { "" } else { ": " })]
    Status { status: u16, body: String },
    /// The connection ended within an answer.
    #[error("cloud controller's answer broke off: {0}")]
    Broken(String),
    /// The answer is not a page of the feed.
    #[error("cloud controller's answer is no page of drains: {0}")]
    Malformed(String),
    /// The list exceeds the size limit.
    #[error("cloud controller's list of drains is larger than {0} bytes")]
    TooLarge(usize),
    /// The list changed so often that its pages did not fit together.
    #[error("cloud controller's list of drains changed all the time while it was read ({0} attempts)")]
    KeepsChanging(u32),
}

/// Reads the feed of one cloud controller.
#[derive(Debug)]
pub(crate) struct Feed {
    endpoint: Endpoint,
    https: HttpsClient,
    deadline: Duration,
    tasks: Tasks,
}

impl Feed {
    /// A feed that is asked over mTLS.
    ///
    /// # Errors
    /// When the server's name is none that a certificate can carry.
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: &ClientTls,
        deadline: Duration,
        tasks: &Tasks,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            https: HttpsClient::of(&endpoint.server_name, tls)?,
            endpoint,
            deadline,
            tasks: tasks.clone(),
        })
    }

    /// Returns `host:port` for messages.
    pub(crate) fn address(&self) -> String {
        self.endpoint.address()
    }

    /// Reads the whole list. Cancel safe: no state is kept between calls.
    pub(crate) async fn read(&self) -> Result<Vec<Item>, FeedError> {
        let started = Instant::now();
        let mut client = Client::new(&self.endpoint, &self.https, &self.tasks);
        let reading = pages::read_all(&mut client, self.endpoint.batch_size);
        // One deadline for all pages, because a list that changes all the time could be read without end.
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
