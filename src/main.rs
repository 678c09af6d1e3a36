//! `weir`: one binary for the whole stack.
fn main() {}
