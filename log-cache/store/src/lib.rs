//! The Arrow-backed log store.
