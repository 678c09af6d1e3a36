//! Requests of attackers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::common::{Ground, Uaa, claims, header_of};

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token without signature, with another algorithm, another key, a key's address, or changed claims is refused.
pub async fn forged_tokens(uaa: &Uaa) {
    let token = uaa.admin_token().await;
    let (header, mut payload) = (header_of(&token), claims(&token));
    payload["scope"] = json!(["uaa.admin", "openid", "uaa.resource"]);
    let with = |changes: Value| {
        let mut header = header.clone();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        header
    };
    let signature = token.rsplit('.').next().unwrap();
    let mut forged = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let input = format!("{}.{}", part(&with(json!({"alg": alg}))), part(&payload));
        forged.extend([format!("{input}."), format!("{input}.{signature}"), input]);
    }
    // Algorithm confusion (RFC 8725, 2.1): the public key as the secret of a MAC, in each published form.
    let key = &uaa.client.get("/token_keys").send().await.ok()["keys"][0];
    let pem = key["value"].as_str().unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    for (alg, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        for secret in [pem.as_bytes(), format!("{pem}\n").as_bytes(), &modulus, b""] {
            let input = format!("{}.{}", part(&with(json!({"alg": alg}))), part(&payload));
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
            forged.push(format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag)));
        }
    }
    // Another key: with our key id, with an unknown one, within the header, or at an address in the header.
    for header in [
        header.clone(),
        with(json!({"kid": "../../../../dev/null"})),
        with(json!({"kid": "' or '1'='1"})),
        with(json!({"kid": "x' union select 'AA' --"})),
        with(json!({"kid": null})),
        with(json!({"kid": ["a"]})),
        with(json!({"jku": "https://evil.example/token_keys"})),
        with(json!({"x5u": "https://evil.example/cert"})),
        with(json!({"jwk": {"kty": "oct", "k": ""}})),
        with(json!({"crit": ["exp"]})),
        with(json!({"alg": "RS512"})),
        with(json!({"alg": "PS256"})),
    ] {
        let input = format!("{}.{}", part(&header), part(&payload));
        forged.push(format!("{input}.{signature}"));
        forged.push(format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 256])));
    }
    // The real header with changed claims; a real token with a changed shape.
    let parts: Vec<&str> = token.split('.').collect();
    forged.push(format!("{}.{}.{}", parts[0], part(&payload), parts[2]));
    forged.push(format!("{}.{}.{}=", parts[0], parts[1], parts[2]));
    forged.push(format!("{token}."));
    forged.push(format!("{token}.{}", parts[2]));
    forged.push(format!("{}.{}", parts[0], parts[1]));
    for token in &forged {
        let refused = uaa.client.get("/Users").bearer(token).send().await;
        assert_eq!(refused.status, 401, "{token}");
        assert_eq!(uaa.check(token).await.status, 400, "{token}");
    }
    let huge = "a".repeat(300_000);
    let request = uaa.client.post("/check_token").basic("doppler", &uaa.secret("doppler"));
    // The server may close the connection before it has read a form that is too large.
    if let Ok(answer) = request.form(&[("token", &huge)]).try_send().await {
        assert_eq!(answer.status, 413);
    }
    uaa.check(&token).await.ok();
}

/// A refresh token or an ID token is refused as an access token.
pub async fn tokens_of_other_kinds(uaa: &Uaa) {
    let password = uaa.admin_password();
    let fields = [
        ("grant_type", "password"),
        ("username", "admin"),
        ("password", &password),
        ("scope", "openid scim.read"),
    ];
    let body = uaa.token_as("cf", "", &fields).await.ok();
    for name in ["refresh_token", "id_token"] {
        let token = body[name].as_str().unwrap();
        uaa.client
            .get("/Users")
            .bearer(token)
            .send()
            .await
            .refused(401, "invalid_token");
        uaa.client
            .get("/userinfo")
            .bearer(token)
            .send()
            .await
            .refused(401, "invalid_token");
        uaa.check(token).await.refused(400, "invalid_token");
        let path = "/oauth/authorize?response_type=code&client_id=ssh-proxy";
        uaa.client
            .get(path)
            .bearer(token)
            .send()
            .await
            .refused(401, "invalid_token");
    }
    uaa.client
        .get("/Users")
        .bearer(body["access_token"].as_str().unwrap())
        .send()
        .await
        .ok();
    // The scheme is case-insensitive (RFC 9110, 11.1), and there may be one header only.
    let token = body["access_token"].as_str().unwrap();
    uaa.client
        .get("/Users")
        .header("authorization", &format!("BEARER  {token}"))
        .send()
        .await
        .ok();
    let twice = uaa
        .client
        .get("/Users")
        .bearer(token)
        .header("authorization", "bearer other");
    twice.send().await.refused(400, "invalid_request");
    uaa.client
        .get("/Users")
        .header("authorization", token)
        .send()
        .await
        .refused(401, "unauthorized");
}

