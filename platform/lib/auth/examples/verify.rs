//! Measures how long the check of a token takes: `cargo run --release -p weir-auth --features testing --example
//! verify`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for people"
)]

use std::time::Instant;

use weir_auth::Authorizer as _;
use weir_auth::testing::TestIssuer;
use weir_service::Context;

const ROUNDS: u32 = 200_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (_trigger, context) = Context::new("verify");
    let issuer = TestIssuer::new();
    let verifier = issuer.verifier(&context.shutdown, &context.tasks);
    let token = format!(
        "bearer {}",
        issuer.token("admin", &["doppler.firehose", "openid", "cloud_controller.read"])
    );
    verifier.caller(Some(&token)).await.unwrap();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        verifier.firehose(Some(&token)).await.unwrap();
    }
    println!("a token that was seen before   {:?}", begun.elapsed() / ROUNDS);

    let tokens: Vec<String> = (0..2_000)
        .map(|_| issuer.token("admin", &["doppler.firehose"]))
        .collect();
    let begun = Instant::now();
    for token in &tokens {
        verifier.firehose(Some(token)).await.unwrap();
    }
    println!("a new one, its key is known    {:?}", begun.elapsed() / 2_000);

    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(342));
    let begun = Instant::now();
    for _ in 0..2_000 {
        verifier.firehose(Some(&forged)).await.unwrap_err();
    }
    println!("a forged one                   {:?}", begun.elapsed() / 2_000);
}
