//! Revocation of tokens, and the feed for verifiers.

use serde_json::{Value, json};

use weir_eventually::eventually_async;

use crate::common::{Answer, Ground, Uaa, claims};

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap().to_owned()
}

/// `cf logout`: the CLI revokes its refresh token, authenticated by that token, and then its access token.
pub async fn logout(uaa: &Uaa) {
    uaa.add_user("leo", "pw").await;
    let body = uaa.login("leo", "pw").await.ok();
    let (access, refresh) = (text(&body, "access_token"), text(&body, "refresh_token"));
    let end = |token: String| async move {
        let path = format!("/oauth/token/revoke/{}", text(&claims(&token), "jti"));
        uaa.client
            .delete(&path)
            .header("authorization", &format!("Bearer {token}"))
            .send()
            .await
    };
    end(refresh.clone()).await.expect(200);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    uaa.token_as("cf", "", &fields).await.refused(401, "invalid_token");
    uaa.check(&access).await.ok();
    end(access.clone()).await.expect(200);
    uaa.check(&access).await.refused(400, "invalid_token");
    end(refresh.clone()).await.refused(401, "invalid_token");
    end(access).await.refused(401, "invalid_token");
    // A refresh token authorizes only its own revocation; an access token that of others only with an administrator's scope.
    let other = uaa.login("leo", "pw").await.ok();
    let path = format!(
        "/oauth/token/revoke/{}",
        text(&claims(&text(&other, "access_token")), "jti")
    );
    let mine = uaa.login("leo", "pw").await.ok();
    uaa.client
        .delete(&path)
        .bearer(&text(&mine, "refresh_token"))
        .send()
        .await
        .refused(401, "invalid_token");
    uaa.client
        .delete(&path)
        .bearer(&text(&mine, "access_token"))
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.check(&text(&other, "access_token")).await.ok();
    uaa.client
        .delete(&path)
        .bearer(&uaa.root().await)
        .send()
        .await
        .expect(200);
    uaa.check(&text(&other, "access_token"))
        .await
        .refused(400, "invalid_token");
    // RFC 7009: by the client of the token. For another client's token it does nothing and answers alike.
    let token = text(&mine, "access_token");
    let fields = [("token", token.as_str())];
    uaa.client
        .post("/oauth/revoke")
        .basic("weir", "")
        .form(&fields)
        .send()
        .await
        .expect(200);
    uaa.check(&token).await.ok();
    uaa.client
        .post("/oauth/revoke")
        .basic("cf", "")
        .form(&fields)
        .send()
        .await
        .expect(200);
    uaa.check(&token).await.refused(400, "invalid_token");
    uaa.client
        .post("/oauth/revoke")
        .form(&fields)
        .send()
        .await
        .refused(401, "unauthorized");
}

/// Revocation of all tokens of a user, of a client, and of a user with a client; the list of a user's refresh tokens.
pub async fn by_user_and_client(uaa: &Uaa) {
    let user = uaa.add_user("bert", "pw").await;
    let root = uaa.root().await;
    let fields = [("grant_type", "password"), ("username", "bert"), ("password", "pw")];
    let tokens = || async {
        let one = text(&uaa.token_as("cf", "", &fields).await.ok(), "access_token");
        let two = text(&uaa.token_as("weir", "", &fields).await.ok(), "access_token");
        (one, two)
    };
    let (one, two) = tokens().await;
    let list = uaa
        .client
        .get(&format!("/oauth/token/list/user/{user}"))
        .bearer(&one)
        .send()
        .await
        .ok();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(list[0]["tokenId"].as_str().unwrap().ends_with("-r"));
    let path = format!("/oauth/token/revoke/user/{user}/client/cf");
    uaa.client.get(&path).bearer(&root).send().await.expect(200);
    uaa.check(&one).await.refused(400, "invalid_token");
    uaa.check(&two).await.ok();
    let (one, two) = tokens().await;
    uaa.check(&one).await.ok();
    let path = format!("/oauth/token/revoke/user/{user}");
    let stranger = uaa.client_token("doppler").await;
    uaa.client
        .get(&path)
        .bearer(&stranger)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client.get(&path).bearer(&one).send().await.expect(200);
    uaa.check(&one).await.refused(400, "invalid_token");
    uaa.check(&two).await.refused(400, "invalid_token");
    uaa.add_client(json!({
        "client_id": "ended", "client_secret": "x", "authorized_grant_types": ["client_credentials"],
        "authorities": ["clients.read"],
    }))
    .await;
    let grant = [("grant_type", "client_credentials")];
    let own = text(&uaa.token_as("ended", "x", &grant).await.ok(), "access_token");
    uaa.client
        .get("/oauth/token/revoke/client/ended")
        .bearer(&root)
        .send()
        .await
        .expect(200);
    uaa.check(&own).await.refused(400, "invalid_token");
    let fresh = text(&uaa.token_as("ended", "x", &grant).await.ok(), "access_token");
    uaa.check(&fresh).await.ok();
    uaa.client
        .get("/oauth/token/revoke/client/nobody")
        .bearer(&root)
        .send()
        .await
        .refused(404, "not_found");
    uaa.client
        .get("/oauth/token/revoke/user/nobody")
        .bearer(&root)
        .send()
        .await
        .refused(404, "scim_resource_not_found");
}

