//! Limits warnings of libraries to one per second and place.
//!
//! A library warns about each peer that violates a protocol, which anybody can cause any number of times, and libraries
//! do not use [`weir_service::limited!`]. So their warnings and errors are limited on their way to standard error. Those
//! of transports are not shipped at all (see [`crate::quiet()`]).

use std::cell::Cell;
use std::collections::HashMap;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use weir_service::{EACH_SECOND, RateLimit};

thread_local! {
    /// The number of events that were left out before the one that this thread is about to write.
    static SWALLOWED: Cell<u64> = const { Cell::new(0) };
}

/// Returns how many events of its place were left out before the one that is being written.
pub(crate) fn swallowed() -> u64 {
    SWALLOWED.take()
}

/// Lets one event per second pass for each place in a library. The number of places in the program bounds the map.
#[derive(Debug, Default)]
pub(crate) struct LibraryLimit {
    places: Mutex<HashMap<Identifier, RateLimit>>,
}

impl<S> Filter<S> for LibraryLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // All decisions are made for each event, because a limit depends on the time.
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Whoever enables more than warnings wants to see all of it. Events from the `log` crate are events of
        // libraries as well.
        if metadata.target().starts_with("weir") || *metadata.level() > Level::WARN {
            SWALLOWED.set(0);
            return true;
        }
        let mut places = self.places.lock();
        let limit = places
            .entry(metadata.callsite())
            .or_insert_with(|| RateLimit::new(EACH_SECOND));
        let admitted = limit.admit();
        SWALLOWED.set(admitted.unwrap_or(0));
        admitted.is_some()
    }
}
