//! The routing API with a job file of the original: `job -config routing-api.yml -ip 10.0.0.1 [-devMode]`, as the original's
//! process-level suite starts its program.

#![expect(
    clippy::disallowed_methods,
    reason = "lines of the original's form go to standard output as they are"
)]

use std::process::ExitCode;

use weir_platform_routing_api::job;
use weir_service::{Context, wait_for_signals};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (trigger, context) = Context::new("routing-api");
    context.tasks.spawn("signals", async move {
        drop(wait_for_signals().await);
        trigger.fire();
    });
    job::run(&words, context, &mut std::io::stdout()).await.into()
}
