//! Resolves the host names of drains, and checks their addresses against the forbidden ranges.
//!
//! An answer is remembered for one minute and a failure for two (logging §12). A name that is asked for again in that
//! time counts as failed before. A name that is not resolved within a few seconds counts as unknown for now. The syslog
//! agent resolves the name again when it connects, and checks the address that it connects to. This module only serves
//! to warn people early.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};
use weir_drain::{AddressPolicy, Resolver};
use weir_service::Tasks;

/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How long a failure is remembered.
const FAILED: Duration = Duration::from_secs(120);

/// How long the names of one list may take to resolve, all together.
const PATIENCE: Duration = Duration::from_secs(5);

/// The result of resolving a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The name has an address that is not forbidden.
    Allowed,
    /// All addresses of the name are forbidden.
    Blocked,
    /// The name has no address.
    Unknown,
    /// The name had no address a short while ago, and was not asked for again.
    UnknownBefore,
}

/// The results for the names of one list.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, Resolution>);

impl Names {
    pub(crate) fn of(&self, host: &str) -> Resolution {
        self.0.get(host).copied().unwrap_or(Resolution::Unknown)
    }

    #[cfg(test)]
    pub(crate) fn of_tests<const N: usize>(names: [(&str, Resolution); N]) -> Self {
        Self(names.map(|(name, found)| (name.to_owned(), found)).into())
    }
}

/// Resolves names and remembers the results.
#[derive(Debug)]
pub(crate) struct Addresses {
    policy: AddressPolicy,
    resolver: Resolver,
    tasks: Tasks,
    known: BTreeMap<String, Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    found: Resolution,
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

    /// Returns the results for `hosts`. Names without a remembered result are resolved, and all other names are
    /// forgotten.
    pub(crate) async fn look_up(&mut self, hosts: BTreeSet<String>) -> Names {
        let now = Instant::now();
        self.known
            .retain(|host, answer| answer.until > now && hosts.contains(host));
        let mut names = Names::default();
        let mut asked = FuturesUnordered::new();
        for host in hosts {
            match self.known.get(&host) {
                Some(Answer {
                    found: Resolution::Unknown,
                    ..
                }) => {
                    names.0.insert(host, Resolution::UnknownBefore);
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
        // Names that were too slow are neither remembered nor among the results, and `of` reports them as unknown.
        drop(asked);
        for (host, found) in answers {
            let lasts = if found == Resolution::Unknown {
                FAILED
            } else {
                REMEMBERED
            };
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

async fn ask(policy: &AddressPolicy, resolver: &Resolver, tasks: &Tasks, host: String) -> (String, Resolution) {
    let addresses = match host.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => resolver.resolve(&host, tasks).await,
    };
    let found = match addresses {
        Ok(addresses) if addresses.iter().any(|address| policy.allows(*address)) => Resolution::Allowed,
        Ok(_) => Resolution::Blocked,
        Err(_) => Resolution::Unknown,
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

    /// One allowed address is enough. A failure is remembered for two minutes, and then the name is resolved again.
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
            (Resolution::Blocked, Resolution::Allowed)
        );
        let found = ["fine", "mixed", "inside", "nowhere"].map(|name| names.of(name));
        assert_eq!(
            found,
            [
                Resolution::Allowed,
                Resolution::Allowed,
                Resolution::Blocked,
                Resolution::Unknown
            ]
        );
        assert_eq!(addresses.look_up(all()).await.of("nowhere"), Resolution::UnknownBefore);
        tokio::time::advance(FAILED + Duration::from_secs(1)).await;
        assert_eq!(addresses.look_up(all()).await.of("nowhere"), Resolution::Unknown);
        addresses.look_up(hosts(["fine"])).await;
        assert_eq!(addresses.known.len(), 1, "others are forgotten");
    }
}
