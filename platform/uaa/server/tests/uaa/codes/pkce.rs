//! PKCE (RFC 7636), and public clients.

use serde_json::{Value, json};

use super::{VERIFIER, challenge, code_of, error_of, logged_in, path, redeem, request, web_client};
use crate::common::Uaa;

/// A code with a challenge needs its verifier. A verifier without a challenge is refused, so that an attacker cannot remove the
/// challenge from a request.
pub async fn challenges(uaa: &Uaa) {
    uaa.add_user("pia", "pw").await;
    let redirect = web_client(uaa, "pkce", true).await;
    let mut browser = logged_in(uaa, "pia").await;
    let challenge = challenge(VERIFIER);
    let with = [
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let other = "x".repeat(43);
    for verifier in [
        None,
        Some(""),
        Some("short"),
        Some(other.as_str()),
        Some(challenge.as_str()),
    ] {
        let code = code_of(&browser.get(&path(&request("pkce", &redirect, &with))).await, &redirect);
        let mut shown = vec![("code", code.as_str()), ("redirect_uri", redirect.as_str())];
        shown.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        redeem(uaa, "pkce", "web secret", &shown)
            .await
            .refused(400, "invalid_grant");
    }
    let code = code_of(&browser.get(&path(&request("pkce", &redirect, &with))).await, &redirect);
    let shown = [
        ("code", code.as_str()),
        ("redirect_uri", redirect.as_str()),
        ("code_verifier", VERIFIER),
    ];
    redeem(uaa, "pkce", "web secret", &shown).await.ok();
    // A PKCE downgrade (RFC 9700, 4.8.2): the attacker's request has no challenge, the client's exchange has a verifier.
    let code = code_of(&browser.get(&path(&request("pkce", &redirect, &[]))).await, &redirect);
    let shown = [
        ("code", code.as_str()),
        ("redirect_uri", redirect.as_str()),
        ("code_verifier", VERIFIER),
    ];
    redeem(uaa, "pkce", "web secret", &shown)
        .await
        .refused(400, "invalid_grant");
    for bad in [
        vec![("code_challenge", VERIFIER)],
        vec![("code_challenge", VERIFIER), ("code_challenge_method", "plain")],
        vec![("code_challenge", "short"), ("code_challenge_method", "S256")],
        vec![("code_challenge_method", "S256")],
    ] {
        let answer = browser.get(&path(&request("pkce", &redirect, &bad))).await;
        assert_eq!(error_of(&answer, &redirect), "invalid_request", "{bad:?}");
    }
}

/// A public client has no secret and may use any loopback port (RFC 8252), but needs PKCE, and its refresh tokens rotate.
pub async fn public_clients(uaa: &Uaa) {
    uaa.add_user("nora", "pw").await;
    uaa.add_client(json!({
        "client_id": "native",
        "authorized_grant_types": ["authorization_code", "refresh_token"],
        "scope": ["openid"],
        "redirect_uri": ["http://127.0.0.1/cb", "example.native:/cb"],
        "autoapprove": true,
        "allowpublic": true,
    }))
    .await;
    let mut browser = logged_in(uaa, "nora").await;
    let challenge = challenge(VERIFIER);
    let with = [
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    for redirect in ["http://127.0.0.1:49152/cb", "example.native:/cb"] {
        let answer = browser.get(&path(&request("native", redirect, &[]))).await;
        assert_eq!(error_of(&answer, redirect), "invalid_request", "without a challenge");
        let code = code_of(&browser.get(&path(&request("native", redirect, &with))).await, redirect);
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "native"),
            ("code", code.as_str()),
            ("redirect_uri", redirect),
            ("code_verifier", VERIFIER),
        ];
        let body = uaa.client.post("/oauth/token").form(&fields).send().await.ok();
        let refresh = |token: Value| async move {
            let token = token.as_str().unwrap().to_owned();
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", "native"),
                ("refresh_token", token.as_str()),
            ];
            uaa.client.post("/oauth/token").form(&fields).send().await
        };
        let second = refresh(body["refresh_token"].clone()).await.ok();
        assert_ne!(second["refresh_token"], body["refresh_token"]);
        refresh(body["refresh_token"].clone())
            .await
            .refused(401, "invalid_token");
        refresh(second["refresh_token"].clone())
            .await
            .refused(401, "invalid_token");
    }
    // A client without a secret gets no code for an access token, because any program could exchange that code.
    let token = uaa.login("nora", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let asked = path(&request("native", "example.native:/cb", &with));
    let answer = uaa.client.get(&asked).bearer(&token).send().await;
    assert_eq!(error_of(&answer, "example.native:/cb"), "access_denied");
    uaa.add_client(json!({
        "client_id": "hollow",
        "client_secret": "",
        "authorized_grant_types": ["authorization_code", "refresh_token"],
        "scope": ["openid"],
        "redirect_uri": ["https://hollow.example/cb"],
        "autoapprove": true,
    }))
    .await;
    let asked = path(&request("hollow", "https://hollow.example/cb", &[]));
    let answer = uaa.client.get(&asked).bearer(&token).send().await;
    assert_eq!(error_of(&answer, "https://hollow.example/cb"), "access_denied");
    // A client that has a secret must show it.
    web_client(uaa, "secretive", true).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "secretive"),
        ("code", "x"),
    ];
    uaa.client
        .post("/oauth/token")
        .form(&fields)
        .send()
        .await
        .refused(401, "invalid_client");
}
