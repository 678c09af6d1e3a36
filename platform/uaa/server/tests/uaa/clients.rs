//! Clients: `/oauth/clients`.

use serde_json::{Value, json};

use crate::common::{Uaa, query, texts};

const REDIRECT: &str = "https://app.example/cb";

/// A client is created, read, changed and deleted; invalid clients are refused.
pub async fn administration(uaa: &Uaa) {
    let root = uaa.root().await;
    let post = |body: Value| {
        let root = root.clone();
        async move { uaa.client.post("/oauth/clients").bearer(&root).json(&body).send().await }
    };
    let new = json!({
        "client_id": "worker",
        "client_secret": "worker secret",
        "name": "Worker",
        "authorized_grant_types": ["client_credentials", "authorization_code"],
        "authorities": ["clients.read"],
        "scope": "openid,cloud_controller.read",
        "redirect_uri": [REDIRECT],
        "access_token_validity": 60,
        "autoapprove": ["openid"],
    });
    let made = post(new.clone()).await.expect(201);
    assert_eq!(texts(&made["scope"]), ["openid", "cloud_controller.read"]);
    assert_eq!(
        (&made["access_token_validity"], &made["autoapprove"]),
        (&60.into(), &json!(["openid"]))
    );
    assert!(made["lastModified"].is_i64());
    assert!(
        !made.to_string().contains("secret") && !made.to_string().contains("argon2"),
        "{made}"
    );
    assert_eq!(post(new.clone()).await.status, 409);
    let grant = ("grant_type", "client_credentials");
    assert_eq!(
        uaa.token_as("worker", "worker secret", &[grant]).await.ok()["expires_in"],
        60
    );
    let shown = uaa.client.get("/oauth/clients/worker").bearer(&root).send().await.ok();
    assert_eq!(shown, made);
    uaa.client
        .get("/oauth/clients/nobody")
        .bearer(&root)
        .send()
        .await
        .refused(404, "not_found");
    let plain = uaa.client_token("doppler").await;
    uaa.client
        .get("/oauth/clients/worker")
        .bearer(&plain)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client
        .get("/oauth/clients/doppler")
        .bearer(&plain)
        .send()
        .await
        .ok();
    let path = format!("/oauth/clients?{}", query(&[("filter", "client_id eq \"worker\"")]));
    let found = uaa.client.get(&path).bearer(&root).send().await.ok();
    assert_eq!((&found["totalResults"], &found["resources"][0]), (&1.into(), &made));
    let all = uaa
        .client
        .get("/oauth/clients?count=2&sortBy=client_id")
        .bearer(&root)
        .send()
        .await
        .ok();
    assert!(all["totalResults"].as_i64().unwrap() > 10 && all["resources"].as_array().unwrap().len() == 2);
    let update = json!({"client_id": "worker", "authorized_grant_types": ["client_credentials"], "authorities": ["uaa.resource"]});
    let changed = uaa
        .client
        .put("/oauth/clients/worker")
        .bearer(&root)
        .json(&update)
        .send()
        .await
        .ok();
    assert_eq!(
        (texts(&changed["authorities"]), texts(&changed["scope"])),
        (vec!["uaa.resource"], vec!["openid", "cloud_controller.read"])
    );
    assert_eq!(
        uaa.token_as("worker", "worker secret", &[grant]).await.ok()["scope"],
        "uaa.resource"
    );

    for bad in [
        json!({"client_secret": "x", "authorized_grant_types": ["client_credentials"]}),
        json!({"client_id": "a/b", "client_secret": "x", "authorized_grant_types": ["client_credentials"]}),
        json!({"client_id": "bad", "client_secret": "x", "authorized_grant_types": []}),
        json!({"client_id": "bad", "client_secret": "x", "authorized_grant_types": ["magic"]}),
        json!({"client_id": "bad", "authorized_grant_types": ["client_credentials"]}),
        json!({"client_id": "bad", "client_secret": "x", "authorized_grant_types": ["authorization_code"]}),
        json!({"client_id": "bad", "client_secret": "x", "authorized_grant_types": ["client_credentials"], "scope": ["a b"]}),
        json!({"client_id": "bad", "client_secret": "x", "authorized_grant_types": ["client_credentials"], "access_token_validity": 1_000_000}),
    ] {
        post(bad).await.refused(400, "invalid_client");
    }
    for bad in [
        "javascript:alert(1)",
        "data:text/html,x",
        "https://*.example/cb",
        "https://app.example/cb#x",
        "https://user@app.example/cb",
        "http://app.example/cb",
        "/cb",
        "https://b\u{fc}cher.example/cb",
        "https://app.example/zur\u{fc}ck",
        "https://app.example\\cb",
        "https://app.example/c b",
    ] {
        let body = json!({
            "client_id": "bad", "client_secret": "x", "authorized_grant_types": ["authorization_code"], "redirect_uri": [bad],
        });
        post(body).await.refused(400, "invalid_client");
    }
    let token = uaa.token_as("worker", "worker secret", &[grant]).await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    uaa.client
        .delete("/oauth/clients/worker")
        .bearer(&root)
        .send()
        .await
        .ok();
    uaa.client
        .delete("/oauth/clients/worker")
        .bearer(&root)
        .send()
        .await
        .refused(404, "not_found");
    uaa.token_as("worker", "worker secret", &[grant])
        .await
        .refused(401, "invalid_client");
    uaa.check(&token).await.refused(400, "invalid_token");
}

