//! Whether the drains' names have addresses, and allowed ones.
//!
//! An answer is remembered for a minute, a failure for two (logging §12): a name that is asked for again meanwhile counts
//! as failed before. What is not known within a few seconds counts as unknown for now. The syslog agent asks again when it
//! dials, and checks the address that it dials: here it is only about telling people early.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};
use weir_drain::{AddressPolicy, Resolver};
use weir_service::Tasks;

/// An answer is good for so long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A failure is remembered for so long.
const FAILED: Duration = Duration::from_secs(120);

/// For all names of a list together.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has an address at which a drain may be.
    Allowed,
    /// All its addresses are forbidden.
    Blocked,
    /// It has no address.
    Unknown,
    /// It had none a short while ago, and was not asked for again.
    UnknownBefore,
}

/// The names of one list.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, Found>);

impl Names {
    pub(crate) fn of(&self, host: &str) -> Found {
        self.0.get(host).copied().unwrap_or(Found::Unknown)
    }

    #[cfg(test)]
    pub(crate) fn of_tests<const N: usize>(names: [(&str, Found); N]) -> Self {
        Self(names.map(|(name, found)| (name.to_owned(), found)).into())
    }
}

/// Asks, and remembers.
#[derive(Debug)]
pub(crate) struct Addresses {
    policy: AddressPolicy,
    resolver: Resolver,
    tasks: Tasks,
    known: BTreeMap<String, Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    found: Found,
    until: Instant,
}

impl Addresses {
    pub(crate) fn new(policy: AddressPolicy, resolver: Resolver, tasks: &Tasks) -> Self {
        Self {
            policy,
            resolver,
            tasks: tasks.clone(),
            known: BTreeMap::new(),
        }
    }

    /// What is known of `hosts`; asks for those of which nothing is known. Forgets all others.
    pub(crate) async fn look_up(&mut self, hosts: BTreeSet<String>) -> Names {
        let now = Instant::now();
        self.known
            .retain(|host, answer| answer.until > now && hosts.contains(host));
        let mut names = Names::default();
        let mut asked = FuturesUnordered::new();
        for host in hosts {
            match self.known.get(&host) {
                Some(Answer {
                    found: Found::Unknown, ..
                }) => {
                    names.0.insert(host, Found::UnknownBefore);
                }
                Some(answer) => {
                    names.0.insert(host, answer.found);
                }
                None => asked.push(ask(&self.policy, &self.resolver, &self.tasks, host)),
            }
        }
        let deadline = now + PATIENCE;
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = timeout_at(deadline, asked.next()).await {
            answers.push(answer);
        }
        drop(asked);
        for (host, found) in answers {
            let lasts = if found == Found::Unknown { FAILED } else { REMEMBERED };
            names.0.insert(host.clone(), found);
            self.known.insert(
                host,
                Answer {
                    found,
                    until: Instant::now() + lasts,
                },
            );
        }
        names
    }
}

async fn ask(policy: &AddressPolicy, resolver: &Resolver, tasks: &Tasks, host: String) -> (String, Found) {
    let addresses = match host.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => resolver.resolve(&host, tasks).await,
    };
    let found = match addresses {
        Ok(addresses) if addresses.iter().any(|address| policy.allows(*address)) => Found::Allowed,
        Ok(_) => Found::Blocked,
        Err(_) => Found::Unknown,
    };
    (host, found)
}

#[cfg(test)]
mod tests {
    use weir_service::Context;

    use super::*;

    fn hosts<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    /// One allowed address is enough; a failure is remembered for two minutes, and asked for again after.
    #[tokio::test(start_paused = true)]
    async fn answers_are_remembered() {
        let (_trigger, context) = Context::new("binding-cache");
        let address = |text: &str| text.parse().unwrap();
        let resolver = Resolver::fixed([
            ("fine", vec![address("192.0.2.1")]),
            ("mixed", vec![address("10.0.0.1"), address("192.0.2.1")]),
            ("inside", vec![address("10.0.0.1"), address("::ffff:10.0.0.2")]),
        ]);
        let policy = "10.0.0.0-10.255.255.255".parse().unwrap();
        let mut addresses = Addresses::new(policy, resolver, &context.tasks);
        let all = || hosts(["fine", "mixed", "inside", "nowhere", "10.1.2.3", "::1"]);
        let names = addresses.look_up(all()).await;
        assert_eq!(
            (names.of("10.1.2.3"), names.of("::1")),
            (Found::Blocked, Found::Allowed)
        );
        let found = ["fine", "mixed", "inside", "nowhere"].map(|name| names.of(name));
        assert_eq!(found, [Found::Allowed, Found::Allowed, Found::Blocked, Found::Unknown]);
        assert_eq!(addresses.look_up(all()).await.of("nowhere"), Found::UnknownBefore);
        tokio::time::advance(FAILED + Duration::from_secs(1)).await;
        assert_eq!(addresses.look_up(all()).await.of("nowhere"), Found::Unknown);
        addresses.look_up(hosts(["fine"])).await;
        assert_eq!(addresses.known.len(), 1, "others are forgotten");
    }
}
