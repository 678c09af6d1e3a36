//! Names into addresses, a bounded number at a time: a resolver that does not answer must not take all blocking threads.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use weir_service::Tasks;

/// How many names are asked for at the same time.
const AT_ONCE: usize = 64;

/// Asks the system for addresses. Clones share the bound.
#[derive(Debug, Clone)]
pub struct Resolver {
    answers: Answers,
    at_once: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Answers {
    System,
    Fixed(Arc<BTreeMap<String, Vec<IpAddr>>>),
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl Resolver {
    /// The system's resolver.
    #[must_use]
    pub fn system() -> Self {
        Self {
            answers: Answers::System,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Knows these names and no others: for tests.
    #[must_use]
    pub fn fixed<'a>(names: impl IntoIterator<Item = (&'a str, Vec<IpAddr>)>) -> Self {
        let names = names.into_iter().map(|(name, addresses)| (name.to_owned(), addresses));
        Self {
            answers: Answers::Fixed(Arc::new(names.collect())),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The addresses of `host`, in the order in which they are to be tried; at least one. An answer that comes after the
    /// caller gave up keeps its place among the 64 that are waited for until it is there.
    ///
    /// # Errors
    /// What the system says, and when there is none.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn resolve(&self, host: &str, tasks: &Tasks) -> io::Result<Vec<IpAddr>> {
        let addresses = match &self.answers {
            Answers::Fixed(names) => names.get(host).cloned().unwrap_or_default(),
            Answers::System => {
                let permit = Arc::clone(&self.at_once)
                    .acquire_owned()
                    .await
                    .map_err(io::Error::other)?;
                let host = host.to_owned();
                let asked = tasks.spawn_blocking("drain name look-up", move || {
                    let _permit = permit;
                    let found = (host.as_str(), 0).to_socket_addrs()?;
                    Ok::<_, io::Error>(found.map(|address| address.ip()).collect())
                });
                let mut found: Vec<IpAddr> = asked.await.map_err(io::Error::other)??;
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
