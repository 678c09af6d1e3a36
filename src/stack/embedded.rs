//! All components as parts of this process. They talk over their real protocols all the same.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use weir_flow::{Ledger, LedgerSnapshot};
use weir_service::clock;

use super::hosted::{Bound, Hosted};
use super::{Component, Counts, Event, Plan, config};
use crate::failure::Failure;

/// The running components, in the order in which they started.
#[derive(Debug)]
pub(crate) struct Embedded {
    components: Vec<Hosted>,
}

impl Embedded {
    /// Opens all ports, then starts all components: none of them waits for one that comes later. What takes a while, such as
    /// the first keys and passwords of UAA, happens beside the rest.
    pub(crate) async fn start(plan: &Plan) -> Result<Self, Failure> {
        let ledgers = plan.state.ledger();
        let mut binding = Vec::new();
        for component in Component::IN_ORDER {
            let loaded = config::load(component, Some(&plan.config(component)), &[])?;
            binding.push(Bound::bind(component, loaded.config, Some(&ledgers)).boxed());
        }
        let bound = futures::future::try_join_all(binding).await?;
        Ok(Self {
            components: bound.into_iter().map(Bound::start).collect(),
        })
    }

    /// The processes: all the same one.
    pub(crate) fn pids(&self) -> Vec<(Component, u32)> {
        self.components
            .iter()
            .map(|hosted| (hosted.component, std::process::id()))
            .collect()
    }

    pub(crate) fn ledgers(&self) -> Vec<Arc<Ledger>> {
        self.components.iter().map(Hosted::ledger).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::of(self.components.iter().map(Hosted::counts))
    }

    /// Waits for something to happen: here only that a component fails, after which the stack is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        let ends = self.components.iter_mut().map(|hosted| hosted.ended().boxed());
        let (failure, _, _) = futures::future::select_all(ends).await;
        Event::Fatal(failure)
    }

    /// Stops along the way of an envelope, each component only after those that feed it. Gives what was not as it should,
    /// and the final counts.
    pub(crate) async fn stop(mut self, mut say: impl FnMut(Component, Duration)) -> (Vec<Failure>, Counts) {
        let (mut failures, mut ledgers) = (Vec::<Failure>::new(), Vec::<LedgerSnapshot>::new());
        while let Some(hosted) = self.components.pop() {
            let started = clock::instant();
            let component = hosted.component;
            let ledger = hosted.ledger();
            failures.extend(hosted.stop().await.err());
            ledgers.push(ledger.snapshot());
            say(component, clock::instant().duration_since(started));
        }
        (failures, Counts::of(ledgers))
    }
}
