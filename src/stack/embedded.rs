//! All components in this process. They call each other by gRPC and HTTP over TLS, as separate processes do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use weir_component::Direction;
use weir_flow::{Ledger, LedgerSnapshot};
use weir_service::clock;

use super::hosted::{Bound, Hosted};
use super::{Counts, Event, Plan, config};
use crate::components::{Entry, Table};
use crate::failure::Failure;

/// The running components.
#[derive(Debug)]
pub(crate) struct Embedded {
    table: Table,
    components: Vec<Hosted>,
}

impl Embedded {
    /// Opens all ports at the same time, then starts the components in their order. As every port is open before the first
    /// component runs, no first call is refused. Slow steps, such as UAA's first keys and passwords, run concurrently.
    pub(crate) async fn start(plan: &Plan) -> Result<Self, Failure> {
        let ledgers = plan.state.ledger();
        let mut binding = Vec::new();
        for component in plan.components.start_order() {
            let name = component.name();
            let loaded = config::load(&component, Some(&plan.config(name)), &[])?;
            binding.push(Bound::bind(name, loaded, Some(&ledgers)).boxed());
        }
        let bound = futures::future::try_join_all(binding).await?;
        Ok(Self {
            table: plan.components.clone(),
            components: bound.into_iter().map(Bound::start).collect(),
        })
    }

    /// Returns the process id of each component, which is this process for all.
    pub(crate) fn pids(&self) -> Vec<(&'static str, u32)> {
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

    /// Waits for the next event. The only one here is that a component fails, which ends the stack. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        let ends = self.components.iter_mut().map(|hosted| hosted.ended().boxed());
        let (failure, _, _) = futures::future::select_all(ends).await;
        Event::Fatal(failure)
    }

    /// Stops each component after those that need it. Returns the failures and the final counts.
    pub(crate) async fn stop(self, mut say: impl FnMut(&str, Duration)) -> (Vec<Failure>, Counts) {
        let (mut failures, mut ledgers) = (Vec::<Failure>::new(), Vec::<LedgerSnapshot>::new());
        let mut running: BTreeMap<_, _> = self.components.into_iter().map(|one| (one.component, one)).collect();
        let stop = |component: &Entry| OptionFuture::from(running.remove(component.name()).map(stop_timed));
        let mut stopping = self.table.walk(Direction::Stop, stop);
        while let Some((component, stopped)) = stopping.next().await {
            let Some((result, ledger, took)) = stopped else {
                continue;
            };
            failures.extend(result.err());
            ledgers.push(ledger);
            say(component.name(), took);
        }
        (failures, Counts::of(ledgers))
    }
}

/// Stops a component. Returns its final counts and the time that the stop took.
async fn stop_timed(hosted: Hosted) -> (Result<(), Failure>, LedgerSnapshot, Duration) {
    let started = clock::instant();
    let ledger = hosted.ledger();
    let result = hosted.stop().await;
    (result, ledger.snapshot(), clock::instant().duration_since(started))
}
