//! Refresh tokens, with and without rotation.

use crate::common::{Ground, Uaa, claims, texts};

/// A refresh token works several times, for its client only, with the granted scopes or fewer.
pub async fn refresh(uaa: &Uaa) {
    uaa.add_user("rita", "rita's password").await;
    let first = uaa.login("rita", "rita's password").await.ok();
    let refresh = first["refresh_token"].as_str().unwrap();
    let shown = claims(refresh);
    assert!(shown["jti"].as_str().unwrap().ends_with("-r"));
    assert_eq!(texts(&shown["aud"]), [uaa.issuer()]);
    assert_eq!(
        shown["exp"].as_i64().unwrap() - shown["iat"].as_i64().unwrap(),
        2_592_000
    );
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let second = uaa.token_as("cf", "", &fields).await.ok();
    assert_eq!(second["refresh_token"], refresh);
    assert_eq!(second["scope"], first["scope"]);
    assert_ne!(second["access_token"], first["access_token"]);
    let renewed = claims(second["access_token"].as_str().unwrap());
    assert_eq!(
        renewed["auth_time"],
        claims(first["access_token"].as_str().unwrap())["auth_time"]
    );
    let narrow = [fields[0], fields[1], ("scope", "openid")];
    let narrowed = uaa.token_as("cf", "", &narrow).await.ok();
    assert_eq!(narrowed["scope"], "openid");
    assert!(narrowed["id_token"].is_string());
    let wide = [fields[0], fields[1], ("scope", "openid doppler.firehose")];
    uaa.token_as("cf", "", &wide).await.refused(400, "invalid_scope");
    uaa.token_as("weir", "", &fields).await.refused(401, "invalid_token");
    for bad in [
        "nonsense",
        "a.b.c",
        &format!("{refresh}x"),
        first["access_token"].as_str().unwrap(),
    ] {
        let fields = [fields[0], ("refresh_token", bad)];
        let refused = uaa.token_as("cf", "", &fields).await;
        assert!(refused.header("www-authenticate").starts_with("Bearer "));
        refused.refused(401, "invalid_token");
    }
    uaa.token_as("cf", "", &fields[..1])
        .await
        .refused(400, "invalid_request");
    // Each login has its own refresh token.
    let other = uaa.login("rita", "rita's password").await.ok();
    assert_ne!(other["refresh_token"], refresh);
}

/// With rotation, each use gives a new refresh token. The use of a replaced one revokes its whole family (RFC 9700, 4.14.2).
pub async fn rotated_refresh_tokens(ground: &Ground) {
    let uaa = ground.uaa_with(|raw| raw.tokens.rotate_refresh = true).await;
    uaa.add_user("rolf", "pw").await;
    let refresh = |token: String| {
        let uaa = &uaa;
        async move {
            let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
            uaa.token_as("cf", "", &fields).await
        }
    };
    let text = |body: &serde_json::Value| body["refresh_token"].as_str().unwrap().to_owned();
    let first = text(&uaa.login("rolf", "pw").await.ok());
    let second = text(&refresh(first.clone()).await.ok());
    let third = text(&refresh(second.clone()).await.ok());
    assert!(first != second && second != third);
    let elsewhere = text(&uaa.login("rolf", "pw").await.ok());
    refresh(first).await.refused(401, "invalid_token");
    refresh(third).await.refused(401, "invalid_token");
    refresh(second).await.refused(401, "invalid_token");
    refresh(elsewhere).await.ok();
    // Of two concurrent uses of one token, one gets a new token; then the family is revoked.
    let shared = text(&uaa.login("rolf", "pw").await.ok());
    let (one, two) = tokio::join!(refresh(shared.clone()), refresh(shared));
    let good = [one.status, two.status]
        .iter()
        .filter(|status| status.is_success())
        .count();
    assert_eq!(good, 1, "{one:?} {two:?}");
    uaa.stop().await;
}
