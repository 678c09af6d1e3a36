//! Tests of the program as a user runs it: `weir up` and its commands, with a real stack on free ports.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod accounts;
mod commands;
mod drains;
mod jobs;
mod lifecycle;
mod lines;
mod only;
mod processes;
mod routes;
mod stack;
mod state_files;
mod terminal;
