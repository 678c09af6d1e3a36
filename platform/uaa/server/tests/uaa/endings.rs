//! Revocation by a change of a password, a user or a client, also of logins that run at that moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};
use weir_config::ByteSize;
use weir_eventually::eventually_async;

use crate::common::{Answer, Browser, Ground, Uaa, parameter, query};

const REDIRECT: &str = "https://endings.example/cb";

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap().to_owned()
}

/// Revokes all of a user's tokens, in one of the possible ways.
async fn end(uaa: &Uaa, root: &str, user: &str, way: &str) {
    let path = format!("/Users/{user}");
    let request = match way {
        "password" => uaa
            .client
            .put(&format!("{path}/password"))
            .json(&json!({"password": "another"})),
        "deactivation" => uaa
            .client
            .patch(&path)
            .header("if-match", "*")
            .json(&json!({"active": false})),
        "removal" => uaa.client.delete(&path),
        _ => uaa.client.delete(&format!("/oauth/token/revoke/user/{user}")),
    };
    request.bearer(root).send().await.expect(200);
}

/// Users log in, with programs and browsers, and wait for hashes while their password is changed, or they are deactivated or
/// removed. All that these logins were given before the change, or are given after it, is refused.
pub async fn logins_in_flight(ground: &Ground) {
    let uaa = ground
        .uaa_with(|raw| {
            raw.hashing.memory = ByteSize::mib(8);
            raw.hashing.threads = 1;
            raw.lockout.attempts = 1000;
        })
        .await;
    let root = uaa.root().await;
    for way in ["password", "deactivation", "removal"] {
        let name = format!("flying.{way}");
        let user = uaa.add_user(&name, "pw").await;
        let (over, logins) = (AtomicBool::new(false), AtomicUsize::new(0));
        let programs = join_all((0..3).map(|_| async {
            let mut given = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let answer = uaa.login(&name, "pw").await;
                if answer.status == 200 {
                    given.push(answer.json());
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            }
            given
        }));
        let people = async {
            let mut given = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let mut browser = Browser::new(&uaa.client);
                if browser.log_in("/login", &name, "pw").await.status == 303 {
                    given.push(browser);
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            }
            given
        };
        let change = async {
            // All logins have begun.
            eventually_async("logins", || async { logins.load(Ordering::Relaxed) >= 8 }).await;
            end(&uaa, &root, &user, way).await;
            over.store(true, Ordering::Relaxed);
        };
        let (programs, people, ()) = tokio::join!(programs, people, change);
        for body in programs.into_iter().flatten() {
            uaa.check(&text(&body, "access_token"))
                .await
                .refused(400, "invalid_token");
            let refresh = text(&body, "refresh_token");
            let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
            uaa.token_as("cf", "", &fields).await.refused(401, "invalid_token");
        }
        for mut browser in people {
            assert_eq!(browser.get("/").await.header("location"), "/login", "{way}");
        }
    }
    uaa.stop().await;
}

/// Returns a passcode of a user, and an authorization code for the client.
async fn redeemables(uaa: &Uaa, name: &str) -> (String, String) {
    let mut browser = Browser::new(&uaa.client);
    assert_eq!(browser.log_in("/login", name, "pw").await.status, 303);
    let page = browser.get("/passcode").await.text();
    let passcode = page.split("<code class=\"code\">").nth(1).unwrap();
    let passcode = passcode.split('<').next().unwrap().to_owned();
    let token = text(&uaa.login(name, "pw").await.ok(), "access_token");
    let fields = [
        ("response_type", "code"),
        ("client_id", "ending"),
        ("redirect_uri", REDIRECT),
    ];
    let path = format!("/oauth/authorize?{}", query(&fields));
    let answer = uaa.client.get(&path).bearer(&token).send().await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let code = parameter(answer.header("location"), "code").unwrap();
    (passcode, code)
}

async fn redeem(uaa: &Uaa, code: &str, secret: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
    ];
    uaa.token_as("ending", secret, &fields).await
}

async fn by_passcode(uaa: &Uaa, passcode: &str) -> Answer {
    let fields = [("grant_type", "password"), ("passcode", passcode)];
    uaa.token_as("cf", "", &fields).await
}

