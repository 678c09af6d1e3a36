//! One database server for all scenarios that run on it.
//!
//! The server is started by the first scenario, and the shared UAA by the first scenario that uses it. Scenarios on the shared
//! UAA run one at a time, because some of them move its clock; the others run concurrently.

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;
use weir_db::servers::Kind;

use crate::common::{Ground, Uaa};
use crate::{Own, Shared};

/// A database server, and the UAA on it that scenarios share.
pub struct Stage {
    kind: Kind,
    runtime: Mutex<Option<Runtime>>,
    handle: tokio::runtime::Handle,
    /// The server; `None` inside if it is not installed.
    ground: OnceCell<Option<Ground>>,
    uaa: Mutex<Option<Uaa>>,
}

/// Returns a runtime for scenarios.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

impl Stage {
    /// Returns a stage on which nothing was started yet.
    pub fn new(kind: Kind) -> Self {
        let runtime = runtime();
        Self {
            kind,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            ground: OnceCell::new(),
            uaa: Mutex::new(None),
        }
    }

    /// Runs a scenario on the shared UAA, after those that run now.
    pub fn shared(&self, scenario: Shared) {
        let Some(ground) = self.ground() else { return };
        let mut turn = self.uaa.lock();
        let uaa = turn.get_or_insert_with(|| self.handle.block_on(ground.uaa()));
        self.handle.block_on(scenario(uaa));
    }

    /// Runs a scenario that starts its own UAAs.
    pub fn own(&self, scenario: Own) {
        if let Some(ground) = self.ground() {
            self.handle.block_on(scenario(ground));
        }
    }

    /// Stops the shared UAA in order, and then the server.
    pub fn stop(&self) {
        if let Some(uaa) = self.uaa.lock().take() {
            self.handle.block_on(uaa.stop());
        }
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    fn ground(&self) -> Option<&Ground> {
        // On a thread of the runtime: a server is killed when the thread that started it ends, and a test's thread ends with it.
        let start = self
            .ground
            .get_or_init(|| async { self.handle.spawn(Ground::new(self.kind)).await.unwrap() });
        self.handle.block_on(start).as_ref()
    }
}
