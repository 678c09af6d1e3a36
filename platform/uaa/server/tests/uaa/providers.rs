//! Logins by an external OpenID Connect provider, which is another UAA here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::json;
use weir_config::Secret;
use weir_eventually::eventually_async;
use weir_platform_uaa_server::RawProvider;
use weir_uaa_client::Uaa as Remote;

use crate::common::{Browser, Ground, Uaa, claims, parameter, query};

/// Returns the path of a URL below `base`.
#[track_caller]
fn path_at<'p>(url: &'p str, base: &str) -> &'p str {
    url.strip_prefix(base)
        .unwrap_or_else(|| panic!("{url} is not at {base}"))
}

/// Starts a UAA, and another one that is its provider and has the user `ada`.
async fn pair(ground: &Ground) -> (Uaa, Uaa, String) {
    let provider = ground.uaa().await;
    let ada = provider.add_user("ada", "pw").await;
    provider.add_to_group(&ada, "staff.readers").await;
    let (issuer, ca) = (provider.issuer(), provider.ca.clone());
    let uaa = ground
        .uaa_with(move |raw| {
            let groups = ["logs.read.theirs", "SCIM.write"].map(str::to_owned).to_vec();
            let there = RawProvider {
                title: "The other one".to_owned(),
                issuer,
                client_id: "relying".to_owned(),
                client_secret: Secret::new("a secret: with % and +".to_owned()),
                scopes: vec!["roles".to_owned(), "staff.readers".to_owned()],
                ca,
                groups_claim: "roles".to_owned(),
                groups: [("staff.readers".to_owned(), groups)].into(),
                ..RawProvider::default()
            };
            raw.providers.insert("other".to_owned(), there);
        })
        .await;
    let callback = format!("{}/login/callback/other", uaa.url);
    provider
        .add_client(json!({
            "client_id": "relying",
            "client_secret": "a secret: with % and +",
            "authorized_grant_types": ["authorization_code"],
            "scope": ["openid", "roles", "staff.readers"],
            "redirect_uri": [callback],
            "autoapprove": true,
        }))
        .await;
    uaa.add_client(json!({
        "client_id": "app",
        "client_secret": "x",
        "authorized_grant_types": ["authorization_code"],
        "scope": ["openid", "logs.read.*"],
        "redirect_uri": ["https://app.example/cb"],
        "autoapprove": true,
    }))
    .await;
    (provider, uaa, ada)
}

/// Returns the path of the login page's button for the provider.
fn button(page: &str) -> String {
    assert!(page.contains("Continue with The other one"), "{page}");
    let begin = page.split("href=\"/login/oidc/other").nth(1).unwrap();
    let begin = begin.split('"').next().unwrap();
    format!("/login/oidc/other{}", begin.replace("&amp;", "&"))
}

