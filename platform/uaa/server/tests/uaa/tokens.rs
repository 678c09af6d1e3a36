//! `/check_token`, `/introspect`, `/userinfo`, and the public metadata of the server.

use crate::common::{Uaa, claims, texts};

/// `/check_token` and `/introspect` work, for resource servers only.
pub async fn checking(uaa: &Uaa) {
    let token = uaa.admin_token().await;
    let secret = uaa.secret("doppler");
    let ask = |path: &'static str, fields: Vec<(&'static str, String)>| {
        let secret = &secret;
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            uaa.client
                .post(path)
                .basic("doppler", secret)
                .form(&fields)
                .send()
                .await
        }
    };
    let said = ask("/check_token", vec![("token", token.clone())]).await.ok();
    assert_eq!(said, claims(&token));
    ask(
        "/check_token",
        vec![
            ("token", token.clone()),
            ("scopes", "openid,doppler.firehose".to_owned()),
        ],
    )
    .await
    .ok();
    ask(
        "/check_token",
        vec![("token", token.clone()), ("scopes", "openid,uaa.admin".to_owned())],
    )
    .await
    .refused(400, "invalid_scope");
    ask("/check_token", vec![("token", "nonsense".to_owned())])
        .await
        .refused(400, "invalid_token");
    ask("/check_token", vec![]).await.refused(400, "invalid_token");
    let said = ask("/introspect", vec![("token", token.clone())]).await.ok();
    assert_eq!((&said["active"], &said["user_name"]), (&true.into(), &"admin".into()));
    let said = ask("/introspect", vec![("token", "nonsense".to_owned())]).await.ok();
    assert_eq!(said, serde_json::json!({"active": false}));
    let fields = [("token", token.as_str())];
    uaa.client
        .post("/check_token")
        .form(&fields)
        .send()
        .await
        .refused(401, "unauthorized");
    uaa.client
        .post("/check_token")
        .basic("doppler", "x")
        .form(&fields)
        .send()
        .await
        .refused(401, "invalid_client");
    uaa.client
        .post("/check_token")
        .basic("cf", "")
        .form(&fields)
        .send()
        .await
        .refused(403, "insufficient_scope");
    let resource = uaa.client_token("doppler").await;
    uaa.client
        .post("/check_token")
        .bearer(&resource)
        .form(&fields)
        .send()
        .await
        .ok();
    uaa.client
        .post("/check_token")
        .bearer(&token)
        .form(&fields)
        .send()
        .await
        .refused(403, "insufficient_scope");
}

/// `/userinfo` describes the bearer of a token with `openid`.
pub async fn user_info(uaa: &Uaa) {
    let id = uaa.add_user("ulla", "pw").await;
    let token = |scope: &'static str| async move {
        let fields = [
            ("grant_type", "password"),
            ("username", "ulla"),
            ("password", "pw"),
            ("scope", scope),
        ];
        uaa.token_as("cf", "", &fields).await.ok()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let info = uaa
        .client
        .get("/userinfo")
        .bearer(&token("openid").await)
        .send()
        .await
        .ok();
    assert_eq!(
        (&info["sub"], &info["user_id"]),
        (&id.as_str().into(), &id.as_str().into())
    );
    assert_eq!(
        (&info["user_name"], &info["email"]),
        (&"ulla".into(), &"ulla@example.com".into())
    );
    assert_eq!(info["name"], "Given Family");
    let other = token("uaa.user").await;
    uaa.client
        .get("/userinfo")
        .bearer(&other)
        .send()
        .await
        .refused(403, "insufficient_scope");
    let own = uaa.client_token("admin").await;
    uaa.client
        .get("/userinfo")
        .bearer(&own)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client.get("/userinfo").send().await.refused(401, "unauthorized");
}

/// The metadata that programs request first: discovery, `/info`, `/login` prompts.
pub async fn discovery_and_prompts(uaa: &Uaa) {
    for path in [
        "/.well-known/openid-configuration",
        "/oauth/token/.well-known/openid-configuration",
    ] {
        let found = uaa.client.get(path).send().await.ok();
        assert_eq!(found["issuer"], uaa.issuer());
        assert_eq!(found["token_endpoint"], format!("{}/oauth/token", uaa.url));
        assert_eq!(texts(&found["code_challenge_methods_supported"]), ["S256"]);
        for (name, value) in found.as_object().unwrap() {
            if name.ends_with("_endpoint") || name == "jwks_uri" {
                assert!(value.as_str().unwrap().starts_with(&uaa.url), "{name}");
            }
        }
    }
    for path in ["/login", "/info"] {
        let info = uaa
            .client
            .get(path)
            .header("accept", "application/json")
            .send()
            .await
            .ok();
        assert_eq!(texts(&info["prompts"]["username"]), ["text", "Email"]);
        assert_eq!(texts(&info["prompts"]["password"]), ["password", "Password"]);
        assert!(info["prompts"]["passcode"].is_null(), "there is no provider");
        assert_eq!(info["links"]["login"], uaa.url);
        assert!(info["app"]["version"].is_string());
    }
    let hinted = |origin: &'static str| async move {
        let password = uaa.admin_password();
        let fields = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", &password),
        ];
        let path = format!("/oauth/token?login_hint=%7B%22origin%22%3A%22{origin}%22%7D");
        uaa.client.post(&path).basic("cf", "").form(&fields).send().await
    };
    hinted("uaa").await.ok();
    hinted("ldap").await.refused(401, "unauthorized");
    // An invalid `login_hint` is ignored, as in the original.
    for hint in ["somebody%40example.com", "%7B%22name%22%3A%22x%22%7D", "%5B%5D", ""] {
        let password = uaa.admin_password();
        let fields = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", &password),
        ];
        let path = format!("/oauth/token?login_hint={hint}");
        uaa.client.post(&path).basic("cf", "").form(&fields).send().await.ok();
    }
    assert_eq!(uaa.client.get("/healthz").send().await.text(), "ok\n");
    uaa.client.get("/nothing").send().await.refused(404, "not_found");
    uaa.client
        .get("/oauth/token")
        .send()
        .await
        .refused(405, "method_not_allowed");
}
