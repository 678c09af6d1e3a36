//! Resolves host names, a bounded number at a time, so that a name server that does not answer cannot occupy all
//! blocking threads.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_service::Tasks;

/// The greatest number of names that are resolved at a time.
const AT_ONCE: usize = 64;

/// Resolves host names. Clones share the limit of concurrent look-ups.
#[derive(Debug, Clone)]
pub struct Resolver {
    source: Source,
    at_once: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    Fixed(Arc<BTreeMap<String, Vec<IpAddr>>>),
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// Returns the resolver of the system.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Returns a resolver that knows only the given names, for tests.
    #[must_use]
    pub fn fixed<'a>(names: impl IntoIterator<Item = (&'a str, Vec<IpAddr>)>) -> Self {
        let names = names.into_iter().map(|(name, addresses)| (name.to_owned(), addresses));
        Self {
            source: Source::Fixed(Arc::new(names.collect())),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Returns the addresses of `host`, at least one, in the order in which they are to be tried.
    ///
    /// If the caller stops waiting, the look-up still counts as one of the 64 until the system answers, because a
    /// blocking thread cannot be interrupted.
    ///
    /// # Errors
    /// If the system reports an error, or the name has no address.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub async fn resolve(&self, host: &str, tasks: &Tasks) -> io::Result<Vec<IpAddr>> {
        let addresses = match &self.source {
            Source::Fixed(names) => names.get(host).cloned().unwrap_or_default(),
            Source::System => {
                let permit = Arc::clone(&self.at_once)
                    .acquire_owned()
                    .await
                    .map_err(io::Error::other)?;
                let host = host.to_owned();
                let asked = tasks.spawn_blocking("drain name look-up", move || {
                    // Held by the thread and not by the caller, which may stop waiting while the thread is still
                    // blocked.
                    let _permit = permit;
                    let found = (host.as_str(), 0).to_socket_addrs()?;
                    Ok::<_, io::Error>(found.map(|address| address.ip()).collect())
                });
                let mut found: Vec<IpAddr> = asked.await.map_err(io::Error::other)??;
                // The system may list an address more than once, and each costs a share of the dial time-out.
                let mut seen = Vec::new();
                found.retain(|address| {
                    let new = !seen.contains(address);
                    seen.push(*address);
                    new
                });
                found
            }
        };
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }
}