/// A secret is replaced, or a second one is added and the old one deleted later.
pub async fn secrets(uaa: &Uaa) {
    uaa.add_client(json!({
        "client_id": "changing", "client_secret": "one", "authorized_grant_types": ["client_credentials"],
        "authorities": ["clients.secret"],
    }))
    .await;
    let root = uaa.root().await;
    let grant = [("grant_type", "client_credentials")];
    let put = |token: String, body: Value| async move {
        uaa.client
            .put("/oauth/clients/changing/secret")
            .bearer(&token)
            .json(&body)
            .send()
            .await
    };
    put(root.clone(), json!({"secret": "two", "changeMode": "ADD"}))
        .await
        .ok();
    for secret in ["one", "two"] {
        uaa.token_as("changing", secret, &grant).await.ok();
    }
    put(root.clone(), json!({"secret": "three", "changeMode": "ADD"}))
        .await
        .refused(400, "invalid_client");
    put(root.clone(), json!({"changeMode": "DELETE"})).await.ok();
    uaa.token_as("changing", "one", &grant)
        .await
        .refused(401, "invalid_client");
    let token = uaa.token_as("changing", "two", &grant).await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    // By the client itself, which shows its old secret.
    put(token.clone(), json!({"oldSecret": "one", "secret": "four"}))
        .await
        .refused(400, "invalid_client");
    put(token.clone(), json!({"oldSecret": "two", "secret": "four"}))
        .await
        .ok();
    uaa.check(&token).await.refused(400, "invalid_token");
    uaa.token_as("changing", "two", &grant)
        .await
        .refused(401, "invalid_client");
    uaa.token_as("changing", "four", &grant).await.ok();
    put(root, json!({"secret": ""})).await.refused(400, "invalid_client");
}

/// A caller with `clients.write` cannot create or change a client to have more rights than the caller's own client.
pub async fn no_privilege_escalation(uaa: &Uaa) {
    uaa.add_client(json!({
        "client_id": "maker", "client_secret": "x", "authorized_grant_types": ["client_credentials"],
        "authorities": ["clients.write", "logs.admin"], "scope": ["openid", "maker.own"],
    }))
    .await;
    let token = uaa
        .token_as("maker", "x", &[("grant_type", "client_credentials")])
        .await
        .ok();
    let token = token["access_token"].as_str().unwrap();
    let post = |id: &str, grants: Value, scope: &str, authority: &str| {
        let body = json!({
            "client_id": id, "client_secret": "x", "authorized_grant_types": grants,
            "scope": [scope], "authorities": [authority], "redirect_uri": [REDIRECT],
        });
        async move { uaa.client.post("/oauth/clients").bearer(token).json(&body).send().await }
    };
    let own = || json!(["client_credentials"]);
    // The id of a new client gives it no scopes: `uaa` is reserved, and only the caller's id counts as the prefix of a scope.
    uaa.client
        .post("/oauth/clients")
        .bearer(&uaa.root().await)
        .json(&json!({"client_id": "uaa", "client_secret": "x", "authorized_grant_types": ["client_credentials"]}))
        .send()
        .await
        .refused(400, "invalid_client");
    post("uaa", own(), "uaa.none", "uaa.admin")
        .await
        .refused(400, "invalid_client");
    for (id, scope) in [
        ("logs", "logs.admin"),
        ("scim", "scim.write"),
        ("cloud_controller", "cloud_controller.admin"),
        ("clients", "clients.admin"),
    ] {
        post(id, own(), "uaa.none", scope).await.refused(403, "invalid_client");
        post(id, own(), scope, "uaa.none").await.refused(403, "invalid_client");
    }
    // The caller's own authorities cannot be passed on: a client uses an authority without any user's consent.
    for authority in ["logs.admin", "clients.write", "maker.own", "made-1.read"] {
        post("made-1", own(), "uaa.none", authority)
            .await
            .refused(403, "invalid_client");
    }
    post("made-1", json!(["password"]), "openid", "uaa.none")
        .await
        .refused(403, "invalid_client");
    post("made-1", json!(["authorization_code"]), "openid", "uaa.resource")
        .await
        .refused(403, "invalid_client");
    post("made-1", own(), "openid", "uaa.resource").await.expect(201);
    post("made-2", own(), "maker.whatever", "uaa.none").await.expect(201);
    // An update is checked as well.
    for (scope, authority) in [
        ("openid", "uaa.admin"),
        ("uaa.admin", "uaa.none"),
        ("made-1.x", "uaa.none"),
    ] {
        let body = json!({
            "authorized_grant_types": ["client_credentials"], "scope": [scope], "authorities": [authority],
        });
        uaa.client
            .put("/oauth/clients/made-1")
            .bearer(token)
            .json(&body)
            .send()
            .await
            .refused(403, "invalid_client");
    }
}