async fn ask(uaa: &Uaa, query: &str) -> Answer {
    let secret = uaa.secret("doppler");
    uaa.client
        .get(&format!("/weir/v1/revocations{query}"))
        .basic("doppler", &secret)
        .send()
        .await
}

/// The feed gives each revocation once, in order, and without delay to a waiting request.
pub async fn feed(uaa: &Uaa) {
    let user = uaa.add_user("frida", "pw").await;
    let before = ask(uaa, "").await.ok();
    let next = before["next"].as_i64().unwrap();
    let token = text(&uaa.login("frida", "pw").await.ok(), "access_token");
    let jti = text(&claims(&token), "jti");
    uaa.client
        .delete(&format!("/oauth/token/revoke/{jti}"))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let page = ask(uaa, &format!("?since={next}")).await.ok();
    assert_eq!((&page["next"], &page["more"]), (&(next + 1).into(), &false.into()));
    let entry = &page["revocations"][0];
    assert_eq!((&entry["kind"], &entry["jti"]), (&"token".into(), &jti.as_str().into()));
    assert!(entry["until"].as_i64() >= claims(&token)["exp"].as_i64());
    // A waiting request is answered when a revocation happens.
    let root = uaa.root().await;
    let bearer = uaa.client_token("doppler").await;
    let wait = format!("?since={}&wait=30", next + 1);
    let (page, ()) = tokio::join!(ask(uaa, &wait), async {
        // After two further requests, the first one surely waits.
        uaa.reads(&bearer).await;
        uaa.reads(&bearer).await;
        let path = format!("/oauth/token/revoke/user/{user}");
        uaa.client.get(&path).bearer(&root).send().await.expect(200);
    });
    let page = page.ok();
    let entry = &page["revocations"][0];
    assert_eq!(
        (&entry["kind"], &entry["user_id"]),
        (&"user".into(), &user.as_str().into())
    );
    assert!(entry["client_id"].is_null() && entry["before"].is_i64());
    let last = page["next"].as_i64().unwrap();
    let empty = ask(uaa, &format!("?since={last}&wait=1")).await.ok();
    assert_eq!(empty, json!({"revocations": [], "next": last, "more": false}));
    // A position beyond the end, as after a restored database: the answer tells the reader to begin anew.
    assert!(ask(uaa, "?since=1000000").await.ok()["next"].as_i64().unwrap() < 1_000_000);
    ask(uaa, "?since=x").await.refused(400, "invalid_request");
    uaa.client
        .get("/weir/v1/revocations")
        .send()
        .await
        .refused(401, "unauthorized");
    uaa.client
        .get("/weir/v1/revocations")
        .basic("cf", "")
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client.get("/weir/v1/revocations").bearer(&bearer).send().await.ok();
}

