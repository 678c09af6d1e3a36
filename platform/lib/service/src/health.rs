//! How a component is doing, part by part.
//!
//! Parts are few and fixed (`ingress`, `egress`, a critical task). The component is as well as its worst part. Anyone may
//! look ([`Health::report`]) or wait ([`Health::serving`]).

use std::collections::BTreeMap;
use std::fmt;

use tokio::sync::watch;

/// How one part, or the whole, is doing. Ordered from well to ill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Does its work.
    Serving,
    /// Not ready yet.
    Starting,
    /// Stopping in order: takes nothing new, finishes what it has.
    Draining,
    /// Does not work any more, and why.
    Failed(String),
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => formatter.write_str("serving"),
            Self::Starting => formatter.write_str("starting"),
            Self::Draining => formatter.write_str("draining"),
            Self::Failed(reason) => write!(formatter, "failed: {reason}"),
        }
    }
}

type Parts = BTreeMap<&'static str, State>;

/// The states of a component's parts. Clones look at the same ones.
#[derive(Debug, Clone)]
pub struct Health {
    parts: watch::Sender<Parts>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// A component without parts, which counts as starting.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parts: watch::Sender::new(Parts::new()),
        }
    }

    /// Names a part; it is starting until it says otherwise. Naming it again gives another handle and changes nothing.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Part {
        self.parts.send_if_modified(|parts| {
            let known = parts.contains_key(name);
            parts.entry(name).or_insert(State::Starting);
            !known
        });
        Part {
            name,
            health: self.clone(),
        }
    }

    /// The worst state of all parts.
    #[must_use]
    pub fn overall(&self) -> State {
        overall(&self.parts.borrow())
    }

    /// Every part with its state, by name.
    #[must_use]
    pub fn report(&self) -> Vec<(&'static str, State)> {
        self.parts
            .borrow()
            .iter()
            .map(|(name, state)| (*name, state.clone()))
            .collect()
    }

    /// Waits until every part serves, or one failed or drains: then that state is the error. Cancel safe.
    ///
    /// # Errors
    /// The state of a part that will not serve any more.
    pub async fn serving(&self) -> Result<(), State> {
        let mut parts = self.parts.subscribe();
        let settled = parts
            .wait_for(|parts| overall(parts) != State::Starting)
            .await
            .map_or(State::Draining, |parts| overall(&parts));
        match settled {
            State::Serving => Ok(()),
            other => Err(other),
        }
    }

    fn set(&self, name: &'static str, state: State) {
        self.parts.send_if_modified(|parts| {
            let current = parts.entry(name).or_insert(State::Starting);
            let stays = matches!(current, State::Failed(_)) || *current == state;
            if !stays {
                *current = state;
            }
            !stays
        });
    }
}

fn overall(parts: &Parts) -> State {
    parts.values().max().cloned().unwrap_or(State::Starting)
}

/// One part's voice. A part that failed stays failed: the process that comes after it starts anew.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    health: Health,
}

impl Part {
    /// It does its work.
    pub fn serving(&self) {
        self.health.set(self.name, State::Serving);
    }

    /// It is not (or no longer) ready, and means to be.
    pub fn starting(&self) {
        self.health.set(self.name, State::Starting);
    }

    /// It takes nothing new.
    pub fn draining(&self) {
        self.health.set(self.name, State::Draining);
    }

    /// It does not work any more.
    pub fn failed(&self, reason: impl Into<String>) {
        self.health.set(self.name, State::Failed(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole is as well as its worst part, and nothing without parts.
    #[test]
    fn worst_part_counts() {
        let health = Health::new();
        assert_eq!(health.overall(), State::Starting);
        let ingress = health.part("ingress");
        let egress = health.part("egress");
        ingress.serving();
        assert_eq!(health.overall(), State::Starting);
        egress.serving();
        assert_eq!(health.overall(), State::Serving);
        let _same = health.part("egress");
        assert_eq!(health.overall(), State::Serving);
        ingress.draining();
        assert_eq!(health.overall(), State::Draining);
        egress.failed("port is gone");
        egress.serving();
        assert_eq!(health.overall().to_string(), "failed: port is gone");
        assert_eq!(
            health.report(),
            [
                ("egress", State::Failed("port is gone".into())),
                ("ingress", State::Draining)
            ]
        );
    }

    /// A waiter is told when all parts serve, and when they never will.
    #[tokio::test]
    async fn waiters_are_told() {
        let health = Health::new();
        let part = health.part("ingress");
        let waiting = tokio::spawn({
            let health = health.clone();
            async move { health.serving().await }
        });
        part.serving();
        assert_eq!(waiting.await.unwrap(), Ok(()));
        part.failed("gone");
        assert_eq!(health.serving().await, Err(State::Failed("gone".into())));
    }
}
