//! Routing of envelopes to subscriptions.
