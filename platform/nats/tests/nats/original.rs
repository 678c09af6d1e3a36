//! The client library of the stack with the original server.

use tempfile::TempDir;
use weir_nats_client::NatsSettings;

use crate::clients::{identity, routes_are_registered, settings};
use crate::running::Original;

/// Routes are registered at the original, without TLS.
#[tokio::test]
async fn routes_are_registered_at_the_original() {
    let Some(original) = Original::start(&[]).await else {
        return;
    };
    routes_are_registered(&settings(original.address)).await;
}

/// Routes are registered at the original over mutual TLS, by a user with a password.
#[tokio::test]
async fn routes_are_registered_at_the_original_with_certificates() {
    let folder = TempDir::new().expect("a folder");
    let files = identity(folder.path(), "nats");
    let [ca, cert, key] = [&files.ca, &files.cert, &files.key].map(|path| path.to_str().expect("text").to_owned());
    let tls = [
        "--tls",
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ];
    let arguments = [&tls[..], &["--user", "nats", "--pass", "secret"]].concat();
    let Some(original) = Original::start(&arguments).await else {
        return;
    };
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "secret\n").expect("written");
    let settings = NatsSettings {
        identity: Some(identity(folder.path(), "gorouter")),
        server_name: Some("nats".to_owned()),
        user: Some("nats".to_owned()),
        password_file: Some(password_file),
        ..settings(original.address)
    };
    routes_are_registered(&settings).await;
}
