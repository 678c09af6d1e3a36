//! The connection: made in the background, again and again, watched by whoever depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, Event, ServerAddr, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Serialize;
use tokio::sync::watch;
use weir_service::clock;
use weir_tls::ClientTls;

use crate::{NatsError, NatsSettings};

/// How long one attempt to connect to one server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client that is closed waits until what it has published is written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether NATS can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// There is a connection.
    Connected {
        /// How many connections the client has had, this one included: a higher number is another connection, on which
        /// messages may have been missed before it was made.
        connection: u64,
    },
    /// There is none, and the client tries to make one.
    Lost {
        /// When the last connection ended, or the client was made.
        since: Instant,
    },
}

impl ConnectionState {
    /// Whether there is a connection.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// A client of NATS. Clones share its connection, which ends when all of them and their subscriptions are dropped.
#[derive(Debug, Clone)]
pub struct NatsClient {
    client: async_nats::Client,
    state: watch::Receiver<ConnectionState>,
    dropped: Arc<AtomicU64>,
}

/// The messages of one subscription, in the order in which they arrived.
#[derive(Debug)]
pub struct Subscription(Subscriber);

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The subject that it was published to.
    pub subject: String,
    /// The subject that an answer is published to, if one is wanted.
    pub reply: Option<String>,
    /// The payload.
    pub payload: Bytes,
}

impl NatsClient {
    /// Returns a client that connects in the background. `name` tells the servers who it is, for their logs.
    ///
    /// # Errors
    /// When the certificates, the password file or an address cannot be used. That no server answers is no error: see
    /// [`NatsClient::state`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(settings: &NatsSettings, name: &str) -> Result<Self, NatsError> {
        let servers = addresses(settings)?;
        let (state, watched) = watch::channel(ConnectionState::Lost {
            since: clock::instant(),
        });
        let dropped = Arc::new(AtomicU64::new(0));
        let events = Events {
            state,
            connections: AtomicU64::new(0),
            dropped: Arc::clone(&dropped),
        };
        let events = Arc::new(events);
        let mut options = ConnectOptions::new()
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(settings.ping_interval())
            .subscription_capacity(settings.buffer)
            // All nodes are configured. A name that another server has told could not be verified.
            .ignore_discovered_servers()
            .event_callback(move |event| {
                events.take(&event);
                std::future::ready(())
            });
        if let Some(files) = &settings.identity {
            let tls = ClientTls::long_lived(files, settings.server_name.as_deref())?;
            options = options.require_tls(true).tls_client_config(tls);
        }
        if let Some((user, password)) = settings.credentials()? {
            options = options.user_and_password(user, password.expose().clone());
        }
        let client = options.connect(servers).await.map_err(|error| NatsError::Server {
            server: settings
                .servers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            reason: error.to_string(),
        })?;
        Ok(Self {
            client,
            state: watched,
            dropped,
        })
    }

    /// Whether there is a connection, and every change of that.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// How many messages were dropped because their subscription was read too slowly.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The counter behind [`NatsClient::dropped`]. Unlike a clone of the client, it does not keep the connection.
    #[must_use]
    pub fn dropped_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Subscribes to a subject, which may have wildcards; of the members of a queue group each message goes to one. Works
    /// without a connection, too: the subscription counts from the next one on.
    ///
    /// # Errors
    /// When the subject is none.
    pub async fn subscribe(&self, subject: &str, queue: Option<&str>) -> Result<Subscription, NatsError> {
        let subscribed = match queue {
            None => self.client.subscribe(subject.to_owned()).await,
            Some(queue) => self.client.queue_subscribe(subject.to_owned(), queue.to_owned()).await,
        };
        subscribed
            .map(Subscription)
            .map_err(|error| unsendable(subject, &error))
    }

    /// Publishes a message. It may be lost on the way: NATS delivers at most once.
    ///
    /// # Errors
    /// When there is no connection, the subject is none, or the payload is larger than the server takes.
    pub async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), NatsError> {
        if !self.state.borrow().is_connected() {
            return Err(NatsError::Disconnected);
        }
        let published = self.client.publish(subject.to_owned(), payload).await;
        published.map_err(|error| unsendable(subject, &error))
    }

    /// Publishes a message of routing, or any other value, as JSON.
    ///
    /// # Errors
    /// As [`NatsClient::publish`], and when the value has no form in JSON.
    pub async fn publish_json<T: Serialize>(&self, subject: &str, value: &T) -> Result<(), NatsError> {
        let json = serde_json::to_vec(value).map_err(|error| unsendable(subject, &error))?;
        self.publish(subject, json.into()).await
    }

    /// Waits until all that was published is written to the connection.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn flush(&self) -> Result<(), NatsError> {
        if !self.state.borrow().is_connected() {
            return Err(NatsError::Disconnected);
        }
        self.client.flush().await.map_err(|_| NatsError::Disconnected)
    }

    /// Writes what was published, at most for 2 s, and ends all subscriptions.
    pub async fn close(self) {
        if self.flush_in_time().await {
            self.client.drain().await.ok();
        }
    }

    async fn flush_in_time(&self) -> bool {
        tokio::time::timeout(CLOSE_TIMEOUT, self.flush())
            .await
            .is_ok_and(|flushed| flushed.is_ok())
    }
}

impl Subscription {
    /// The next message. `None` when the client was closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.0.next().await?;
        Some(Message {
            subject: message.subject.into_string(),
            reply: message.reply.map(|reply| reply.into_string()),
            payload: message.payload,
        })
    }

    /// Ends the subscription.
    pub async fn unsubscribe(mut self) {
        // Fails only when the client was closed, which has ended the subscription.
        self.0.unsubscribe().await.ok();
    }
}

/// What becomes of the events of the client library.
#[derive(Debug)]
struct Events {
    state: watch::Sender<ConnectionState>,
    connections: AtomicU64,
    dropped: Arc<AtomicU64>,
}

impl Events {
    fn take(&self, event: &Event) {
        match event {
            Event::Connected => {
                let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
                self.state.send_replace(ConnectionState::Connected { connection });
                tracing::info!(connection, "connected to NATS");
            }
            Event::Disconnected | Event::Closed => {
                let lost = self.state.send_if_modified(|state| {
                    let connected = state.is_connected();
                    if connected {
                        *state = ConnectionState::Lost {
                            since: clock::instant(),
                        };
                    }
                    connected
                });
                if lost && *event == Event::Disconnected {
                    tracing::warn!("connection to NATS was lost");
                }
            }
            Event::SlowConsumer(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                weir_service::limited!(
                    warn,
                    Duration::from_secs(10),
                    "a message of NATS was dropped, because its subscription is read too slowly"
                );
            }
            Event::ServerError(error) => tracing::warn!(%error, "NATS server reports an error"),
            Event::ClientError(error) => {
                weir_service::limited!(warn, Duration::from_secs(10), %error, "cannot connect to NATS");
            }
            Event::LameDuckMode | Event::Draining => tracing::debug!(%event, "event of the NATS client"),
        }
    }
}

/// The servers as the client library takes them.
fn addresses(settings: &NatsSettings) -> Result<Vec<ServerAddr>, NatsError> {
    let address = |server: &weir_config::PeerAddr| {
        let parsed = format!("nats://{server}").parse::<ServerAddr>();
        parsed.map_err(|error| NatsError::Server {
            server: server.to_string(),
            reason: error.to_string(),
        })
    };
    settings.servers.iter().map(address).collect()
}

fn unsendable(subject: &str, error: &dyn std::error::Error) -> NatsError {
    NatsError::Unsendable {
        subject: subject.to_owned(),
        reason: error.to_string(),
    }
}
