//! `weir`: the one executable. It parses the command line, runs the command on a Tokio runtime, and turns a failure
//! into two lines of text (`error: …`, `hint: …`) and an exit code. Everything else lives in the modules below.
//!
//! | Module | Owns |
//! |---|---|
//! | [`cli`] | the tree of commands and the texts of `--help` |
//! | [`commands`] | one file per command |
//! | [`components`] | the table of components: one line each |
//! | [`stack`] | `weir up`: ports, configuration files, start, supervision, status, ordered stop |
//! | [`state`] | the state directory, `endpoints.json`, the lock |
//! | [`client`] | how a command reaches a running stack |
//! | [`lines`], [`render`], [`terminal`] | bytes to lines, envelopes to text, what a terminal shows |

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

/// Batches of envelopes are allocated and freed on different threads all day: what mimalloc is good at.
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