/// A login at the provider logs the user in here, with the groups of the provider. A callback that is replayed, of another
/// browser or changed is refused.
pub async fn logins_by_another_uaa(ground: &Ground) {
    let (provider, uaa, ada) = pair(ground).await;
    let admin = uaa.add_user("scaffold", "pw").await;
    uaa.add_to_group(&admin, "logs.read.theirs").await;
    let callback = format!("{}/login/callback/other", uaa.url);

    let info = uaa
        .client
        .get("/login")
        .header("accept", "application/json")
        .send()
        .await
        .ok();
    assert!(info["prompts"]["passcode"][1].as_str().unwrap().contains("/passcode"));

    // At the provider.
    let mut here = Browser::new(&uaa.client);
    let wanted = query(&[
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", "https://app.example/cb"),
    ]);
    let login = here
        .get(&format!("/oauth/authorize?{wanted}"))
        .await
        .header("location")
        .to_owned();
    let begin = button(&here.get(&login).await.text());
    let there_url = here.get(&begin).await.header("location").to_owned();
    assert_eq!(parameter(&there_url, "code_challenge_method").as_deref(), Some("S256"));
    assert!(parameter(&there_url, "nonce").is_some() && parameter(&there_url, "state").is_some());
    let mut there = Browser::new(&provider.client);
    let answer = there.get(path_at(&there_url, &provider.url)).await;
    let answer = there.log_in(answer.header("location"), "ada", "pw").await;
    let answer = there.get(answer.header("location")).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let back = answer.header("location").to_owned();

    // A callback in another browser, with another state, or of another login is refused.
    let mut thief = Browser::new(&uaa.client);
    let answer = thief.get(path_at(&back, &uaa.url)).await;
    assert_eq!(answer.header("location"), "/login?error=late");
    let other = back.replace("state=", "state=x");
    let answer = here.get(path_at(&other, &uaa.url)).await;
    assert_eq!(answer.header("location"), "/login?error=late");
    // The callback works once, in the browser that began the login.
    let answer = here.get(path_at(&back, &uaa.url)).await;
    assert!(answer.header("location").starts_with("/oauth/authorize?"), "{answer:?}");
    let answer = here.get(path_at(&back, &uaa.url)).await;
    assert_eq!(answer.header("location"), "/login?error=late");
    let again = |change: &'static str| {
        let (begin, provider, uaa) = (begin.clone(), &provider, &uaa);
        let cookies = (here.cookies.clone(), there.cookies.clone());
        async move {
            let mut here = Browser::new(&uaa.client);
            here.cookies = cookies.0;
            let mut there = Browser::new(&provider.client);
            there.cookies = cookies.1;
            let there_url = here.get(&begin).await.header("location").to_owned();
            let answer = there.get(path_at(&there_url, &provider.url)).await;
            let back = path_at(answer.header("location"), &uaa.url).to_owned();
            let back = match change {
                "iss" => back.replace("&iss=https", "&iss=http"),
                "code" => back.replace("code=", "code=x"),
                "error" => back.replace("?code=", "?error=access_denied&code="),
                _ => back,
            };
            (here.get(&back).await, here)
        }
    };
    for change in ["iss", "code", "error"] {
        let (answer, _) = again(change).await;
        let location = answer.header("location");
        assert!(location.starts_with("/login?error=provider&"), "{change}: {location}");
        // A second try is redirected to the page that the first one asked for.
        assert_eq!(
            parameter(location, "continue"),
            parameter(&login, "continue"),
            "{change}"
        );
    }
    // After the callback.
    let (answer, mut here) = again("").await;
    assert_eq!(answer.status, 303);
    let target = answer.header("location").to_owned();
    assert!(target.starts_with("/oauth/authorize?"), "{target}");
    let answer = here.get(&target).await;
    let code = parameter(answer.header("location"), "code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", "https://app.example/cb"),
    ];
    let body = uaa.token_as("app", "x", &fields).await.ok();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&token["user_name"], &token["origin"], &token["email"]),
        (&"ada".into(), &"other".into(), &"ada@example.com".into())
    );
    assert_ne!(token["user_id"], ada.as_str());
    assert_eq!(uaa.reads(body["access_token"].as_str().unwrap()).await, ["theirs"]);
    let first = token["user_id"].clone();
    // A name that differs by letter case is another group, which does not exist.
    let own = uaa.root().await;
    let shown = || async {
        let path = format!("/Users/{}", first.as_str().unwrap());
        uaa.client.get(&path).bearer(&own).send().await.ok()["groups"].to_string()
    };
    assert!(shown().await.contains("logs.read.theirs") && !shown().await.contains("scim.write"));
    // A membership that an operator added is not removed by the provider's groups.
    let remote = Remote::new(&uaa.url, Some(&uaa.ca)).unwrap();
    let tokens = remote.client_credentials("admin", &uaa.secret("admin")).await.unwrap();
    let operator = remote.with_token(&tokens.access_token);
    operator.ensure_member("logs.read.kept", "ada").await.unwrap();
    // The next login is that of the same user. Without groups at the provider, it has none of them here.
    let root = provider.root().await;
    let group = provider
        .add_to_group(&provider.add_user("else", "pw").await, "staff.readers")
        .await;
    let leaves = async || {
        let path = format!("/Groups/{group}/members/{ada}");
        provider.client.delete(&path).bearer(&root).send().await.ok();
    };
    leaves().await;
    let (_, mut here) = again("").await;
    uaa.check(body["access_token"].as_str().unwrap())
        .await
        .refused(400, "invalid_token");
    let answer = here.get(&target).await;
    let code = parameter(answer.header("location"), "code").unwrap();
    let fields = [fields[0], ("code", code.as_str()), fields[2]];
    let body = uaa.token_as("app", "x", &fields).await.ok();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&token["user_id"], &body["scope"]),
        (&first, &"logs.read openid".into())
    );
    assert_eq!(uaa.reads(body["access_token"].as_str().unwrap()).await, ["kept"]);
    // The same for a membership that the provider added first and an operator added as well.
    provider.add_to_group(&ada, "staff.readers").await;
    again("").await;
    assert!(shown().await.contains("logs.read.theirs"));
    operator.add_member("logs.read.theirs", "ada").await.unwrap();
    leaves().await;
    again("").await;
    assert!(shown().await.contains("logs.read.theirs"));
    // Such a user has no password here.
    uaa.login("ada", "pw").await.refused(401, "unauthorized");

    // The provider's ID token as an assertion (RFC 7523).
    let jwt_bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    provider
        .add_client(json!({
            "client_id": "stranger", "client_secret": "x", "authorized_grant_types": ["password"], "scope": ["openid"],
        }))
        .await;
    let exchange = |assertion: String| {
        let uaa = &uaa;
        async move {
            uaa.token_as(
                "cf",
                "",
                &[("grant_type", jwt_bearer), ("assertion", assertion.as_str())],
            )
            .await
        }
    };
    let fields = [
        ("grant_type", "password"),
        ("username", "ada"),
        ("password", "pw"),
        ("scope", "openid"),
    ];
    let stranger = provider.token_as("stranger", "x", &fields).await.ok();
    exchange(stranger["id_token"].as_str().unwrap().to_owned())
        .await
        .refused(400, "invalid_grant");
    exchange(stranger["access_token"].as_str().unwrap().to_owned())
        .await
        .refused(400, "invalid_grant");
    let update = json!({
        "authorized_grant_types": ["authorization_code", "password"],
        "scope": ["openid", "roles", "staff.readers"], "redirect_uri": [callback], "autoapprove": true,
    });
    provider
        .client
        .put("/oauth/clients/relying")
        .bearer(&root)
        .json(&update)
        .send()
        .await
        .ok();
    let relying = provider
        .token_as("relying", "a secret: with % and +", &fields)
        .await
        .ok();
    let body = exchange(relying["id_token"].as_str().unwrap().to_owned()).await.ok();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!((&token["user_id"], &token["origin"]), (&first, &"other".into()));
    // An ID token proves a login, so its tokens expire as those of a login do, not with the ID token.
    let refresh = claims(body["refresh_token"].as_str().unwrap());
    let lasts = refresh["exp"].as_i64().unwrap() - refresh["iat"].as_i64().unwrap();
    assert_eq!(lasts, 12 * 3600);
    // Groups are taken from an ID token only if it is newer than the last login and has the claim.
    operator.remove_member("logs.read.theirs", "ada").await.unwrap();
    let id_token = async |scope: &'static str| {
        let fields = [fields[0], fields[1], fields[2], ("scope", scope)];
        let tokens = provider.token_as("relying", "a secret: with % and +", &fields).await;
        tokens.ok()["id_token"].as_str().unwrap().to_owned()
    };
    let with_groups = "openid roles staff.readers";
    let pass = || {
        provider.pass(60);
        uaa.pass(60);
    };
    provider.add_to_group(&ada, "staff.readers").await;
    let old = id_token(with_groups).await;
    pass();
    leaves().await;
    again("").await;
    exchange(old).await.ok();
    assert!(!shown().await.contains("logs.read.theirs"));
    pass();
    provider.add_to_group(&ada, "staff.readers").await;
    exchange(id_token(with_groups).await).await.ok();
    assert!(shown().await.contains("logs.read.theirs"));
    pass();
    exchange(id_token("openid").await).await.ok();
    assert!(shown().await.contains("logs.read.theirs"));
    uaa.stop().await;
    provider.stop().await;
}

