//! The file with the clients' secrets, and the effect of changes to it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::common::{Answer, Ground, Uaa};

type Secrets = BTreeMap<String, String>;

fn read(path: &Path) -> Secrets {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn write(path: &Path, secrets: &Secrets) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, serde_json::to_string(secrets).unwrap()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn shows(uaa: &Uaa, client: &str, secret: &str) -> Answer {
    uaa.token_as(client, secret, &[("grant_type", "client_credentials")])
        .await
}

/// Only secrets that were changed in the file take effect at the next start: a secret that was set by the API is kept, and an
/// older copy of the file does not restore old secrets.
pub async fn only_changed_secrets_take_effect(ground: &Ground) {
    let uaa = ground.uaa().await;
    let path = uaa.folder.path().join("client-secrets.json");
    let first = read(&path);
    let root = uaa.root().await;
    let rotated = json!({"secret": "rotated by the API"});
    let request = uaa.client.put("/oauth/clients/doppler/secret").bearer(&root);
    request.json(&rotated).send().await.ok();
    let mut changed = first.clone();
    changed.insert("gorouter".to_owned(), "changed in the file".to_owned());
    write(&path, &changed);
    let uaa = uaa.restart(|_| {}).await;
    shows(&uaa, "gorouter", "changed in the file").await.ok();
    shows(&uaa, "gorouter", &first["gorouter"])
        .await
        .refused(401, "invalid_client");
    shows(&uaa, "doppler", "rotated by the API").await.ok();
    shows(&uaa, "doppler", &first["doppler"])
        .await
        .refused(401, "invalid_client");
    // A node with an older copy.
    write(&path, &first);
    let uaa = uaa.restart(|_| {}).await;
    shows(&uaa, "gorouter", "changed in the file").await.ok();
    shows(&uaa, "doppler", "rotated by the API").await.ok();
    // Two changes at a time, and a client that no file had so far.
    changed.insert("doppler".to_owned(), "by the file again".to_owned());
    changed.insert("cf_smoke_tests".to_owned(), "another".to_owned());
    write(&path, &changed);
    let uaa = uaa.restart(|_| {}).await;
    for (client, secret) in [
        ("doppler", "by the file again"),
        ("cf_smoke_tests", "another"),
        ("gorouter", "changed in the file"),
        ("admin", first["admin"].as_str()),
    ] {
        shows(&uaa, client, secret).await.ok();
    }
    // A lost file is not created anew. One secret in a new file is enough to regain access, and revokes the client's tokens.
    let leaked = shows(&uaa, "admin", &first["admin"]).await.ok()["access_token"].clone();
    let lists = async |uaa: &Uaa| {
        let request = uaa.client.get("/Groups").bearer(leaked.as_str().unwrap());
        request.send().await
    };
    lists(&uaa).await.ok();
    std::fs::remove_file(&path).unwrap();
    let uaa = uaa.restart(|_| {}).await;
    assert!(!path.exists());
    write(&path, &[("admin".to_owned(), "back in".to_owned())].into());
    let uaa = uaa.restart(|_| {}).await;
    shows(&uaa, "admin", "back in").await.ok();
    lists(&uaa).await.refused(401, "invalid_token");
    shows(&uaa, "doppler", "by the file again").await.ok();
    uaa.stop().await;
}

/// A node that starts on an existing database without the file, or with an unrelated one, changes no secret and generates none.
pub async fn a_missing_or_unrelated_file(ground: &Ground) {
    let uaa = ground.uaa().await;
    let known = read(&uaa.folder.path().join("client-secrets.json"));
    let elsewhere = tempfile::tempdir().unwrap();
    let absent = elsewhere.path().join("absent.json");
    let other = uaa
        .another_node_with(|raw| raw.client_secrets_file = absent.clone())
        .await;
    for node in [&uaa, &other] {
        shows(node, "doppler", &known["doppler"]).await.ok();
    }
    assert!(!absent.exists(), "new secrets were generated");
    other.stop().await;
    let foreign = elsewhere.path().join("foreign.json");
    let made_up = known
        .keys()
        .map(|id| (id.clone(), format!("made up for {id}")))
        .collect();
    write(&foreign, &made_up);
    let other = uaa
        .another_node_with(|raw| raw.client_secrets_file = foreign.clone())
        .await;
    for node in [&uaa, &other] {
        for (client, secret) in &known {
            let answer = shows(node, client, secret).await;
            assert!(
                answer.json()["error"] != "invalid_client" || client == "ssh-proxy",
                "{client}"
            );
        }
    }
    assert_eq!(read(&foreign), made_up);
    other.stop().await;
    uaa.stop().await;
}
