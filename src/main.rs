//! The program `weir`. It parses the command line, runs a command on a Tokio runtime, and turns a failure into two lines of text
//! (`error: …`, `hint: …`) and an exit code.
//!
//! | Module | Contents |
//! |---|---|
//! | [`cli`] | the tree of commands and the texts of `--help` |
//! | [`commands`] | the commands, each in its own file |
//! | [`components`] | the table of components |
//! | [`stack`] | `weir up`: ports, configuration files, start, supervision, status, ordered stop |
//! | [`state`] | the state directory, `endpoints.json`, the lock |
//! | [`client`] | the connection of a command to a running stack |
//! | [`lines`], [`render`], [`terminal`] | bytes as lines, envelopes as text, output on a terminal |

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod background;
mod cli;
mod client;
mod commands;
mod components;
mod failure;
mod lines;
mod render;
mod stack;
mod state;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// The allocator. Batches of envelopes are often freed on another thread than the one that allocated them, which mimalloc does
/// faster than the allocator of the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned());
    let result = match commands::job::Job::of(words) {
        Some(job) => commands::run_job(job),
        None => commands::run(cli::Cli::parse()),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
