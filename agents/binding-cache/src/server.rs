//! The binding cache as a component: its port, and the tasks that read the sources of bindings.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_drain::Resolver;
use weir_drain::feed::Item;
use weir_flow::LogContext;
use weir_net::{PortLimits, Target, listen, serve_http_within};
use weir_rpc::producer::{Pace, Producer};
use weir_tls::{ClientTls, ServerTls};

use crate::addresses::Addresses;
use crate::config::Api;
use crate::feed::Feed;
use crate::http::AgentApi;
use crate::keeper::{Keeper, SourceName, SourceUpdate};
use crate::metrics::Metrics;
use crate::statics::{StaticDrain, StaticDrains};
use crate::warnings::Warnings;
use crate::watch::FileWatch;
use crate::{Config, Error, aggregate};

/// The name that an agent's certificate must carry (logging §1).
const AGENT: &str = "metron";

/// The number of updates that may wait for the keeper. One per source is enough.
const MAX_UPDATES: usize = 4;

/// How long a warning waits for the agent. If the agent is unreachable for longer, the warning is sent again later.
const AGENT_DEADLINE: Duration = Duration::from_secs(10);

/// A binding cache with an open port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    feed: Option<(Feed, Duration)>,
    agent: Option<Target>,
    config: Config,
    context: LogContext,
    resolver: Resolver,
}

impl Server {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// When a certificate cannot be used, or the port cannot be opened.
    pub async fn bind(mut config: Config, context: LogContext) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let feed = match config.api.take() {
            None => None,
            Some(Api {
                endpoint,
                identity,
                interval,
                deadline,
            }) => {
                let tls = ClientTls::mutual(&identity)?;
                Some((Feed::new(endpoint, &tls, deadline, &context.tasks)?, interval))
            }
        };
        let agent = match &config.agent {
            None => None,
            Some(address) => Some(Target {
                address: address.to_string(),
                server_name: AGENT.to_owned(),
                tls: ClientTls::mutual(&config.identity)?,
            }),
        };
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            feed,
            agent,
            config,
            context,
            resolver: Resolver::system(),
        })
    }

    /// Returns a server that resolves names with `resolver` instead of the system's resolver.
    #[must_use]
    pub fn with_resolver(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// The address on which the cache listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested. Then agents that wait for a change get an answer.
    ///
    /// # Errors
    /// Never. The result has the type that all components have.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            feed,
            agent,
            config,
            context,
            resolver,
            ..
        } = self;
        let file = |path: &Path| path.display().to_string();
        let sources = [
            feed.as_ref()
                .map(|(feed, _)| (SourceName::CloudController, feed.address())),
            config
                .static_drains
                .as_deref()
                .map(|path| (SourceName::Static, file(path))),
            config
                .aggregate_drains
                .as_deref()
                .map(|path| (SourceName::Aggregate, file(path))),
        ];
        let metrics = Metrics::register(&context.meter());
        let addresses = Addresses::new(config.blocked_ranges.clone(), resolver, &context.tasks);
        let (keeper, outputs) = Keeper::new(
            sources.into_iter().flatten(),
            addresses,
            metrics,
            context.clock.clone(),
            &context.tasks,
        );
        let (updates_sender, updates) = mpsc::channel(MAX_UPDATES);
        if let Some((feed, interval)) = feed {
            let polling = poll(feed, interval, updates_sender.clone());
            spawn_until_stop(&context, "poll the cloud controller", polling);
        }
        if let Some(path) = &config.static_drains {
            let watching = watch(
                FileWatch::new(path),
                SourceName::Static,
                statics,
                updates_sender.clone(),
            );
            spawn_until_stop(&context, "watch static drains", watching);
        }
        if let Some(path) = &config.aggregate_drains {
            let watching = watch(
                FileWatch::new(path),
                SourceName::Aggregate,
                aggregates,
                updates_sender.clone(),
            );
            spawn_until_stop(&context, "watch aggregate drains", watching);
        }
        spawn_until_stop(&context, "keep bindings", async move {
            // The keeper ends when all senders are dropped. This one is kept, so that a cache without sources serves as
            // well.
            let _sender = updates_sender;
            keeper.run(updates).await;
        });
        if let Some(target) = agent {
            let pace = Pace {
                patience: AGENT_DEADLINE,
                ..Pace::default()
            };
            let warnings = Warnings {
                complaints: outputs.complaints.clone(),
                producer: Producer::new(&target, Arc::clone(&context.ledger), &context.tasks, pace),
                ledger: Arc::clone(&context.ledger),
                clock: context.clock.clone(),
            };
            let warning = warnings.run(context.shutdown.clone());
            drop(context.tasks.spawn("warn apps", warning));
        }
        let api = AgentApi {
            outputs,
            shutdown: context.shutdown.clone(),
        };
        let shutdown = context.shutdown.clone();
        // All agents may come from one address, such as that of a proxy, and each of them has shown a certificate.
        let agents = PortLimits {
            per_address: config.max_connections,
            ..PortLimits::of(config.max_connections)
        };
        serve_http_within(agents, listener, &tls, api.router(), shutdown, &context.tasks).await;
        Ok(())
    }
}

/// Runs `work` as a task until it is done or shutdown is requested.
fn spawn_until_stop(context: &LogContext, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    let shutdown = context.shutdown.clone();
    drop(context.tasks.spawn(name, async move {
        shutdown.unless_requested(work).await;
    }));
}

/// Reads the cloud controller's list at every `interval`, beginning at once.
async fn poll(feed: Feed, interval: Duration, updates_sender: mpsc::Sender<SourceUpdate>) {
    loop {
        let list = feed.read().await.map_err(|error| error.to_string());
        let source = SourceName::CloudController;
        if updates_sender.send(SourceUpdate { source, list }).await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

/// Reads a file whenever it changes.
async fn watch(
    mut file: FileWatch,
    source: SourceName,
    parse: fn(&str) -> Result<Vec<Item>, String>,
    updates_sender: mpsc::Sender<SourceUpdate>,
) {
    loop {
        let list = match file.changed().await {
            Ok(Some(text)) => parse(&text),
            // A missing file is an empty list, so that an operator can remove the drains by removing the file.
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        if updates_sender.send(SourceUpdate { source, list }).await.is_err() {
            return;
        }
    }
}

/// Reads the file of static drains.
fn statics(text: &str) -> Result<Vec<Item>, String> {
    let drains = StaticDrains::parse(text).map_err(|error| error.to_string())?;
    Ok(drains.drains.iter().map(StaticDrain::item).collect())
}

/// Reads the file of aggregate drains.
fn aggregates(text: &str) -> Result<Vec<Item>, String> {
    aggregate::parse(text).map_err(|error| error.to_string())
}
