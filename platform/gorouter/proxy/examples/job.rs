//! The gorouter with a job file of the original: `job -c gorouter.yml`, as the original's process-level suite starts its program.
//! SIGUSR1 drains it, SIGTERM and SIGINT end it.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own, whose lines are its interface"
)]

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use weir_flow::LogContext;
use weir_platform_gorouter_proxy::job;
use weir_service::wait_for_signals;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (trigger, context) = LogContext::in_memory("gorouter");
    let drain = signal(SignalKind::user_defined1());
    context.tasks.spawn("signals", async move {
        match drain {
            Ok(mut drain) => tokio::select! {
                ended = wait_for_signals() => drop(ended),
                _ = drain.recv() => {}
            },
            Err(_) => drop(wait_for_signals().await),
        }
        trigger.fire();
    });
    job::run(&words, context, &mut std::io::stdout()).await.into()
}
