//! Authorization codes: requests of browsers and the cf CLI, consent, and the exchange for tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::json;

use crate::common::{Answer, Browser, Uaa, claims, hidden_fields, parameter, query, texts};

pub mod pkce;
pub mod prompts;
pub mod redirects;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Returns the S256 challenge of a verifier (RFC 7636).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

/// Creates a client with a secret and the grant `authorization_code`.
async fn web_client(uaa: &Uaa, id: &str, auto_approve: bool) -> String {
    let redirect = format!("https://{id}.example/cb");
    uaa.add_client(json!({
        "client_id": id,
        "client_secret": "web secret",
        "name": format!("The {id} app"),
        "authorized_grant_types": ["authorization_code", "refresh_token"],
        "scope": ["openid", "cloud_controller.read", "profile"],
        "redirect_uri": [redirect],
        "autoapprove": auto_approve,
    }))
    .await;
    redirect
}

/// Returns the parameters of a request for a code.
fn request<'r>(client: &'r str, redirect: &'r str, more: &[(&'r str, &'r str)]) -> Vec<(&'r str, &'r str)> {
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect),
    ];
    fields.extend_from_slice(more);
    fields
}

fn path(fields: &[(&str, &str)]) -> String {
    format!("/oauth/authorize?{}", query(fields))
}

/// Returns a browser with a new user who is logged in.
async fn logged_in(uaa: &Uaa, user: &str) -> Browser {
    let mut browser = Browser::new(&uaa.client);
    let answer = browser.log_in("/login", user, "pw").await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    browser
}

/// Returns the code of a redirect to the client.
#[track_caller]
fn code_of(answer: &Answer, redirect: &str) -> String {
    assert_eq!(answer.status, 302, "{}", answer.text());
    let location = answer.header("location");
    assert!(location.starts_with(&format!("{redirect}?")), "{location}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    parameter(location, "code").unwrap_or_else(|| panic!("no code: {location}"))
}

/// Returns the error of a redirect to the client.
#[track_caller]
fn error_of(answer: &Answer, redirect: &str) -> String {
    assert_eq!(answer.status, 302, "{}", answer.text());
    let location = answer.header("location");
    assert!(location.starts_with(&format!("{redirect}?")), "{location}");
    parameter(location, "error").unwrap_or_else(|| panic!("no error: {location}"))
}

async fn redeem(uaa: &Uaa, client: &str, secret: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("grant_type", "authorization_code")];
    fields.extend_from_slice(more);
    uaa.token_as(client, secret, &fields).await
}