/// When a user leaves a group, their access tokens are revoked, and a refresh gives the remaining scopes.
pub async fn changed_groups(uaa: &Uaa) {
    let user = uaa.add_user("greta", "pw").await;
    let group = uaa.add_to_group(&user, "logs.read.left").await;
    let body = uaa.login("greta", "pw").await.ok();
    assert_eq!(uaa.reads(&text(&body, "access_token")).await, ["left"]);
    let root = uaa.root().await;
    let path = format!("/Groups/{group}/members/{user}");
    uaa.client.delete(&path).bearer(&root).send().await.ok();
    uaa.check(&text(&body, "access_token"))
        .await
        .refused(400, "invalid_token");
    let refresh = text(&body, "refresh_token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let renewed = uaa.token_as("cf", "", &fields).await.ok();
    assert!(uaa.reads(&text(&renewed, "access_token")).await.is_empty());
    uaa.check(&text(&renewed, "access_token")).await.ok();
}

/// Two nodes on one database are one UAA: each accepts the tokens, keys and revocations of the other.
pub async fn nodes(ground: &Ground) {
    let uaa = ground.uaa().await;
    let other = uaa.another_node().await;
    uaa.add_user("nils", "pw").await;
    let body = uaa.login("nils", "pw").await.ok();
    let token = text(&body, "access_token");
    let check = |node: &Uaa, token: String| {
        let (client, secret) = (node.client.clone(), uaa.secret("doppler"));
        async move {
            client
                .post("/check_token")
                .basic("doppler", &secret)
                .form(&[("token", token.as_str())])
                .send()
                .await
        }
    };
    assert_eq!(check(&other, token.clone()).await.ok()["user_name"], "nils");
    let refresh = text(&body, "refresh_token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let fresh = other
        .client
        .post("/oauth/token")
        .basic("cf", "")
        .form(&fields)
        .send()
        .await
        .ok();
    check(&uaa, text(&fresh, "access_token")).await.ok();
    // A revocation at one node is known at the other.
    let jti = text(&claims(&token), "jti");
    uaa.client
        .delete(&format!("/oauth/token/revoke/{jti}"))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    eventually_async("the other node knows", || async {
        check(&other, token.clone()).await.status == 400
    })
    .await;
    // A new key of one node is read by the other when a token has its id.
    let root = uaa.root().await;
    other
        .client
        .post("/weir/v1/keys/rotate")
        .bearer(&root)
        .send()
        .await
        .ok();
    uaa.pass(2);
    let signed = other
        .client
        .post("/oauth/token")
        .basic("cf", "")
        .form(&fields)
        .send()
        .await
        .ok();
    check(&uaa, text(&signed, "access_token")).await.ok();
    other.stop().await;
    uaa.stop().await;
}

/// Setup: two nodes whose clocks are two seconds apart. Must hold: a revocation at the slow one covers the tokens of the fast
/// one, and tokens that either issues afterwards are valid at once, at both.
pub async fn clocks_apart(ground: &Ground) {
    let uaa = ground.uaa().await;
    let ahead = uaa.another_node().await;
    ahead.pass(2);
    let user = uaa.add_user("clara", "pw").await;
    let fields = [("grant_type", "password"), ("username", "clara"), ("password", "pw")];
    let login = |node: &Uaa| node.client.post("/oauth/token").basic("cf", "").form(&fields).send();
    let check = |node: &Uaa, token: &str| {
        let secret = uaa.secret("doppler");
        let request = node.client.post("/check_token").basic("doppler", &secret);
        request.form(&[("token", token)]).send()
    };
    let root = uaa.root().await;
    let now = claims(&root)["iat"].as_i64().unwrap();
    let old = text(&login(&ahead).await.ok(), "access_token");
    assert_eq!(claims(&old)["iat"], now + 2);
    let path = format!("/oauth/token/revoke/user/{user}");
    uaa.client.get(&path).bearer(&root).send().await.expect(200);
    check(&uaa, &old).await.refused(400, "invalid_token");
    // The other node reads a new revocation before it issues a token.
    for node in [&ahead, &uaa] {
        let fresh = text(&login(node).await.ok(), "access_token");
        for node in [&uaa, &ahead] {
            check(node, &fresh).await.ok();
        }
        // Verifiers allow a difference of five seconds.
        let issued = claims(&fresh)["iat"].as_i64().unwrap();
        assert!((now + 3..=now + 5).contains(&issued), "{}", issued - now);
    }
    eventually_async("the other node knows", || async {
        check(&ahead, &old).await.status == 400
    })
    .await;
    ahead.stop().await;
    uaa.stop().await;
}

/// Two nodes that start together on an empty database create one administrator, one set of clients and one key.
pub async fn nodes_start_together(ground: &Ground) {
    let (one, two) = ground.pair().await;
    let made = [&one, &two].iter().filter(|node| node.first_start.is_some()).count();
    assert_eq!(made, 1);
    let login = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", &one.admin_password()),
    ];
    for node in [&one, &two] {
        node.client
            .post("/oauth/token")
            .basic("cf", "")
            .form(&login)
            .send()
            .await
            .ok();
        let secret = one.secret("doppler");
        let grant = [("grant_type", "client_credentials")];
        node.client
            .post("/oauth/token")
            .basic("doppler", &secret)
            .form(&grant)
            .send()
            .await
            .ok();
    }
    let keys = one.client.get("/token_keys").send().await.ok();
    assert_eq!(keys, two.client.get("/token_keys").send().await.ok());
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    two.stop().await;
    one.stop().await;
}
