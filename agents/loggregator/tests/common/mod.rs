//! An agent under test, and simulated dopplers that keep what they receive.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::task::JoinHandle;
use weir_agents_lib::testing::PATIENCE;
pub(crate) use weir_agents_lib::testing::{Peer, Pki, free_port, log, numbered};
use weir_agents_loggregator::{Config, Error, RawConfig, Server};
use weir_flow::{Ledger, LogContext};
use weir_net::{Channel, Target};
use weir_rpc::producer::{Pace, Producer};
use weir_service::Trigger;

/// A running agent.
pub(crate) struct Agent {
    address: SocketAddr,
    trigger: Trigger,
    context: LogContext,
    running: JoinHandle<Result<(), Error>>,
}

impl Agent {
    pub(crate) async fn start(pki: &Pki, dopplers: &[SocketAddr], raw: RawConfig) -> Self {
        let (trigger, context) = LogContext::in_memory("loggregator-agent");
        let raw = RawConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            identity: pki.agent.clone(),
            dopplers: dopplers.iter().map(|address| (*address).into()).collect(),
            ..raw
        };
        let server = Server::bind(Config::try_from(raw).unwrap(), context.clone())
            .await
            .unwrap();
        let address = server.local_addr();
        Self {
            address,
            trigger,
            context,
            running: tokio::spawn(server.run()),
        }
    }

    pub(crate) fn target(&self, pki: &Pki) -> Target {
        pki.target(self.address)
    }

    pub(crate) fn channel(&self, pki: &Pki) -> Channel {
        Channel::new(&self.target(pki))
    }

    pub(crate) fn producer(&self, pki: &Pki) -> Producer {
        Producer::new(
            &self.target(pki),
            Ledger::in_memory("producer"),
            &self.context.tasks,
            Pace::default(),
        )
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.context.ledger)
    }

    /// Stops the agent in order and returns its ledger.
    pub(crate) async fn stop(self) -> Arc<Ledger> {
        self.trigger.fire();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.context.finish(PATIENCE).await.unwrap();
        self.context.ledger
    }
}