/// Forms are refused that are too large or ambiguous, and bodies that are no forms.
pub async fn forms(uaa: &Uaa) {
    let send = |body: String, kind: &'static str| async move {
        uaa.client
            .post("/oauth/token")
            .basic("cf", "")
            .header("content-type", kind)
            .body(body)
            .send()
            .await
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    let huge = format!("grant_type=password&username=x&password={}", "x".repeat(70_000));
    send(huge, FORM).await.refused(413, "invalid_request");
    let larger = format!("grant_type=password&username=x&password={}", "x".repeat(2 << 20));
    let larger = uaa
        .client
        .post("/oauth/token")
        .basic("cf", "")
        .header("content-type", FORM)
        .body(larger);
    if let Ok(answer) = larger.try_send().await {
        answer.refused(413, "invalid_request");
    }
    let many: Vec<String> = (0..1000).map(|number| format!("p{number}=x")).collect();
    send(many.join("&"), FORM).await.refused(400, "invalid_request");
    for body in [
        "grant_type=password&grant_type=client_credentials",
        "grant_type=password&username=admin&username=other&password=x",
        "grant_type=password&username=%ff&password=x",
        "grant_type=password&username=%&password=x",
        "grant_type=password&username=x&%70assword=a&password=b",
    ] {
        send(body.to_owned(), FORM).await.refused(400, "invalid_request");
    }
    send("grant_type=password&username=x&password=y".to_owned(), "text/plain")
        .await
        .refused(400, "invalid_request");
    send(r#"{"grant_type":"password"}"#.to_owned(), "application/json")
        .await
        .refused(400, "invalid_request");
    // Credentials in a URL end up in logs: they are not accepted there (RFC 6749, 2.3.1).
    let path = "/oauth/token?grant_type=password&username=admin&password=x";
    uaa.client
        .post(path)
        .basic("cf", "")
        .send()
        .await
        .refused(400, "invalid_request");
    // A name or password may have any length within the form's limit: too long a one is just a wrong one.
    let long = format!("grant_type=password&username=admin&password={}", "x".repeat(5000));
    send(long, FORM).await.refused(401, "unauthorized");
    let name = format!("grant_type=password&username={}&password=x", "x".repeat(5000));
    send(name, FORM).await.refused(401, "unauthorized");
    send("grant_type=password&username=a%00b&password=x".to_owned(), FORM)
        .await
        .refused(400, "invalid_request");
    let root = uaa.root().await;
    uaa.client
        .get("/Users/a%00b")
        .bearer(&root)
        .send()
        .await
        .refused(400, "invalid_request");
    let nul = json!({"userName": "nul", "externalId": "a\u{0}b"});
    uaa.client
        .post("/Users")
        .bearer(&root)
        .json(&nul)
        .send()
        .await
        .refused(400, "invalid_request");
    let json = uaa
        .client
        .post("/Users")
        .bearer(&root)
        .header("content-type", "application/json");
    let json = json.body(format!("{{\"userName\":\"{}\"}}", "x".repeat(2 << 20)));
    if let Ok(answer) = json.try_send().await {
        answer.refused(413, "invalid_request");
    }
}

/// A client that does not exist, or has no hashed secret, costs a hash as others do, so that timing does not tell them apart.
/// The queue here has room for one hash: of many concurrent requests, some are refused with 503 for each kind of client.
pub async fn unknown_clients_cost_a_hash(ground: &Ground) {
    let uaa = ground
        .uaa_with(|raw| {
            raw.hashing.memory = weir_config::ByteSize::mib(64);
            raw.hashing.threads = 1;
            raw.hashing.queue = 1;
        })
        .await;
    for id in ["nobody-", "doppler", "cf"] {
        let asked = (0..40).map(|number| {
            let id = if id.ends_with('-') {
                format!("{id}{number}")
            } else {
                id.to_owned()
            };
            let uaa = &uaa;
            async move {
                let fields = [("grant_type", "client_credentials")];
                uaa.token_as(&id, "wrong", &fields).await.status.as_u16()
            }
        });
        let statuses = futures::future::join_all(asked).await;
        assert!(statuses.contains(&401) && statuses.contains(&503), "{id}: {statuses:?}");
        assert!(
            statuses.iter().all(|status| matches!(status, 401 | 503)),
            "{id}: {statuses:?}"
        );
    }
    uaa.stop().await;
}