/// Codes and passcodes are revoked with the tokens of their user and client. Those of another client or user are not.
pub async fn codes_are_revoked_too(uaa: &Uaa) {
    uaa.add_client(json!({
        "client_id": "ending", "client_secret": "first", "scope": ["openid"], "autoapprove": true,
        "authorized_grant_types": ["authorization_code", "refresh_token"], "redirect_uri": [REDIRECT],
    }))
    .await;
    let root = uaa.root().await;
    let other = uaa.add_user("endings.other", "pw").await;
    for way in ["password", "deactivation", "removal", "revocation"] {
        let name = format!("endings.{way}");
        let user = uaa.add_user(&name, "pw").await;
        let (kept_passcode, kept_code) = redeemables(uaa, "endings.other").await;
        let (passcode, code) = redeemables(uaa, &name).await;
        end(uaa, &root, &user, way).await;
        redeem(uaa, &code, "first").await.refused(400, "invalid_grant");
        by_passcode(uaa, &passcode).await.refused(401, "unauthorized");
        redeem(uaa, &kept_code, "first").await.ok();
        by_passcode(uaa, &kept_passcode).await.ok();
    }
    // A revocation of a client's tokens revokes its codes, but no passcodes, which are no client's.
    let user_of_client = format!("/oauth/token/revoke/user/{other}/client/ending");
    for path in ["/oauth/token/revoke/client/ending", &user_of_client] {
        let (passcode, code) = redeemables(uaa, "endings.other").await;
        uaa.client.delete(path).bearer(&root).send().await.expect(200);
        redeem(uaa, &code, "first").await.refused(400, "invalid_grant");
        by_passcode(uaa, &passcode).await.ok();
    }
    let (_, code) = redeemables(uaa, "endings.other").await;
    uaa.client
        .delete(&format!("/oauth/token/revoke/user/{other}/client/weir"))
        .bearer(&root)
        .send()
        .await
        .expect(200);
    redeem(uaa, &code, "first").await.ok();
    let (_, code) = redeemables(uaa, "endings.other").await;
    uaa.client
        .put("/oauth/clients/ending/secret")
        .bearer(&root)
        .json(&json!({"secret": "second"}))
        .send()
        .await
        .ok();
    redeem(uaa, &code, "second").await.refused(400, "invalid_grant");
    let (_, code) = redeemables(uaa, "endings.other").await;
    redeem(uaa, &code, "second").await.ok();
}

/// All verifiers keep the revocations in memory, so an ordinary user must not be able to make arbitrarily many. Only existing
/// clients and users can be revoked, by names of bounded length, and a repeated revocation makes no further entry.
pub async fn revocations_are_bounded(uaa: &Uaa) {
    let user = uaa.add_user("remus", "pw").await;
    let token = text(&uaa.login("remus", "pw").await.ok(), "access_token");
    let root = uaa.root().await;
    let secret = uaa.secret("doppler");
    let feed = |since: i64| {
        let request = uaa.client.get(&format!("/weir/v1/revocations?since={since}"));
        let request = request.basic("doppler", &secret);
        async move { request.send().await.ok() }
    };
    let mut last = 0;
    while feed(last).await["more"] == true {
        last = feed(last).await["next"].as_i64().unwrap();
    }
    last = feed(last).await["next"].as_i64().unwrap();
    let path = |client: &str| format!("/oauth/token/revoke/user/{user}/client/{client}");
    for client in ["nobody".to_owned(), "x".repeat(300), "x".repeat(5000)] {
        for bearer in [&token, &root] {
            uaa.client
                .delete(&path(&client))
                .bearer(bearer)
                .send()
                .await
                .refused(404, "not_found");
        }
    }
    uaa.client
        .delete("/oauth/token/revoke/user/nobody/client/cf")
        .bearer(&root)
        .send()
        .await
        .refused(404, "scim_resource_not_found");
    // A long token id is refused for an administrator as well, on every database.
    uaa.client
        .delete(&format!("/oauth/token/revoke/{}", "x".repeat(256)))
        .bearer(&root)
        .send()
        .await
        .refused(400, "invalid_request");
    assert_eq!(
        feed(last).await,
        json!({"revocations": [], "next": last, "more": false})
    );
    for _ in 0..5 {
        uaa.client.delete(&path("weir")).bearer(&token).send().await.expect(200);
    }
    let page = feed(last).await;
    assert_eq!(page["revocations"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["next"], last + 5);
}
