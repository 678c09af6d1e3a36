//! Pages, sessions, and attacks on them.

use crate::common::{Browser, Ground, Uaa, hidden_fields};

fn fields(page: &str) -> Vec<(String, String)> {
    hidden_fields(page)
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The login page loads nothing else and needs no scripts. Its refusal does not tell whether the name exists.
pub async fn login_page(uaa: &Uaa) {
    uaa.add_user("lena", "pw").await;
    let mut browser = Browser::new(&uaa.client);
    let page = browser.get("/login").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("cache-control"), "no-store");
    let text = page.text();
    for unwanted in ["<script", "http://", "https://", " src=", "onload", "<link"] {
        assert!(!text.contains(unwanted), "{unwanted}");
    }
    for wanted in [
        "<label for=\"username\">",
        "autocomplete=\"current-password\"",
        "lang=\"en\"",
        "prefers-color-scheme",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    let mut texts = Vec::new();
    for (name, password) in [
        ("lena", "wrong"),
        ("nobody", "wrong"),
        ("\"><script>x</script>", "wrong"),
    ] {
        let answer = browser.log_in("/login", name, password).await;
        assert_eq!(answer.status, 401);
        let text = answer.text();
        assert!(text.contains("That name and password do not belong together."));
        assert!(!text.contains("<script>"), "{text}");
        let csrf = fields(&text).into_iter().find(|(name, _)| name == "csrf").unwrap().1;
        texts.push(text.replace(name, "NAME").replace(&csrf, "CSRF"));
    }
    assert_eq!(texts[0], texts[1], "the refusal does not tell whether the name exists");
    let answer = browser.log_in("/login", " lena ", "pw").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"));
    let home = browser.get("/").await.text();
    assert!(home.contains("as <strong>lena</strong>"), "{home}");
    let code = browser.get("/passcode").await.text();
    assert!(code.contains("<code class=\"code\">"), "{code}");
}

/// A form is accepted only with the CSRF token of a page that this browser got from UAA.
pub async fn forged_forms_are_refused(uaa: &Uaa) {
    uaa.add_user("carl", "pw").await;
    let mut browser = Browser::new(&uaa.client);
    let page = browser.get("/login").await.text();
    let mut form = fields(&page);
    form.push(("username".to_owned(), "carl".to_owned()));
    form.push(("password".to_owned(), "pw".to_owned()));
    // From another site.
    let answer = browser
        .post_from("/login.do", &borrowed(&form), "https://evil.example")
        .await;
    assert_eq!(answer.status, 403);
    let answer = browser.post_from("/login.do", &borrowed(&form), "null").await;
    assert_eq!(answer.status, 403);
    // Without CSRF token, or with another one.
    let plain = [("username", "carl"), ("password", "pw")];
    assert_eq!(browser.post("/login.do", &plain).await.status, 403);
    let made_up = [("csrf", "made-up"), ("username", "carl"), ("password", "pw")];
    assert_eq!(browser.post("/login.do", &made_up).await.status, 403);
    // In another browser: login CSRF, with the attacker's page in the victim's browser.
    let mut victim = Browser::new(&uaa.client);
    victim.get("/login").await;
    assert_eq!(victim.post("/login.do", &borrowed(&form)).await.status, 403);
    let mut bare = Browser::new(&uaa.client);
    assert_eq!(bare.post("/login.do", &borrowed(&form)).await.status, 403);
    assert!(!victim.cookies.contains_key("__Host-weir-session"));
    assert_eq!(browser.post("/login.do", &borrowed(&form)).await.status, 303);
    // A logout and a consent by forms of another site.
    let answer = browser.post_from("/logout.do", &[], "https://evil.example").await;
    assert_eq!(answer.status, 403);
    assert_eq!(browser.get("/").await.status, 200);
    let answer = browser
        .post(
            "/oauth/authorize",
            &[("client_id", "cf"), ("user_oauth_approval", "true")],
        )
        .await;
    assert_eq!(answer.status, 403);
    // The login makes a new session, so that the CSRF tokens from before are refused.
    let old = form.iter().find(|(name, _)| name == "csrf").unwrap().1.clone();
    assert_eq!(browser.post("/logout.do", &[("csrf", &old)]).await.status, 403);
    let home = browser.get("/").await.text();
    let answer = browser.post("/logout.do", &borrowed(&fields(&home))).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/login"));
}

/// A login makes a new session. It ends after its lifetime, by a logout, and with its user.
pub async fn sessions(uaa: &Uaa) {
    const SESSION: &str = "__Host-weir-session";
    let user = uaa.add_user("selma", "pw").await;
    // Session fixation: a session cookie from before the login is not taken over, and stays without a login.
    let mut victim = Browser::new(&uaa.client);
    victim
        .cookies
        .insert(SESSION.to_owned(), "planted-by-somebody-who-knows-it-well".to_owned());
    assert_eq!(victim.log_in("/login", "selma", "pw").await.status, 303);
    assert_ne!(victim.cookies[SESSION], "planted-by-somebody-who-knows-it-well");
    let mut attacker = Browser::new(&uaa.client);
    attacker
        .cookies
        .insert(SESSION.to_owned(), "planted-by-somebody-who-knows-it-well".to_owned());
    assert_eq!(attacker.get("/").await.status, 303);
    // Each login makes another session and ends the one before.
    let first = victim.cookies[SESSION].clone();
    assert_eq!(victim.log_in("/login", "selma", "pw").await.status, 303);
    assert_ne!(victim.cookies[SESSION], first);
    attacker.cookies.insert(SESSION.to_owned(), first);
    assert_eq!(attacker.get("/").await.status, 303);
    // A logout ends the session on the server, not only the cookie.
    let copied = victim.cookies[SESSION].clone();
    assert_eq!(victim.get("/logout.do").await.status, 303);
    assert!(!victim.cookies.contains_key(SESSION));
    attacker.cookies.insert(SESSION.to_owned(), copied);
    assert_eq!(attacker.get("/").await.status, 303);
    // Its lifetime.
    victim.log_in("/login", "selma", "pw").await;
    uaa.pass(29 * 60);
    assert_eq!(victim.get("/").await.status, 200);
    uaa.pass(29 * 60);
    assert_eq!(victim.get("/").await.status, 200);
    uaa.pass(31 * 60);
    assert_eq!(victim.get("/").await.status, 303);
    victim.log_in("/login", "selma", "pw").await;
    for _ in 0..25 {
        uaa.pass(29 * 60);
        victim.get("/").await;
    }
    assert_eq!(victim.get("/").await.status, 303, "12 hours are over");
    // The user is deactivated.
    victim.log_in("/login", "selma", "pw").await;
    let root = uaa.root().await;
    let path = format!("/Users/{user}");
    let body = serde_json::json!({"active": false});
    uaa.client
        .patch(&path)
        .bearer(&root)
        .header("if-match", "*")
        .json(&body)
        .send()
        .await
        .ok();
    assert_eq!(victim.get("/").await.status, 303);
    assert_eq!(victim.log_in("/login", "selma", "pw").await.status, 401);
}

/// Neither login nor logout redirects to another site, unless a client has registered the address.
pub async fn no_open_redirects(uaa: &Uaa) {
    uaa.add_user("nele", "pw").await;
    for target in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/oauth/authorize@evil.example",
    ] {
        let mut browser = Browser::new(&uaa.client);
        let escaped: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let answer = browser
            .log_in(&format!("/login?continue={escaped}"), "nele", "pw")
            .await;
        assert_eq!(answer.header("location"), "/", "{target}");
        let answer = browser
            .get(&format!("/logout.do?redirect={escaped}&client_id=cf"))
            .await;
        assert_eq!(answer.header("location"), "/login", "{target}");
    }
    uaa.add_client(serde_json::json!({
        "client_id": "leaver",
        "client_secret": "x",
        "authorized_grant_types": ["authorization_code"],
        "redirect_uri": ["https://leaver.example/bye"],
        "scope": ["openid"],
    }))
    .await;
    let mut browser = Browser::new(&uaa.client);
    let path = "/logout.do?client_id=leaver&state=s&post_logout_redirect_uri=https%3A%2F%2Fleaver.example%2Fbye";
    assert_eq!(
        browser.get(path).await.header("location"),
        "https://leaver.example/bye?state=s"
    );
}

/// Under a host name, responses have `Strict-Transport-Security`. Under `localhost` or an IP address they do not, because the
/// header would bind the other servers of that host as well.
pub async fn strict_transport_security(ground: &Ground) {
    let uaa = ground
        .uaa_with(|raw| raw.external_url = "https://uaa.example.com".to_owned())
        .await;
    let page = Browser::new(&uaa.client).get("/login").await;
    assert_eq!(page.header("strict-transport-security"), "max-age=31536000");
    uaa.stop().await;
    for url in ["https://localhost:8443", "https://127.0.0.1:8443", ""] {
        let uaa = ground.uaa_with(|raw| raw.external_url = url.to_owned()).await;
        let page = Browser::new(&uaa.client).get("/login").await;
        assert_eq!(page.header("strict-transport-security"), "", "{url}");
        uaa.stop().await;
    }
}
