//! The gorouter with a job file of the original: `gorouter -c gorouter.yml`, as the original's process-level suite starts its program.
//! SIGUSR1 drains it, SIGTERM and SIGINT end it at once.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own, whose lines are its interface"
)]

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use weir_flow::LogContext;
use weir_platform_gorouter_proxy::job;
use weir_service::{Shutdown, Signals, Trigger};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (stop, context) = LogContext::in_memory("gorouter");
    let (end, at_once) = Shutdown::new();
    // It outlives the request to stop: the next signal may ask for more. The process ends it.
    let obeying = tokio::spawn(obey(stop, end));
    let code = job::run(&words, context, at_once, &mut std::io::stdout()).await;
    obeying.abort();
    code.into()
}

/// Fires `stop` when the router shall drain, and `end` beside it when it shall not.
async fn obey(stop: Trigger, end: Trigger) -> io::Result<()> {
    let mut drain = signal(SignalKind::user_defined1())?;
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            _ = signals.next() => end.fire(),
            _ = drain.recv() => {}
        }
        stop.fire();
    }
}