/// A client with the grant `authorization_code` or `password` also gets `refresh_token`, as in the original.
pub async fn login_grants_include_refresh(uaa: &Uaa) {
    let root = uaa.root().await;
    for (id, grant, refreshes) in [
        ("together-1", "password", true),
        ("together-2", "authorization_code", true),
        ("together-3", "client_credentials", false),
    ] {
        let body = json!({
            "client_id": id, "client_secret": "x", "authorized_grant_types": [grant], "redirect_uri": [REDIRECT],
        });
        let made = uaa
            .client
            .post("/oauth/clients")
            .bearer(&root)
            .json(&body)
            .send()
            .await
            .expect(201);
        assert_eq!(
            texts(&made["authorized_grant_types"]).contains(&"refresh_token"),
            refreshes,
            "{made}"
        );
        let path = format!("/oauth/clients/{id}");
        let written = uaa.client.put(&path).bearer(&root).json(&body).send().await.ok();
        assert_eq!(written["authorized_grant_types"], made["authorized_grant_types"]);
    }
}

/// A redirect URI that was registered before such URIs were refused leads to a refusal, not to an internal error.
pub async fn an_old_redirect_uri_is_refused(uaa: &Uaa) {
    uaa.add_client(json!({
        "client_id": "old-redirect", "client_secret": "x", "authorized_grant_types": ["authorization_code"],
        "redirect_uri": ["https://old.example/REPLACED"],
    }))
    .await;
    let change = "update uaa_clients set detail = replace(detail, 'REPLACED', 'zur\u{fc}ck') where id = 'old-redirect'";
    uaa.sql(change).await;
    for redirect in ["", "&redirect_uri=https%3A%2F%2Fold.example%2Fzur%C3%BCck"] {
        let path = format!("/oauth/authorize?response_type=code&client_id=old-redirect{redirect}");
        uaa.client.get(&path).send().await.refused(400, "invalid_redirect_uri");
    }
}

