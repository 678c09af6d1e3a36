//! What is kept of the tags of backends, so that no request encodes them: the tags of its envelopes, and the numbers of its
//! component.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;
use parking_lot::{Mutex, RwLock};
use weir_applog::AppTags;
use weir_platform_gorouter_table::{Endpoint, Tags};

use super::Counters;

/// The tag that names the component of an endpoint.
const COMPONENT: &str = "component";

/// Components that have metrics of their own. Those beyond them, which registrations could invent, have none.
const MOST_COMPONENTS: usize = 256;

/// What is kept of one set of tags.
#[derive(Debug)]
pub(crate) struct Notes {
    /// Kept so that no other tags have their address.
    tags: Arc<Tags>,
    /// The tags of envelopes.
    pub(super) app: AppTags,
    /// The numbers of the component.
    pub(super) component: Option<Arc<ComponentCounters>>,
}

/// The numbers of one component.
#[derive(Debug, Default)]
pub(crate) struct ComponentCounters {
    /// Attempts at its endpoints.
    pub(super) requests: AtomicU64,
    /// The last request's time, as the bits of a number of milliseconds.
    pub(super) latency: AtomicU64,
    registered: AtomicU64,
    unregistered: AtomicU64,
}

/// What is kept of all tags that endpoints have.
#[derive(Debug)]
pub(super) struct BackendNotes {
    meter: Meter,
    /// By the address of the tags.
    notes: RwLock<HashMap<usize, Arc<Notes>, ahash::RandomState>>,
    components: Mutex<HashMap<String, Arc<ComponentCounters>>>,
}

impl BackendNotes {
    pub(super) fn new(meter: Meter) -> Self {
        Self {
            meter,
            notes: RwLock::default(),
            components: Mutex::default(),
        }
    }

    /// What is kept of the tags of `endpoint`.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Arc<Notes> {
        let tags = endpoint.tags();
        let address = Arc::as_ptr(tags).addr();
        if let Some(notes) = self.notes.read().get(&address) {
            return Arc::clone(notes);
        }
        let notes = Arc::new(Notes {
            app: AppTags::new(tags.iter().collect::<Vec<_>>().iter().copied()),
            component: tags.get(COMPONENT).and_then(|name| self.component(name)),
            tags: Arc::clone(tags),
        });
        Arc::clone(self.notes.write().entry(address).or_insert(notes))
    }

    /// Forgets tags that no endpoint has any more.
    pub(super) fn sweep(&self) {
        self.notes.write().retain(|_, notes| Arc::strong_count(&notes.tags) > 1);
    }

    /// Counts a message of the registry.
    pub(super) fn message(&self, component: Option<&str>, registers: bool, counters: &Counters) {
        let component = component
            .filter(|name| !name.is_empty())
            .and_then(|name| self.component(name));
        let counter = match (&component, registers) {
            (Some(component), true) => &component.registered,
            (Some(component), false) => &component.unregistered,
            (None, true) => &counters.registry_message,
            (None, false) => &counters.unregistry_message,
        };
        Counters::add(counter, 1);
    }

    fn component(&self, name: &str) -> Option<Arc<ComponentCounters>> {
        let mut components = self.components.lock();
        if let Some(known) = components.get(name) {
            return Some(Arc::clone(known));
        }
        if components.len() >= MOST_COMPONENTS {
            return None;
        }
        let counters = Arc::<ComponentCounters>::default();
        self.observe(&counters, name);
        components.insert(name.to_owned(), Arc::clone(&counters));
        Some(counters)
    }

    fn observe(&self, counters: &Arc<ComponentCounters>, name: &str) {
        let count = |metric: String, read: fn(&ComponentCounters) -> &AtomicU64| {
            let counters = Arc::clone(counters);
            self.meter
                .u64_observable_counter(metric)
                .with_callback(move |observer| observer.observe(read(&counters).load(Ordering::Relaxed), &[]))
                .build();
        };
        count(format!("requests.{name}"), |counters| &counters.requests);
        count(format!("registry_message.{name}"), |counters| &counters.registered);
        count(format!("unregistry_message.{name}"), |counters| &counters.unregistered);
        let counters = Arc::clone(counters);
        self.meter
            .f64_observable_gauge(format!("latency.{name}"))
            .with_unit("ms")
            .with_callback(move |observer| {
                observer.observe(f64::from_bits(counters.latency.load(Ordering::Relaxed)), &[]);
            })
            .build();
    }
}
