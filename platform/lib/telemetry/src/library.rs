//! What libraries say about strangers: each warning at most once a second.
//!
//! A library warns of each peer that breaks a protocol, which anybody can do as often as they like, and we cannot make it
//! use [`weir_service::limited!`]. So its warnings and errors are limited on their way to standard error. Those of the
//! transports are not shipped at all (see [`crate::quiet()`]).

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
    /// How many were left out before the event that this thread is about to write.
    static SWALLOWED: Cell<u64> = const { Cell::new(0) };
}

/// How many events of its place were left out before the one that is being written.
pub(crate) fn swallowed() -> u64 {
    SWALLOWED.take()
}

/// Lets one event of each place in a library through each second. As many places as there are in the program bound it.
#[derive(Debug, Default)]
pub(crate) struct LibraryLimit {
    places: Mutex<HashMap<Identifier, RateLimit>>,
}

impl<S> Filter<S> for LibraryLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
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
        // Who asks for more than warnings wants to see all of it. What comes through the `log` crate is of a library as well.
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