/// A change of some members of a client keeps the others, as in the original. A member is removed only explicitly.
pub async fn partial_changes_keep_the_rest(uaa: &Uaa) {
    let root = uaa.root().await;
    let whole = json!({
        "client_id": "whole", "client_secret": "one", "secondary_client_secret": "two", "name": "Whole",
        "authorized_grant_types": ["authorization_code", "client_credentials", "refresh_token"],
        "scope": ["openid", "logs.read.*"], "authorities": ["doppler.firehose", "uaa.resource"],
        "redirect_uri": [REDIRECT, "https://app.example/other"], "autoapprove": ["openid"],
        "access_token_validity": 300, "refresh_token_validity": "3600", "allowedproviders": ["uaa", "ldap"],
        "allowpublic": true, "required_user_groups": ["openid"], "signup_redirect_url": "https://app.example/signup",
        "createdwith": "clients.write",
    });
    let mut before = uaa
        .client
        .post("/oauth/clients")
        .bearer(&root)
        .json(&whole)
        .send()
        .await
        .expect(201);
    assert_eq!(
        (&before["refresh_token_validity"], &before["signup_redirect_url"]),
        (&3600.into(), &"https://app.example/signup".into())
    );
    let put = |body: Value| {
        let root = root.clone();
        async move {
            uaa.client
                .put("/oauth/clients/whole")
                .bearer(&root)
                .json(&body)
                .send()
                .await
        }
    };
    // Each member alone, as uaa-cli sends it: the others are absent, `null` or empty lists.
    for (name, value) in [
        (
            "authorities",
            json!(["doppler.firehose", "cloud_controller.admin_read_only"]),
        ),
        ("scope", json!("openid logs.read.*,uaa.user")),
        (
            "authorized_grant_types",
            json!(["client_credentials", "authorization_code", "refresh_token"]),
        ),
        ("redirect_uri", json!([REDIRECT])),
        ("name", json!("Another")),
        ("access_token_validity", json!(60)),
        ("refresh_token_validity", json!(7200)),
        ("autoapprove", json!(["openid", "uaa.user"])),
        ("allowedproviders", json!(["uaa"])),
        ("required_user_groups", json!(["uaa.user"])),
        ("signup_redirect_url", json!("https://app.example/join")),
    ] {
        let mut body = json!({
            "client_id": "whole", "scope": [], "authorities": null, "authorized_grant_types": [], "redirect_uri": null,
            "resource_ids": [], "access_token_validity": null, "refresh_token_validity": null, "autoapprove": null,
        });
        body[name] = value;
        let after = put(body).await.ok();
        for (member, there) in before.as_object().unwrap() {
            let changed = after[member] != *there;
            assert_eq!(
                changed,
                member == name || member == "lastModified",
                "{name}: {member} {after}"
            );
        }
        before = after;
    }
    for secret in ["one", "two"] {
        let grant = [("grant_type", "client_credentials")];
        assert_eq!(uaa.token_as("whole", secret, &grant).await.ok()["expires_in"], 60);
    }
    // A client that is written back as it was read does not change.
    let mut after = put(before.clone()).await.ok();
    after["lastModified"] = before["lastModified"].clone();
    assert_eq!(after, before);
    // The explicit removals: `null`, `false`, or an empty list of scopes that need no consent.
    let gone = json!({
        "name": null, "allowedproviders": null, "allowpublic": false, "required_user_groups": null,
        "signup_redirect_url": null, "autoapprove": [],
    });
    let after = put(gone).await.ok();
    for name in ["name", "allowedproviders", "signup_redirect_url"] {
        assert!(after.get(name).is_none(), "{name}: {after}");
    }
    assert_eq!(
        (
            &after["allowpublic"],
            &after["required_user_groups"],
            &after["autoapprove"]
        ),
        (&false.into(), &json!([]), &json!([]))
    );
    assert_eq!(put(json!({"autoapprove": "true"})).await.ok()["autoapprove"], true);
    // Two concurrent changes of different members are both kept.
    let named = (0..8).map(|number| put(json!({ format!("note-{number}"): number })));
    for answer in futures::future::join_all(named).await {
        answer.ok();
    }
    let shown = uaa.client.get("/oauth/clients/whole").bearer(&root).send().await.ok();
    for number in 0..8 {
        assert_eq!(shown[format!("note-{number}")], number, "{shown}");
    }
}