/// `auth_time` is the time of the login at the provider, and `max_age` is checked against it.
pub async fn auth_time_and_max_age(ground: &Ground) {
    let (provider, uaa, _) = pair(ground).await;
    let pass = |seconds: u64| {
        provider.pass(seconds);
        uaa.pass(seconds);
    };
    let mut there = Browser::new(&provider.client);
    there.log_in("/login", "ada", "pw").await;
    pass(1000);
    let asked = |more: &[(&str, &str)]| {
        let mut fields = vec![("response_type", "code"), ("client_id", "app")];
        fields.extend(more);
        format!("/oauth/authorize?{}", query(&fields))
    };
    // With a session at the provider, the time of that login counts, not the time of the callback.
    let mut here = Browser::new(&uaa.client);
    let login = here.get(&asked(&[])).await.header("location").to_owned();
    let page = here.get(&login).await.text();
    let to = here.get(&button(&page)).await.header("location").to_owned();
    assert!(
        parameter(&to, "prompt").is_none() && parameter(&to, "max_age").is_none(),
        "{to}"
    );
    let back = there
        .get(path_at(&to, &provider.url))
        .await
        .header("location")
        .to_owned();
    let back = here.get(path_at(&back, &uaa.url)).await.header("location").to_owned();
    let code = parameter(here.get(&back).await.header("location"), "code").unwrap();
    let body = uaa
        .token_as("app", "x", &[("grant_type", "authorization_code"), ("code", &code)])
        .await
        .ok();
    let token = claims(body["access_token"].as_str().unwrap());
    let age = token["iat"].as_i64().unwrap() - token["auth_time"].as_i64().unwrap();
    assert!((1000..1060).contains(&age), "{age}");
    // A request with `max_age`.
    for (more, name, value) in [
        (("max_age", "100"), "max_age", "100"),
        (("max_age", "0"), "max_age", "0"),
        (("prompt", "login"), "prompt", "login"),
    ] {
        let answer = here.get(&asked(&[more])).await;
        let login = answer.header("location").to_owned();
        assert!(login.starts_with("/login?"), "{more:?} {login}");
        // A wrong password in the form here does not change the required age.
        let failed = here.log_in(&login, "nobody", "wrong").await.text();
        let to = here.get(&button(&failed)).await.header("location").to_owned();
        assert_eq!(parameter(&to, name).as_deref(), Some(value), "{more:?} {to}");
        // The provider asks for the password again before it redirects.
        let again = there
            .get(path_at(&to, &provider.url))
            .await
            .header("location")
            .to_owned();
        assert!(again.starts_with("/login?"), "{more:?} {again}");
        let answer = there.log_in(&again, "ada", "pw").await;
        let back = there.get(answer.header("location")).await.header("location").to_owned();
        let back = here.get(path_at(&back, &uaa.url)).await.header("location").to_owned();
        let code = parameter(here.get(&back).await.header("location"), "code").unwrap();
        let body = uaa
            .token_as("app", "x", &[("grant_type", "authorization_code"), ("code", &code)])
            .await
            .ok();
        let token = claims(body["access_token"].as_str().unwrap());
        let age = token["iat"].as_i64().unwrap() - token["auth_time"].as_i64().unwrap();
        assert!((0..60).contains(&age), "{more:?} {age}");
        pass(1000);
    }
    // A callback of a provider that ignored `max_age` is refused for its old login.
    let login = here
        .get(&asked(&[("prompt", "login")]))
        .await
        .header("location")
        .to_owned();
    let page = here.get(&login).await.text();
    let to = here.get(&button(&page)).await.header("location").to_owned();
    let lax = to.replace("&prompt=login", "");
    assert_ne!(lax, to);
    let back = there
        .get(path_at(&lax, &provider.url))
        .await
        .header("location")
        .to_owned();
    let answer = here.get(path_at(&back, &uaa.url)).await;
    let location = answer.header("location");
    assert!(location.starts_with("/login?error=provider&"), "{location}");
    assert_eq!(parameter(location, "prompt").as_deref(), Some("login"));
    // A request that is too long for the cookie is refused before the redirect.
    let endless = format!("/oauth/authorize?client_id=app&state={}", "x".repeat(4000));
    let path = format!("/login/oidc/other?{}", query(&[("continue", &endless)]));
    let answer = here.get(&path).await;
    let location = answer.header("location");
    assert_eq!(parameter(location, "error").as_deref(), Some("long"));
    assert_eq!(parameter(location, "continue"), Some(endless));
    uaa.stop().await;
    provider.stop().await;
}

