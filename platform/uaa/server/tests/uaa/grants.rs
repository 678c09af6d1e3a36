//! The grants of `/oauth/token`.

use serde_json::json;

use crate::common::{Browser, Ground, Uaa, claims, header_of, texts};

/// the token of the contract; a second start keeps all of it.
pub async fn password_grant_and_keys(ground: &Ground) {
    use std::os::unix::fs::PermissionsExt as _;
    let uaa = ground.uaa().await;
    let first = uaa.first_start.clone().unwrap();
    assert_eq!(first.user, "admin");
    assert_eq!(*first.password.expose(), uaa.admin_password());
    assert!(uaa.admin_password().len() >= 20);
    for file in ["admin-password", "client-secrets.json", "master-key"] {
        let mode = std::fs::metadata(uaa.folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
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
    assert_eq!(claims["revocable"], true);
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

    let token = token.to_owned();
    let url = uaa.url.clone();
    let uaa = uaa.restart(|raw| raw.external_url = url).await;
    assert!(uaa.first_start.is_none());
    assert_eq!(uaa.client.get("/token_keys").send().await.ok(), keys);
    assert_eq!(uaa.check(&token).await.ok()["user_name"], "admin");
    uaa.login("admin", &uaa.admin_password()).await.ok();

    // A changed secret in the file is the client's from the next start on.
    let path = uaa.folder.path().join("client-secrets.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace(&uaa.secret("doppler"), "another-secret-for-doppler");
    std::fs::write(&path, changed).unwrap();
    let uaa = uaa.restart(|_| {}).await;
    uaa.client_token("doppler").await;
    uaa.stop().await;
}

/// A client gets its own token with its secret in the header or in the form; wrong and repeated credentials are refused.
pub async fn client_credentials(uaa: &Uaa) {
    let secret = uaa.secret("cf_smoke_tests");
    let grant = ("grant_type", "client_credentials");
    let body = uaa.token_as("cf_smoke_tests", &secret, &[grant]).await.ok();
    assert!(body["refresh_token"].is_null());
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(token["sub"], "cf_smoke_tests");
    assert_eq!(token["authorities"], token["scope"]);
    assert_eq!(texts(&token["scope"]), ["clients.read", "cloud_controller.admin"]);
    for name in ["user_id", "user_name", "origin", "email", "auth_time"] {
        assert!(token[name].is_null(), "{name}");
    }
    let fields = [
        grant,
        ("client_id", "cf_smoke_tests"),
        ("client_secret", secret.as_str()),
    ];
    uaa.client.post("/oauth/token").form(&fields).send().await.ok();
    // The same credentials in header and form: some libraries send both.
    uaa.client
        .post("/oauth/token")
        .basic("cf_smoke_tests", &secret)
        .form(&fields)
        .send()
        .await
        .ok();
    let narrow = uaa
        .token_as("cf_smoke_tests", &secret, &[grant, ("scope", "clients.read")])
        .await
        .ok();
    assert_eq!(narrow["scope"], "clients.read");
    // Id and secret form-encoded before Basic (RFC 6749, 2.3.1).
    let encoded = secret.replace('-', "%2D").replace('_', "%5F");
    uaa.token_as("cf%5Fsmoke%5Ftests", &encoded, &[grant]).await.ok();

    uaa.token_as("cf_smoke_tests", &secret, &[grant, ("scope", "uaa.admin")])
        .await
        .refused(400, "invalid_scope");
    let refused = uaa.token_as("cf_smoke_tests", "wrong", &[grant]).await;
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"UAA/client\"");
    assert_eq!(
        refused.refused(401, "invalid_client")["error_description"],
        "Bad credentials"
    );
    uaa.token_as("cf_smoke_tests", "", &[grant])
        .await
        .refused(401, "invalid_client");
    uaa.token_as("nobody", "wrong", &[grant])
        .await
        .refused(401, "invalid_client");
    uaa.token_as("cf", "", &[grant]).await.refused(401, "invalid_client");
    uaa.token_as("cf", "x", &[("grant_type", "password")])
        .await
        .refused(401, "invalid_client");
    uaa.client
        .post("/oauth/token")
        .form(&[grant])
        .send()
        .await
        .refused(401, "unauthorized");
    uaa.client
        .post("/oauth/token")
        .form(&[grant, ("client_id", "cf")])
        .send()
        .await
        .refused(401, "invalid_client");
    let other = [grant, ("client_id", "cf")];
    uaa.client
        .post("/oauth/token")
        .basic("admin", "x")
        .form(&other)
        .send()
        .await
        .refused(400, "invalid_request");
    uaa.token_as("admin", &uaa.secret("admin"), &[("grant_type", "magic")])
        .await
        .refused(400, "unsupported_grant_type");
    uaa.token_as("admin", &uaa.secret("admin"), &[])
        .await
        .refused(400, "invalid_request");
}

/// The scopes of a token are those that the client allows, the user has by groups, and the request asks for.
pub async fn scopes_and_groups(uaa: &Uaa) {
    let user = uaa.add_user("sven", "pw").await;
    let scopes = |body: &serde_json::Value| {
        let scope = body["scope"].as_str().unwrap().to_owned();
        scope.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = scopes(&uaa.login("sven", "pw").await.ok());
    let expected = [
        "cloud_controller.read",
        "cloud_controller.write",
        "logs.read",
        "openid",
        "password.write",
        "scim.me",
        "scim.userids",
        "uaa.user",
    ];
    assert_eq!(plain, expected);
    uaa.add_to_group(&user, "logs.read.my-app").await;
    uaa.add_to_group(&user, "logs.read.other.app").await;
    uaa.add_to_group(&user, "some.thing").await;
    // Neither sources nor scopes that the client does not allow are in a token.
    let more = uaa.login("sven", "pw").await.ok();
    assert_eq!(scopes(&more), expected);
    assert_eq!(
        uaa.reads(more["access_token"].as_str().unwrap()).await,
        ["my-app", "other.app"]
    );
    let ask = |scope: &'static str| async move {
        let fields = [
            ("grant_type", "password"),
            ("username", "sven"),
            ("password", "pw"),
            ("scope", scope),
        ];
        uaa.token_as("cf", "", &fields).await
    };
    assert_eq!(
        scopes(&ask("openid logs.read.my-app").await.ok()),
        ["logs.read.my-app", "openid"]
    );
    // A scope that the client allows and the user does not have is left out; if none is left, the request is refused.
    assert_eq!(scopes(&ask("openid,doppler.firehose").await.ok()), ["openid"]);
    ask("doppler.firehose").await.refused(400, "invalid_scope");
    ask("some.thing").await.refused(400, "invalid_scope");
    assert!(ask("openid").await.ok()["id_token"].is_string());
    // Unsupported parameters are refused, not ignored.
    for (name, value, status) in [
        ("token_format", "jwt", 200),
        ("token_format", "opaque", 400),
        ("authorities", "{}", 400),
        ("client_assertion", "a.b.c", 400),
    ] {
        let fields = [
            ("grant_type", "password"),
            ("username", "sven"),
            ("password", "pw"),
            (name, value),
        ];
        assert_eq!(uaa.token_as("cf", "", &fields).await.status, status, "{name}={value}");
    }
    // A request for one source by its name gives a token for that source alone, and so does every exchange of that token.
    let token = ask("logs.read.my-app uaa.user").await.ok();
    let text = token["access_token"].as_str().unwrap().to_owned();
    assert_eq!(texts(&claims(&text)["aud"]), ["cf", "logs.read", "uaa"]);
    assert_eq!(uaa.reads(&text).await, ["my-app"]);
    let refresh = token["refresh_token"].as_str().unwrap();
    let exchange = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    for (fields, scope) in [
        ([("grant_type", "refresh_token"), ("refresh_token", refresh)], ""),
        ([("grant_type", exchange), ("assertion", text.as_str())], ""),
        (
            [("grant_type", exchange), ("assertion", text.as_str())],
            "logs.read.my-app",
        ),
    ] {
        let fields = [fields[0], fields[1], ("scope", scope)];
        let again = uaa.token_as("cf", "", &fields).await.ok();
        assert_eq!(
            uaa.reads(again["access_token"].as_str().unwrap()).await,
            ["my-app"],
            "{fields:?}"
        );
    }
    for wider in ["logs.read", "logs.read.other.app"] {
        let fields = [("grant_type", exchange), ("assertion", text.as_str()), ("scope", wider)];
        uaa.token_as("cf", "", &fields).await.refused(400, "invalid_scope");
    }
    // A token for all sources can be exchanged for one for some.
    let all = ask("logs.read uaa.user").await.ok();
    let all = all["access_token"].as_str().unwrap();
    let fields = [
        ("grant_type", exchange),
        ("assertion", all),
        ("scope", "logs.read.other.app"),
    ];
    let one = uaa.token_as("cf", "", &fields).await.ok();
    assert_eq!(uaa.reads(one["access_token"].as_str().unwrap()).await, ["other.app"]);
    assert_eq!(uaa.reads(all).await, ["my-app", "other.app"]);
}

/// The sources that a token's bearer may read are told to resource servers and to the bearer.
pub async fn rights(uaa: &Uaa) {
    let user = uaa.add_user("richard", "pw").await;
    uaa.add_to_group(&user, "logs.read.web").await;
    uaa.add_to_group(&user, "logs.read.Web").await;
    uaa.add_client(json!({
        "client_id": "reader", "client_secret": "x", "authorized_grant_types": ["client_credentials", "password"],
        "scope": ["logs.read.web", "openid"], "authorities": ["logs.read.own", "logs.read.other"],
    }))
    .await;
    let resource = uaa.client_token("doppler").await;
    let ask = |path: String| {
        let resource = resource.clone();
        async move {
            let rights = uaa.client.get(&path).bearer(&resource).send().await.ok();
            texts(&rights["sources"])
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(
        ask(format!("/weir/v1/rights?client_id=cf&user_id={user}")).await,
        ["Web", "web"]
    );
    assert_eq!(
        ask(format!("/weir/v1/rights?client_id=reader&user_id={user}")).await,
        ["web"]
    );
    assert_eq!(
        ask("/weir/v1/rights?client_id=reader".to_owned()).await,
        ["other", "own"]
    );
    for nobody in ["client_id=reader&user_id=nobody", "client_id=nobody", "client_id=cf"] {
        assert!(ask(format!("/weir/v1/rights?{nobody}")).await.is_empty(), "{nobody}");
    }
    let grant = ("grant_type", "client_credentials");
    let own = uaa.token_as("reader", "x", &[grant]).await.ok();
    assert_eq!(own["scope"], "logs.read");
    let own = own["access_token"].as_str().unwrap().to_owned();
    assert_eq!(uaa.reads(&own).await, ["other", "own"]);
    let one = uaa
        .token_as("reader", "x", &[grant, ("scope", "logs.read.own")])
        .await
        .ok();
    assert_eq!(uaa.reads(one["access_token"].as_str().unwrap()).await, ["own"]);
    // Only resource servers may ask about other tokens.
    let path = format!("/weir/v1/rights?client_id=cf&user_id={user}");
    uaa.client
        .get(&path)
        .bearer(&own)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client.get(&path).send().await.refused(401, "unauthorized");
    uaa.client
        .get("/weir/v1/rights")
        .send()
        .await
        .refused(401, "unauthorized");
    let alone = format!("/weir/v1/rights?user_id={user}");
    uaa.client
        .get(&alone)
        .bearer(&resource)
        .send()
        .await
        .refused(400, "invalid_request");
    // An inactive user reads no source.
    let root = uaa.root().await;
    let patch = uaa
        .client
        .patch(&format!("/Users/{user}"))
        .bearer(&root)
        .header("if-match", "*");
    patch.json(&json!({"active": false})).send().await.ok();
    assert!(ask(path).await.is_empty());
}

/// The number of sources that a user may read does not make a token longer, unless a request names each of them.
pub async fn tokens_stay_short(uaa: &Uaa) {
    uaa.add_user("plain", "pw").await;
    let plain = uaa.login("plain", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .len();
    let collector = uaa.add_user("collector", "pw").await;
    let root = uaa.root().await;
    let group = |number: usize| format!("logs.read.{number:0>200}");
    for number in 0..120 {
        let member = serde_json::json!({"value": collector, "type": "USER", "origin": "uaa"});
        let body = serde_json::json!({"displayName": group(number), "members": [member]});
        uaa.client
            .post("/Groups")
            .bearer(&root)
            .json(&body)
            .send()
            .await
            .expect(201);
    }
    let token = uaa.login("collector", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(token.len() < plain + 100, "{} {plain}", token.len());
    assert_eq!(uaa.reads(&token).await.len(), 120);
    let all = (0..120).map(group).collect::<Vec<_>>().join(" ");
    let fields = [
        ("grant_type", "password"),
        ("username", "collector"),
        ("password", "pw"),
        ("scope", &all),
    ];
    let refused = uaa.token_as("cf", "", &fields).await.refused(400, "invalid_scope");
    let said = refused["error_description"].as_str().unwrap();
    assert!(said.contains("32 KiB") && said.contains("`scope`"), "{said}");
    let scope = (0..80).map(group).collect::<Vec<_>>().join(" ");
    let fields = [
        ("grant_type", "password"),
        ("username", "collector"),
        ("password", "pw"),
        ("scope", &scope),
    ];
    let answer = uaa.token_as("cf", "", &fields).await;
    let token = answer.ok()["access_token"].as_str().unwrap().to_owned();
    assert!(token.len() < 32 << 10, "{}", token.len());
}

/// A client exchanges an access token that was issued to it (RFC 7523) for another, with no more scopes and no later expiry.
pub async fn jwt_bearer(uaa: &Uaa) {
    uaa.add_user("jana", "pw").await;
    let body = uaa.login("jana", "pw").await.ok();
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let exchange = |assertion: String| async move {
        uaa.token_as("cf", "", &[grant, ("assertion", assertion.as_str())])
            .await
    };
    let text = |body: &serde_json::Value, name: &str| body[name].as_str().unwrap().to_owned();
    let token = text(&body, "access_token");
    let answer = exchange(token.clone()).await.ok();
    let fresh = claims(&text(&answer, "access_token"));
    assert_eq!(
        (&fresh["user_name"], &fresh["grant_type"]),
        (&"jana".into(), &grant.1.into())
    );
    assert_eq!(answer["scope"], body["scope"]);
    exchange(text(&body, "refresh_token"))
        .await
        .refused(400, "invalid_grant");
    exchange(uaa.client_token("admin").await)
        .await
        .refused(400, "invalid_grant");
    let password = |client: &'static str, scope: &'static str| async move {
        let fields = [
            ("grant_type", "password"),
            ("username", "jana"),
            ("password", "pw"),
            ("scope", scope),
        ];
        uaa.token_as(client, "", &fields).await.ok()
    };
    let plain = password("cf", "openid").await;
    for name in ["access_token", "id_token"] {
        exchange(text(&plain, name)).await.refused(400, "invalid_grant");
    }
    // A token with few scopes gives no token with more.
    let small = text(&password("cf", "openid uaa.user").await, "access_token");
    let same = exchange(small.clone()).await.ok();
    assert_eq!(same["scope"], "openid uaa.user");
    let asked = [grant, ("assertion", small.as_str()), ("scope", "openid")];
    assert_eq!(uaa.token_as("cf", "", &asked).await.ok()["scope"], "openid");
    let asked = [
        grant,
        ("assertion", small.as_str()),
        ("scope", "cloud_controller.write"),
    ];
    uaa.token_as("cf", "", &asked).await.refused(400, "invalid_scope");
    // The new token, its refresh token and all tokens refreshed with that expire no later than the assertion.
    let end = claims(&small)["exp"].clone();
    uaa.pass(900);
    let late = exchange(small.clone()).await.ok();
    assert_eq!(claims(&text(&late, "access_token"))["exp"], end);
    assert!(late["expires_in"].as_i64().unwrap() <= 300, "{late}");
    let refresh = text(&late, "refresh_token");
    assert_eq!(claims(&refresh)["exp"], end);
    let renew = |token: String| async move {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        uaa.token_as("cf", "", &fields).await
    };
    let renewed = renew(refresh).await.ok();
    assert_eq!(claims(&text(&renewed, "access_token"))["exp"], end);
    assert_eq!(renewed["scope"], "openid uaa.user");
    let refresh = text(&renewed, "refresh_token");
    uaa.pass(300);
    renew(refresh).await.refused(401, "invalid_token");
    exchange(small).await.refused(400, "invalid_grant");
    // A token of another client is refused.
    uaa.add_client(serde_json::json!({
        "client_id": "jana-app", "client_secret": "", "authorized_grant_types": ["password"],
        "scope": ["openid", "uaa.user"],
    }))
    .await;
    let theirs = text(&password("jana-app", "openid uaa.user").await, "access_token");
    exchange(theirs).await.refused(400, "invalid_grant");
    exchange("nonsense".to_owned()).await.refused(400, "invalid_grant");
    let token = text(&uaa.login("jana", "pw").await.ok(), "access_token");
    let mut broken = token.clone();
    broken.replace_range(token.len() - 6..token.len() - 2, "AAAA");
    exchange(broken).await.refused(400, "invalid_grant");
    // The error text of the original, on which the cf CLI relies.
    let refused = uaa
        .token_as(
            "doppler",
            &uaa.secret("doppler"),
            &[grant, ("assertion", token.as_str())],
        )
        .await
        .refused(401, "invalid_client");
    assert_eq!(refused["error_description"], "Unauthorized grant type");
}

/// A passcode replaces name and password once. Its page needs a session, and each user has one passcode at a time.
pub async fn passcodes(uaa: &Uaa) {
    uaa.add_user("petra", "pw").await;
    let mut browser = Browser::new(&uaa.client);
    assert_eq!(browser.log_in("/login", "petra", "pw").await.status, 303);
    let redeem = |code: String| async move {
        let fields = [("grant_type", "password"), ("passcode", code.as_str())];
        uaa.token_as("cf", "", &fields).await
    };
    let code = browser.passcode().await;
    let body = redeem(code.clone()).await.ok();
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["user_name"], "petra");
    redeem(code).await.refused(401, "unauthorized");
    let (first, second) = (browser.passcode().await, browser.passcode().await);
    redeem(first).await.refused(401, "unauthorized");
    redeem(second).await.ok();
    let late = browser.passcode().await;
    uaa.pass(301);
    redeem(late).await.refused(401, "unauthorized");
    // An access token does not open the page: it could be turned into tokens for another client, and with a later expiry.
    uaa.client.get("/passcode").send().await.refused(401, "unauthorized");
    uaa.client
        .get("/passcode")
        .bearer(token)
        .send()
        .await
        .refused(401, "unauthorized");
}