/// The whole flow: login, consent, code, tokens. The second time no consent is asked for.
pub async fn code_flow_with_consent(uaa: &Uaa) {
    let user = uaa.add_user("clara", "pw").await;
    let redirect = web_client(uaa, "consent", false).await;
    let challenge = challenge(VERIFIER);
    let more = [
        ("scope", "openid cloud_controller.read profile"),
        ("state", "a state & more"),
        ("nonce", "n-1"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let fields = request("consent", &redirect, &more);
    let mut browser = Browser::new(&uaa.client);
    let answer = browser.get(&path(&fields)).await;
    assert_eq!(answer.status, 303);
    let login = answer.header("location").to_owned();
    assert!(login.starts_with("/login?continue="), "{login}");
    let page = browser.get(&login).await;
    assert!(page.text().contains("The consent app"));
    assert!(
        page.header("content-security-policy")
            .contains("form-action 'self' https://consent.example")
    );
    let answer = browser.log_in(&login, "clara", "pw").await;
    assert_eq!(answer.status, 303);
    let page = browser.get(answer.header("location")).await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(
        text.contains("Allow The consent app?") && text.contains("consent.example"),
        "{text}"
    );
    assert!(text.contains("See your apps, spaces and organisations"));
    // Consent to all scopes but one.
    let mut form = hidden_fields(&text);
    let mut say = |name: &str, value: &str| form.push((name.to_owned(), value.to_owned()));
    say("scope.openid", "on");
    say("scope.cloud_controller.read", "on");
    say("user_oauth_approval", "true");
    let form: Vec<(&str, &str)> = form
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = browser.post("/oauth/authorize", &form).await;
    let code = code_of(&answer, &redirect);
    let location = answer.header("location");
    assert_eq!(parameter(location, "state").as_deref(), Some("a state & more"));
    assert_eq!(parameter(location, "iss"), Some(uaa.issuer()));

    let shown = [
        ("code", code.as_str()),
        ("redirect_uri", &redirect),
        ("code_verifier", VERIFIER),
    ];
    let body = redeem(uaa, "consent", "web secret", &shown).await.ok();
    assert_eq!(body["scope"], "cloud_controller.read openid");
    let access = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&access["user_id"], &access["grant_type"]),
        (&user.as_str().into(), &"authorization_code".into())
    );
    let id = claims(body["id_token"].as_str().unwrap());
    assert_eq!((&id["iss"], &id["sub"]), (&uaa.issuer().into(), &user.as_str().into()));
    assert_eq!(texts(&id["aud"]), ["consent"]);
    assert_eq!(
        (&id["nonce"], &id["azp"], &id["email"]),
        (&"n-1".into(), &"consent".into(), &"clara@example.com".into())
    );
    let digest = digest::digest(&digest::SHA256, body["access_token"].as_str().unwrap().as_bytes());
    assert_eq!(id["at_hash"], URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]));
    assert!(body["refresh_token"].is_string());
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
    ];
    let renewed = uaa.token_as("consent", "web secret", &refresh).await.ok();
    assert_eq!(renewed["scope"], body["scope"]);

    // Only the denied scope is asked for again.
    let agreed = [("scope", "openid cloud_controller.read"), ("state", "2")];
    let answer = browser.get(&path(&request("consent", &redirect, &agreed))).await;
    code_of(&answer, &redirect);
    let answer = browser.get(&path(&fields)).await;
    assert_eq!(answer.status, 200);
    let root = uaa.root().await;
    let shown = uaa
        .client
        .get(&format!("/Users/{user}"))
        .bearer(&root)
        .send()
        .await
        .ok();
    let approvals = shown["approvals"].as_array().unwrap();
    let status = |scope: &str| {
        let found = approvals
            .iter()
            .find(|approval| approval["scope"] == scope && approval["clientId"] == "consent");
        found.unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (status("openid").as_str(), status("profile").as_str()),
        ("APPROVED", "DENIED")
    );
    // Consent to no scope.
    let page = browser.get(&path(&fields)).await.text();
    let mut form = hidden_fields(&page);
    form.push(("user_oauth_approval".to_owned(), "false".to_owned()));
    let form: Vec<(&str, &str)> = form
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let answer = browser.post("/oauth/authorize", &form).await;
    assert_eq!(error_of(&answer, &redirect), "access_denied");
}

/// `cf ssh-code`: a request with an access token instead of a session, for a client that needs no consent.
pub async fn the_ssh_client(uaa: &Uaa) {
    uaa.add_user("sasha", "pw").await;
    let body = uaa.login("sasha", "pw").await.ok();
    let token = body["access_token"].as_str().unwrap();
    let path = "/oauth/authorize?response_type=code&client_id=ssh-proxy";
    let answer = uaa.client.get(path).bearer(token).send().await;
    let code = code_of(&answer, &format!("{}/login", uaa.url));
    let secret = uaa.secret("ssh-proxy");
    let body = redeem(uaa, "ssh-proxy", &secret, &[("code", &code)]).await.ok();
    let access = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&access["user_name"], &access["client_id"]),
        (&"sasha".into(), &"ssh-proxy".into())
    );
    assert_eq!(
        texts(&access["scope"]),
        ["cloud_controller.read", "cloud_controller.write", "openid"]
    );
    assert!(body["refresh_token"].is_null(), "the client has no such grant");
    // A token with few scopes gives no code for more.
    let narrow = [
        ("grant_type", "password"),
        ("username", "sasha"),
        ("password", "pw"),
        ("scope", "uaa.user openid"),
    ];
    let narrow = uaa.token_as("cf", "", &narrow).await.ok();
    let answer = uaa
        .client
        .get(path)
        .bearer(narrow["access_token"].as_str().unwrap())
        .send()
        .await;
    let code = code_of(&answer, &format!("{}/login", uaa.url));
    let body = redeem(uaa, "ssh-proxy", &secret, &[("code", &code)]).await.ok();
    assert_eq!(body["scope"], "openid");
    // A token without `uaa.user`, a client's token, and an invalid one are refused.
    let plain = [
        ("grant_type", "password"),
        ("username", "sasha"),
        ("password", "pw"),
        ("scope", "openid"),
    ];
    let plain = uaa.token_as("cf", "", &plain).await.ok();
    let plain = plain["access_token"].as_str().unwrap();
    uaa.client
        .get(path)
        .bearer(plain)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client
        .get(path)
        .bearer(&uaa.client_token("admin").await)
        .send()
        .await
        .refused(403, "insufficient_scope");
    uaa.client
        .get(path)
        .bearer("nonsense")
        .send()
        .await
        .refused(401, "invalid_token");
}

