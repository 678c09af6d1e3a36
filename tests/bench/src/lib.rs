//! Benchmarks: CPU time per envelope.
