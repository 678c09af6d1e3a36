//! The clock: rotation of keys, lockout, expiry of tokens.

use serde_json::json;

use weir_eventually::eventually_async;

use crate::common::{Ground, header_of};

/// A new key signs at once. The old one is published until its last token has expired, and no longer.
pub async fn rotated_keys(ground: &Ground) {
    let uaa = ground
        .uaa_with(|raw| raw.tokens.key_rotation = "30d".parse().unwrap())
        .await;
    let old = uaa.admin_token().await;
    let root = uaa.root().await;
    uaa.client
        .post("/weir/v1/keys/rotate")
        .bearer(&old)
        .send()
        .await
        .refused(403, "insufficient_scope");
    let kid = uaa.client.post("/weir/v1/keys/rotate").bearer(&root).send().await.ok()["kid"].clone();
    let new = uaa.admin_token().await;
    assert_eq!(header_of(&new)["kid"], kid);
    assert_ne!(header_of(&old)["kid"], kid);
    uaa.check(&old).await.ok();
    uaa.check(&new).await.ok();
    let kids = || async {
        let keys = uaa.client.get("/token_keys").send().await.ok();
        let list: Vec<String> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect();
        list
    };
    assert_eq!(kids().await.len(), 2);
    assert_eq!(kids().await[0], kid.as_str().unwrap(), "the present one first");
    uaa.pass(24 * 3600 + 61);
    eventually_async("the old key is gone", || async { kids().await.len() == 1 }).await;
    // The key is rotated by itself at its age.
    uaa.pass(30 * 24 * 3600);
    eventually_async("a new key by itself", || async {
        kids().await.len() == 2 && kids().await[0] != kid.as_str().unwrap()
    })
    .await;
    uaa.admin_token().await;
    uaa.stop().await;
}

/// Five failures lock a name for a while, whether it exists or not; the right password is refused as well.
pub async fn lockout(ground: &Ground) {
    const LOCKED: &str = "Your account has been locked because of too many failed attempts to login.";
    let uaa = ground.uaa().await;
    let id = uaa.add_user("lora", "right").await;
    for name in ["lora", "nobody-of-this-name"] {
        for attempt in 0..5 {
            let body = uaa
                .login(name, &format!("wrong {attempt}"))
                .await
                .refused(401, "unauthorized");
            assert_eq!(body["error_description"], "Bad credentials", "{name} {attempt}");
        }
        let body = uaa
            .login(&name.to_uppercase(), "right")
            .await
            .refused(401, "unauthorized");
        assert_eq!(body["error_description"], LOCKED);
    }
    uaa.login("admin", &uaa.admin_password()).await.ok();
    // An administrator can unlock a name.
    let (root, path) = (uaa.root().await, format!("/Users/{id}/status"));
    let unlock = serde_json::json!({"locked": false});
    uaa.client
        .patch(&path)
        .json(&unlock)
        .send()
        .await
        .refused(401, "unauthorized");
    uaa.client.patch(&path).bearer(&root).json(&unlock).send().await.ok();
    uaa.login("lora", "right").await.ok();
    // The lock ends by itself; a success resets the count of failures.
    for _ in 0..5 {
        uaa.login("lora", "wrong").await.refused(401, "unauthorized");
    }
    assert_eq!(
        uaa.login("lora", "right").await.refused(401, "unauthorized")["error_description"],
        LOCKED
    );
    uaa.pass(301);
    for _ in 0..4 {
        uaa.login("lora", "wrong").await.refused(401, "unauthorized");
    }
    uaa.login("lora", "right").await.ok();
    for _ in 0..4 {
        uaa.login("lora", "wrong").await.refused(401, "unauthorized");
    }
    // Old failures do not count.
    uaa.pass(3601);
    uaa.login("lora", "wrong").await.refused(401, "unauthorized");
    uaa.login("lora", "right").await.ok();
    uaa.stop().await;
}

/// Access tokens and refresh tokens expire at their times.
pub async fn tokens_expire(ground: &Ground) {
    let uaa = ground.uaa().await;
    let body = uaa.login("admin", &uaa.admin_password()).await.ok();
    let token = body["access_token"].as_str().unwrap();
    uaa.pass(1199);
    uaa.check(token).await.ok();
    uaa.pass(1);
    uaa.check(token).await.refused(400, "invalid_token");
    uaa.client
        .get("/userinfo")
        .bearer(token)
        .send()
        .await
        .refused(401, "invalid_token");
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
    ];
    let fresh = uaa.token_as("cf", "", &fields).await.ok();
    uaa.check(fresh["access_token"].as_str().unwrap()).await.ok();
    uaa.pass(2_592_000);
    uaa.token_as("cf", "", &fields).await.refused(401, "invalid_token");
    uaa.stop().await;
}

/// A password that was hashed with other parameters works, and is hashed with the present ones at the next login.
pub async fn parameters_change(ground: &Ground) {
    let uaa = ground.uaa().await;
    uaa.add_user("hanna", "pw").await;
    uaa.login("hanna", "pw").await.ok();
    let stronger = |raw: &mut weir_platform_uaa_server::RawConfig| raw.hashing.passes = 3;
    let uaa = uaa.restart(stronger).await;
    for _ in 0..2 {
        uaa.login("hanna", "pw").await.ok();
        uaa.login("hanna", "wrong").await.refused(401, "unauthorized");
    }
    let uaa = uaa.restart(stronger).await;
    uaa.login("hanna", "pw").await.ok();
    uaa.stop().await;
}

/// A new password needs the configured length; existing shorter ones still work.
pub async fn short_passwords(ground: &Ground) {
    let uaa = ground.uaa_with(|_| {}).await;
    let id = uaa.add_user("kurt", "short").await;
    let uaa = uaa
        .restart(|raw| raw.passwords = weir_platform_uaa_server::RawPasswords::default())
        .await;
    uaa.login("kurt", "short").await.ok();
    let root = uaa.root().await;
    let new =
        |password: &str| json!({"userName": "kurtis", "password": password, "emails": [{"value": "k@example.com"}]});
    let short = uaa
        .client
        .post("/Users")
        .bearer(&root)
        .json(&new("7 chars"))
        .send()
        .await;
    let said = short.refused(400, "invalid_password");
    assert!(
        said["error_description"]
            .as_str()
            .unwrap()
            .contains("at least 8 characters"),
        "{said}"
    );
    uaa.client
        .post("/Users")
        .bearer(&root)
        .json(&new("8 chars."))
        .send()
        .await
        .expect(201);
    let path = format!("/Users/{id}/password");
    let put = |password: &'static str| {
        uaa.client
            .put(&path)
            .bearer(&root)
            .json(&json!({"password": password}))
            .send()
    };
    put("another").await.refused(400, "invalid_password");
    put("another one").await.ok();
    uaa.stop().await;
}
