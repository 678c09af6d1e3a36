//! The health of a component and of its parts.
//!
//! A component has a small, fixed set of parts (`ingress`, `egress`, a critical task). Its state is that of its worst
//! part. Any code may read the states ([`Health::report`]), or wait until all parts serve ([`Health::serving`]).

use std::collections::BTreeMap;
use std::fmt;

use tokio::sync::watch;

/// The state of a part or of the whole component. The order is from best to worst.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The part does its work.
    Serving,
    /// The part is not ready yet.
    Starting,
    /// The part is stopping: it accepts nothing new, and finishes what it has.
    Draining,
    /// The part does not work any more, for this reason.
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

/// The states of a component's parts. Clones share the states.
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

    /// Adds a part, whose state is starting. For a part that exists, this returns another handle and changes nothing.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Part {
        self.parts.send_if_modified(|parts| {
            // Waiters are woken only if there is a new part.
            let known = parts.contains_key(name);
            parts.entry(name).or_insert(State::Starting);
            !known
        });
        Part {
            name,
            health: self.clone(),
        }
    }

    /// The state of the component, which is the worst state of its parts.
    #[must_use]
    pub fn overall(&self) -> State {
        overall(&self.parts.borrow())
    }

    /// The name and state of every part, sorted by name.
    #[must_use]
    pub fn report(&self) -> Vec<(&'static str, State)> {
        self.parts
            .borrow()
            .iter()
            .map(|(name, state)| (*name, state.clone()))
            .collect()
    }

    /// Waits until every part serves, or until one has failed or is draining. Cancel safe.
    ///
    /// # Errors
    /// The state of the part that has failed or is draining.
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
            // A failed part stays failed, so that the reason is not lost while the component stops.
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

/// The handle by which a part reports its state. A part that has failed stays failed until the process is restarted.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    health: Health,
}

impl Part {
    /// Reports that the part does its work.
    pub fn serving(&self) {
        self.health.set(self.name, State::Serving);
    }

    /// Reports that the part is not ready, or no longer ready, and will be.
    pub fn starting(&self) {
        self.health.set(self.name, State::Starting);
    }

    /// Reports that the part is stopping and accepts nothing new.
    pub fn draining(&self) {
        self.health.set(self.name, State::Draining);
    }

    /// Reports that the part does not work any more.
    pub fn failed(&self, reason: impl Into<String>) {
        self.health.set(self.name, State::Failed(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state of a component is that of its worst part. A component without parts is starting.
    #[test]
    fn the_worst_part_counts() {
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

    /// A waiter returns when all parts serve, and when one of them has failed.
    #[tokio::test]
    async fn waiting_ends_when_parts_serve_or_fail() {
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
