//! Grants, keys, and what others learn of a token.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{Uaa, claims, header_of, texts};

/// The first start makes the administrator with a password that is in a private file; the cf CLI's password grant gives
/// the token of the contract; a second start keeps all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_grant_and_keys() {
    let uaa = Uaa::start().await;
    let first = uaa.first_start.clone().unwrap();
    assert_eq!(first.user, "admin");
    assert_eq!(*first.password.expose(), uaa.admin_password());
    let answer = uaa.login("Admin", &uaa.admin_password()).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let body = answer.ok();
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 1200);
    assert!(body["id_token"].is_null());
    let token = body["access_token"].as_str().unwrap();
    let header = header_of(token);
    assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"JWT".into()));
    assert_eq!(header["jku"], format!("{}/token_keys", uaa.url));
    let claims = claims(token);
    assert_eq!(claims["iss"], uaa.issuer());
    for name in ["jti", "sub", "rev_sig", "user_id", "user_name", "email", "origin"] {
        assert!(claims[name].is_string(), "{name}: {claims}");
    }
    for name in ["iat", "exp", "auth_time"] {
        assert!(claims[name].is_i64(), "{name}: {claims}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1200);
    for name in ["client_id", "cid", "azp"] {
        assert_eq!(claims[name], "cf");
    }
    assert_eq!(
        (&claims["grant_type"], &claims["zid"]),
        (&"password".into(), &"uaa".into())
    );
    assert_eq!(
        (&claims["user_name"], &claims["origin"]),
        (&"admin".into(), &"uaa".into())
    );
    let scope = texts(&claims["scope"]);
    for wanted in [
        "cloud_controller.admin",
        "doppler.firehose",
        "openid",
        "uaa.user",
        "scim.read",
    ] {
        assert!(scope.contains(&wanted), "{scope:?}");
    }
    assert!(!scope.contains(&"uaa.admin"), "cf is not for that");
    assert_eq!(body["scope"], scope.join(" "));
    let audience = texts(&claims["aud"]);
    for wanted in ["cf", "cloud_controller", "doppler", "openid", "routing.router_groups"] {
        assert!(audience.contains(&wanted), "{audience:?}");
    }
    let keys = uaa.client.get("/token_keys").send().await.ok();
    let key = &keys["keys"][0];
    assert_eq!(key["kid"], header["kid"]);
    assert_eq!(
        (&key["kty"], &key["alg"], &key["use"]),
        (&"RSA".into(), &"RS256".into(), &"sig".into())
    );
    assert!(
        key["value"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN PUBLIC KEY-----\n")
    );
    assert_eq!(uaa.client.get("/token_key").send().await.ok(), *key);
    assert_eq!(uaa.check(token).await.ok()["user_name"], "admin");
    let discovered = uaa.client.get("/.well-known/openid-configuration").send().await.ok();
    assert_eq!(discovered["issuer"], uaa.issuer());

    let token = token.to_owned();
    let url = uaa.url.clone();
    let uaa = uaa.restart(|raw| raw.external_url = url).await;
    assert!(uaa.first_start.is_none());
    assert_eq!(uaa.client.get("/token_keys").send().await.ok(), keys);
    assert_eq!(uaa.check(&token).await.ok()["user_name"], "admin");
    uaa.login("admin", &uaa.admin_password()).await.ok();
    uaa.stop().await;
}