/// A value or endpoint that is not supported is refused, never ignored.
pub async fn unsupported_values_are_refused(uaa: &Uaa) {
    let root = uaa.root().await;
    uaa.add_client(json!({
        "client_id": "strict", "client_secret": "x", "authorized_grant_types": ["client_credentials"], "name": "Strict",
    }))
    .await;
    let put = |path: &'static str, body: Value| {
        let root = root.clone();
        async move { uaa.client.put(path).bearer(&root).json(&body).send().await }
    };
    for bad in [
        json!({"client_id": "other"}),
        json!({"client_secret": "new"}),
        json!({"secondary_client_secret": "new"}),
        json!({"access_token_validity": 0}),
        json!({"refresh_token_validity": -1}),
        json!({"refresh_token_validity": "soon"}),
        json!({"allowedproviders": []}),
        json!({"allowpublic": "perhaps"}),
        json!({"scope": [1]}),
        json!({"name": 7}),
        json!({"autoapprove": {}}),
        json!({"autoapprove": ["a b"]}),
        json!({"required_user_groups": ["a b"]}),
        json!({"jwks_uri": "https://app.example/keys"}),
        json!({"jwks": {"keys": []}}),
        json!({"token_salt": "salt"}),
        json!({"note": "x".repeat(20_000)}),
    ] {
        put("/oauth/clients/strict", bad.clone())
            .await
            .refused(400, "invalid_client");
    }
    put("/oauth/clients/strict", json!([1]))
        .await
        .refused(400, "invalid_scim_resource");
    let twice = uaa
        .client
        .put("/oauth/clients/strict")
        .bearer(&root)
        .header("content-type", "application/json");
    twice
        .body("{\"scope\": [], \"scope\": [\"openid\"]}")
        .send()
        .await
        .refused(400, "invalid_scim_resource");
    for bad in [
        json!({"secret": "y", "changeMode": "REPLACE"}),
        json!({"secret": "y", "clientId": "other"}),
        json!({"changeMode": "DELETE"}),
    ] {
        put("/oauth/clients/strict/secret", bad)
            .await
            .refused(400, "invalid_client");
    }
    uaa.token_as("strict", "x", &[("grant_type", "client_credentials")])
        .await
        .ok();
    for (path, hint) in [
        ("/oauth/clients/strict/clientjwt", "/secret"),
        ("/oauth/clients/tx", "one at a time"),
        ("/oauth/clients/tx/secret", "one at a time"),
        ("/oauth/clients/restricted/strict", "one at a time"),
        ("/oauth/clients/strict/meta", "PUT /oauth/clients/:id"),
        ("/identity-zones/other", "one zone"),
    ] {
        let said = put(path, json!({})).await.refused(404, "not_found");
        assert!(
            said["error_description"].as_str().unwrap().contains(hint),
            "{path}: {said}"
        );
    }
    for name in ["tx", "meta", "restricted", "uaa"] {
        let body = json!({"client_id": name, "client_secret": "x", "authorized_grant_types": ["client_credentials"]});
        uaa.client
            .post("/oauth/clients")
            .bearer(&root)
            .json(&body)
            .send()
            .await
            .refused(400, "invalid_client");
    }
    // uaac requests this after each change.
    let meta = uaa
        .client
        .get("/oauth/clients/strict/meta")
        .bearer(&root)
        .send()
        .await
        .ok();
    assert_eq!(
        (&meta["clientId"], &meta["clientName"]),
        (&"strict".into(), &"Strict".into())
    );
    let all = uaa.client.get("/oauth/clients/meta").bearer(&root).send().await.ok();
    assert!(all.as_array().unwrap().contains(&meta), "{all}");
    let some = format!(
        "/oauth/clients?{}",
        query(&[("filter", "client_id eq \"strict\""), ("attributes", "client_id,name")])
    );
    let some = uaa.client.get(&some).bearer(&root).send().await.ok();
    assert_eq!(some["resources"], json!([{"client_id": "strict", "name": "Strict"}]));
    uaa.client
        .get("/oauth/clients?sortOrder=upwards")
        .bearer(&root)
        .send()
        .await
        .refused(400, "invalid_scim_resource");
    // A request for another identity zone is refused, not done in this one.
    for (header, zone) in [("x-identity-zone-id", "other"), ("x-identity-zone-subdomain", "other")] {
        let request = uaa
            .client
            .delete("/oauth/clients/strict")
            .bearer(&root)
            .header(header, zone);
        request.send().await.refused(404, "not_found");
    }
    let here = uaa
        .client
        .delete("/oauth/clients/strict")
        .bearer(&root)
        .header("x-identity-zone-id", "uaa");
    here.header("x-identity-zone-subdomain", "").send().await.ok();
}

/// A client with `required_user_groups` gives tokens only to members of these groups, by every grant.
pub async fn required_groups(uaa: &Uaa) {
    let user = uaa.add_user("rainer", "pw").await;
    uaa.add_client(json!({
        "client_id": "members", "client_secret": "x", "authorized_grant_types": ["password", "refresh_token"],
        "scope": ["openid"], "required_user_groups": ["club.members", "openid"],
    }))
    .await;
    let fields = [("grant_type", "password"), ("username", "rainer"), ("password", "pw")];
    let refused = uaa
        .token_as("members", "x", &fields)
        .await
        .refused(400, "invalid_scope");
    assert!(
        refused["error_description"]
            .as_str()
            .unwrap()
            .contains("required group"),
        "{refused}"
    );
    let group = uaa.add_to_group(&user, "club.members").await;
    let body = uaa.token_as("members", "x", &fields).await.ok();
    let refresh = body["refresh_token"].as_str().unwrap().to_owned();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    uaa.token_as("members", "x", &fields).await.ok();
    let root = uaa.root().await;
    let path = format!("/Groups/{group}/members/{user}");
    uaa.client.delete(&path).bearer(&root).send().await.ok();
    uaa.token_as("members", "x", &fields)
        .await
        .refused(400, "invalid_scope");
}
