//! Test helpers: the conservation oracle, stacks, clients.