/// A second use of a code revokes the tokens of the first (RFC 6749, 4.1.2). A code of another client, or an expired one, is
/// refused.
pub async fn codes_work_once(uaa: &Uaa) {
    uaa.add_user("otto", "pw").await;
    let redirect = web_client(uaa, "once", true).await;
    web_client(uaa, "thief", true).await;
    let mut browser = logged_in(uaa, "otto").await;
    let asked = path(&request("once", &redirect, &[]));
    let code = code_of(&browser.get(&asked).await, &redirect);
    let shown = [("code", code.as_str()), ("redirect_uri", redirect.as_str())];
    redeem(uaa, "thief", "web secret", &shown)
        .await
        .refused(400, "invalid_grant");
    let body = redeem(uaa, "once", "web secret", &shown).await.ok();
    let access = body["access_token"].as_str().unwrap();
    uaa.check(access).await.ok();
    redeem(uaa, "once", "web secret", &shown)
        .await
        .refused(400, "invalid_grant");
    uaa.check(access).await.refused(400, "invalid_token");
    // Further uses make no further revocations.
    let told = async || {
        let secret = uaa.secret("doppler");
        let feed = uaa.client.get("/weir/v1/revocations").basic("doppler", &secret);
        feed.send().await.ok()["next"].clone()
    };
    let before = told().await;
    redeem(uaa, "once", "web secret", &shown)
        .await
        .refused(400, "invalid_grant");
    assert_eq!(told().await, before);
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
    ];
    uaa.token_as("once", "web secret", &refresh)
        .await
        .refused(401, "invalid_token");
    // Of two concurrent uses, one gets tokens, and these are revoked.
    let code = code_of(&browser.get(&asked).await, &redirect);
    let shown = [("code", code.as_str()), ("redirect_uri", redirect.as_str())];
    let (one, two) = tokio::join!(
        redeem(uaa, "once", "web secret", &shown),
        redeem(uaa, "once", "web secret", &shown)
    );
    let good: Vec<&Answer> = [&one, &two]
        .into_iter()
        .filter(|answer| answer.status.is_success())
        .collect();
    assert_eq!(good.len(), 1, "{one:?} {two:?}");
    uaa.check(good[0].json()["access_token"].as_str().unwrap())
        .await
        .refused(400, "invalid_token");
    // A wrong redirect URI makes the code invalid.
    let code = code_of(&browser.get(&asked).await, &redirect);
    let wrong = [("code", code.as_str()), ("redirect_uri", "https://thief.example/cb")];
    redeem(uaa, "once", "web secret", &wrong)
        .await
        .refused(400, "invalid_grant");
    let right = [("code", code.as_str()), ("redirect_uri", redirect.as_str())];
    redeem(uaa, "once", "web secret", &right)
        .await
        .refused(400, "invalid_grant");
    // A redirect URI of the request must be repeated (RFC 6749, 4.1.3).
    let code = code_of(&browser.get(&asked).await, &redirect);
    redeem(uaa, "once", "web secret", &[("code", &code)])
        .await
        .refused(400, "invalid_grant");
    // Expired.
    let code = code_of(&browser.get(&asked).await, &redirect);
    uaa.pass(121);
    let right = [("code", code.as_str()), ("redirect_uri", redirect.as_str())];
    redeem(uaa, "once", "web secret", &right)
        .await
        .refused(400, "invalid_grant");
    redeem(uaa, "once", "web secret", &[("code", "made-up")])
        .await
        .refused(400, "invalid_grant");
    redeem(uaa, "once", "web secret", &[])
        .await
        .refused(400, "invalid_request");
}
