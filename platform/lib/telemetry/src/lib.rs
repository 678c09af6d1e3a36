//! tracing and opentelemetry, shipped into our own pipeline as envelopes.