/// Concurrent logins share one attempt to reach the provider, and its failure for a while; then there is another attempt.
pub async fn a_provider_that_does_not_answer(ground: &Ground) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("https://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let (go, mut gate) = tokio::sync::watch::channel(false);
    let count = Arc::clone(&asked);
    let silent = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            gate.wait_for(|open| *open).await.unwrap();
            drop(stream);
        }
    });
    let uaa = ground
        .uaa_with(|raw| {
            let there = RawProvider {
                title: "Silent".to_owned(),
                issuer,
                client_id: "relying".to_owned(),
                client_secret: Secret::new("x".to_owned()),
                ca: raw.master_key_file.with_file_name("tls/ca.crt"),
                ..RawProvider::default()
            };
            raw.providers.insert("silent".to_owned(), there);
        })
        .await;
    let begin = || async { uaa.client.get("/login/oidc/silent").send().await };
    let waiting = join_all((0..8).map(|_| begin()));
    let opening = async {
        eventually_async("the provider is asked", || async { asked.load(Ordering::SeqCst) > 0 }).await;
        go.send(true).unwrap();
    };
    let (answers, ()) = tokio::join!(waiting, opening);
    for answer in answers.iter().chain([&begin().await]) {
        assert_eq!(answer.header("location"), "/login?error=provider&continue=%2F");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    uaa.pass(10);
    begin().await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    silent.abort();
    uaa.stop().await;
}
