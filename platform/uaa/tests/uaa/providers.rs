//! Logins by an external OpenID Connect provider: another UAA of ours.

use serde_json::json;
use weir_config::Secret;
use weir_platform_uaa::RawProvider;

use crate::common::{Browser, Ground, claims, parameter, query};

/// The path of a URL of this UAA.
#[track_caller]
fn path_at<'p>(url: &'p str, base: &str) -> &'p str {
    url.strip_prefix(base)
        .unwrap_or_else(|| panic!("{url} is not at {base}"))
}

/// A browser goes to the provider, comes back, and is somebody here; what others make of the way back is refused.
pub async fn logins_by_another_uaa(ground: &Ground) {
    let provider = ground.uaa().await;
    let ada = provider.add_user("ada", "pw").await;
    provider.add_to_group(&ada, "staff.readers").await;
    let (issuer, ca) = (provider.issuer(), provider.ca.clone());
    let uaa = ground
        .uaa_with(move |raw| {
            let mapped = ("staff.readers".to_owned(), vec!["logs.read.theirs".to_owned()]);
            let there = RawProvider {
                title: "The other one".to_owned(),
                issuer,
                client_id: "relying".to_owned(),
                client_secret: Secret::new("a secret: with % and +".to_owned()),
                scopes: vec!["roles".to_owned(), "staff.readers".to_owned()],
                ca,
                groups_claim: "roles".to_owned(),
                groups: [mapped].into(),
                ..RawProvider::default()
            };
            raw.providers.insert("other".to_owned(), there);
        })
        .await;
    let admin = uaa.add_user("scaffold", "pw").await;
    uaa.add_to_group(&admin, "logs.read.theirs").await;
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

    let info = uaa
        .client
        .get("/login")
        .header("accept", "application/json")
        .send()
        .await
        .ok();
    assert!(info["prompts"]["passcode"][1].as_str().unwrap().contains("/passcode"));

    // There.
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
    let page = here.get(&login).await.text();
    assert!(page.contains("Continue with The other one"), "{page}");
    let begin = page
        .split("href=\"/login/oidc/other")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let begin = format!("/login/oidc/other{}", begin.replace("&amp;", "&"));
    let there_url = here.get(&begin).await.header("location").to_owned();
    assert_eq!(parameter(&there_url, "code_challenge_method").as_deref(), Some("S256"));
    assert!(parameter(&there_url, "nonce").is_some() && parameter(&there_url, "state").is_some());
    let mut there = Browser::new(&provider.client);
    let answer = there.get(path_at(&there_url, &provider.url)).await;
    let answer = there.log_in(answer.header("location"), "ada", "pw").await;
    let answer = there.get(answer.header("location")).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let back = answer.header("location").to_owned();

    // In another browser, with another state, or as somebody else's answer: nothing.
    let mut thief = Browser::new(&uaa.client);
    let answer = thief.get(path_at(&back, &uaa.url)).await;
    assert_eq!(answer.header("location"), "/login?error=late");
    // It was used up by that.
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
        assert_eq!(answer.header("location"), "/login?error=provider", "{change}");
    }
    // Back.
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
    assert!(body["scope"].as_str().unwrap().contains("logs.read.theirs"), "{body}");
    let first = token["user_id"].clone();
    // The same person the next time; who is in no group there is in none here.
    let root = provider.root().await;
    let group = provider
        .add_to_group(&provider.add_user("else", "pw").await, "staff.readers")
        .await;
    provider
        .client
        .delete(&format!("/Groups/{group}/members/{ada}"))
        .bearer(&root)
        .send()
        .await
        .ok();
    let (_, mut here) = again("").await;
    uaa.check(body["access_token"].as_str().unwrap())
        .await
        .refused(400, "invalid_token");
    let answer = here.get(&target).await;
    let code = parameter(answer.header("location"), "code").unwrap();
    let fields = [fields[0], ("code", code.as_str()), fields[2]];
    let body = uaa.token_as("app", "x", &fields).await.ok();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!((&token["user_id"], &body["scope"]), (&first, &"openid".into()));
    // Our own password login knows nothing of them.
    uaa.login("ada", "pw").await.refused(401, "unauthorized");

    // An id token from there as an assertion.
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
        "authorized_grant_types": ["authorization_code", "password"], "scope": ["openid"],
        "redirect_uri": [callback], "autoapprove": true,
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
    uaa.stop().await;
    provider.stop().await;
}
