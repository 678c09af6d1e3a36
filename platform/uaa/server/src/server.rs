//! The start, the background tasks and the stop of a UAA.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use weir_net::{listen, serve_http_within};
use weir_platform_uaa_core::admission::PerCaller;
use weir_platform_uaa_core::app::{App, Inner};
use weir_platform_uaa_core::external::Providers;
use weir_platform_uaa_core::hashing::Hasher;
use weir_platform_uaa_core::keys::{Keys, KeysConfig};
use weir_platform_uaa_core::metrics::Metrics;
use weir_platform_uaa_core::revoked::Revoked;
use weir_platform_uaa_core::secret_cache::SecretCache;
use weir_platform_uaa_core::seed::{FirstStart, seed};
use weir_platform_uaa_store::Store;
use weir_platform_uaa_store::secrets::MasterKey;
use weir_service::Context;
use weir_tls::{IdentityFiles, ServerTls};

use crate::{Config, Error, RawIdentity, http};

/// The time between two reads of the keys, which another node may have changed.
const KEYS_EVERY: Duration = Duration::from_secs(5);

/// The time between two removals of expired rows.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The number of requests that may wait for revocations at the same time.
const WAITING: usize = 512;

/// A UAA whose port is open.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    app: App,
    first_start: Option<FirstStart>,
    context: Context,
}

impl Server {
    /// Opens the database and the port. The first start creates groups, clients and the administrator.
    ///
    /// # Errors
    /// When the certificate, the database or a private file cannot be used, or the port is in use.
    pub async fn bind(mut config: Config, context: Context) -> Result<Self, Error> {
        let RawIdentity { cert, key, ca } = config.identity.clone();
        let tls = if ca.as_os_str().is_empty() {
            ServerTls::public(&cert, &key)?
        } else {
            ServerTls::public_knowing(&IdentityFiles { ca, cert, key })?
        };
        let (listener, address) = listen(config.listen.socket()).await?;
        // Port 0 is known only now, and URLs that the configuration leaves out contain the port.
        config.listens_on(address);
        let store = Store::open(&config.database, context.clock.clone()).await?;
        let hasher = Hasher::start(config.hashing, &context.tasks).map_err(Error::Thread)?;
        let opened = Self::open(&store, &hasher, &config, &context).await;
        let (keys, default_groups, first_start) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // The threads would otherwise keep the tasks of the context from ending.
                hasher.stop();
                return Err(error);
            }
        };
        let revoked = Revoked::open(store.clone()).await?;
        let meter = context.meter();
        let app = App::new(Inner {
            issuer: config.issuer(),
            has_own_name: config.has_own_name(),
            keys,
            metrics: Metrics::register(&meter, &hasher, &revoked),
            revoked,
            hasher,
            master: MasterKey::from_file(&config.master_key_file)?,
            secrets: SecretCache::new(context.clock.clone()),
            callers: PerCaller::default(),
            providers: Providers::new(&config.providers, &config.login_url, &context.clock)?,
            clock: context.clock.clone(),
            shutdown: context.shutdown.clone(),
            waiting: Semaphore::new(WAITING),
            default_groups,
            store,
            config,
        });
        Ok(Self {
            listener,
            address,
            tls,
            app,
            first_start,
            context,
        })
    }

    /// Opens the keys and seeds the database, at the same time: the first start takes a second for each.
    async fn open(
        store: &Store,
        hasher: &Hasher,
        config: &Config,
        context: &Context,
    ) -> Result<(Keys, BTreeMap<String, String>, Option<FirstStart>), Error> {
        let master = MasterKey::from_file(&config.master_key_file)?;
        let keys = Keys::open(
            store.clone(),
            MasterKey::from_file(&config.master_key_file)?,
            KeysConfig {
                jku: format!("{}/token_keys", config.external_url),
                longest_access: config.tokens.longest_access,
                rotation: config.tokens.key_rotation,
            },
            context.clock.clone(),
            context.tasks.clone(),
        );
        let seeds = seed(store, hasher, &master, config);
        let (keys, (default_groups, first_start)) = tokio::try_join!(keys, seeds)?;
        Ok((keys, default_groups, first_start))
    }

    /// Returns the address of the port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL that clients know.
    #[must_use]
    pub fn external_url(&self) -> &str {
        &self.app.config.external_url
    }

    /// Returns the administrator and their password, if this start has created that user.
    #[must_use]
    pub const fn first_start(&self) -> Option<&FirstStart> {
        self.first_start.as_ref()
    }

    /// Serves until shutdown is requested, and then until the requests under way are answered.
    ///
    /// # Errors
    /// There is none at present.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            app,
            context,
            ..
        } = self;
        let shutdown = &context.shutdown;
        let work = |app: App| async move {
            tokio::join!(app.revoked.clone().follow(), watch_keys(&app), sweep(&app));
        };
        let stop = shutdown.clone();
        let background = app.clone();
        context.tasks.spawn("housekeeping", async move {
            stop.unless_requested(Box::pin(work(background))).await;
        });
        serve_http_within(
            app.config.port,
            listener,
            &tls,
            http::router(app.clone()),
            shutdown.clone(),
            &context.tasks,
        )
        .await;
        // No request is left that could wait for a hash or the database.
        app.hasher.stop();
        app.store.close().await;
        Ok(())
    }
}

async fn watch_keys(app: &App) {
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        if let Err(error) = app.keys.maintain().await {
            tracing::error!(error = weir_error::chain(&error), "signing keys cannot be read");
        }
    }
}

async fn sweep(app: &App) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match app.store.sweep(app.config.lockout).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "expired rows are removed"),
            Err(error) => tracing::warn!(error = weir_error::chain(&error), "expired rows cannot be removed"),
        }
    }
}
