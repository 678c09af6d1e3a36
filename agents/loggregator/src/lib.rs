//! The loggregator agent: v2 ingress, identity, tags, egress to dopplers.

pub mod rewrite;
