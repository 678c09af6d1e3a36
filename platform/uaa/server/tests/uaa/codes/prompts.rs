//! `prompt` and `max_age`: requests for a recent login, or for none.

use super::{code_of, error_of, logged_in, path, request, web_client};
use crate::common::{Answer, Browser, Uaa, hidden_fields, parameter};

/// `prompt` and `max_age` work as in OpenID Connect Core, 3.1.2.1.
pub async fn requests(uaa: &Uaa) {
    uaa.add_user("paul", "pw").await;
    let redirect = web_client(uaa, "prompt", true).await;
    let asked = web_client(uaa, "asked", false).await;
    let mut stranger = Browser::new(&uaa.client);
    let none = path(&request("prompt", &redirect, &[("prompt", "none")]));
    assert_eq!(error_of(&stranger.get(&none).await, &redirect), "login_required");
    let mut browser = logged_in(uaa, "paul").await;
    code_of(&browser.get(&none).await, &redirect);
    let answer = browser
        .get(&path(&request("asked", &asked, &[("prompt", "none")])))
        .await;
    assert_eq!(error_of(&answer, &asked), "consent_required");
    let both = [("prompt", "none login")];
    assert_eq!(
        error_of(
            &browser.get(&path(&request("prompt", &redirect, &both))).await,
            &redirect
        ),
        "invalid_request"
    );
    // `prompt=login` asks for one new login.
    for more in [("prompt", "login"), ("max_age", "0")] {
        let answer = browser.get(&path(&request("prompt", &redirect, &[more]))).await;
        assert_eq!(answer.status, 303);
        let login = answer.header("location").to_owned();
        let answer = browser.log_in(&login, "paul", "pw").await;
        code_of(&browser.get(answer.header("location")).await, &redirect);
    }
    // A login older than `max_age`.
    let recent = path(&request("prompt", &redirect, &[("max_age", "60")]));
    code_of(&browser.get(&recent).await, &redirect);
    uaa.pass(61);
    assert_eq!(browser.get(&recent).await.status, 303);
    // `prompt=consent` asks again although all scopes have consent.
    let consent = path(&request("prompt", &redirect, &[("prompt", "consent")]));
    assert_eq!(browser.get(&consent).await.status, 200);
}

/// `prompt` and `max_age` hold for a posted consent form as well, and for an access token instead of a session.
pub async fn answers(uaa: &Uaa) {
    uaa.add_user("patrick", "pw").await;
    let redirect = web_client(uaa, "posted", false).await;
    let mut browser = logged_in(uaa, "patrick").await;
    let answer = |page: &Answer, more: (&str, &str)| {
        let mut form = hidden_fields(&page.text());
        for (name, value) in [("scope.openid", "on"), ("user_oauth_approval", "true"), more] {
            form.push((name.to_owned(), value.to_owned()));
        }
        form
    };
    fn pairs(form: &[(String, String)]) -> Vec<(&str, &str)> {
        form.iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
    for more in [("prompt", "login"), ("prompt", "select_account"), ("max_age", "0")] {
        // One scope never has consent, so that the consent page is shown each time.
        let page = browser.get(&path(&request("posted", &redirect, &[]))).await;
        let posted = browser.post("/oauth/authorize", &pairs(&answer(&page, more))).await;
        assert_eq!(posted.status, 303, "{more:?}: {}", posted.text());
        let login = posted.header("location").to_owned();
        assert!(login.starts_with("/login?continue="), "{login}");
        let leads = parameter(&login, "continue").unwrap();
        assert!(!leads.contains("csrf") && !leads.contains("approval"), "{leads}");
        // After the login the consent page is shown, and its answer is accepted.
        let again = browser.log_in(&login, "patrick", "pw").await;
        let page = browser.get(again.header("location")).await;
        let mut form = hidden_fields(&page.text());
        form.push(("user_oauth_approval".to_owned(), "true".to_owned()));
        form.push(("scope.openid".to_owned(), "on".to_owned()));
        let posted = browser.post("/oauth/authorize", &pairs(&form)).await;
        code_of(&posted, &redirect);
    }
    uaa.pass(61);
    let old = browser
        .get(&path(&request("posted", &redirect, &[("prompt", "consent")])))
        .await;
    let mut form = hidden_fields(&old.text());
    form.push(("user_oauth_approval".to_owned(), "true".to_owned()));
    form.push(("max_age".to_owned(), "60".to_owned()));
    assert_eq!(browser.post("/oauth/authorize", &pairs(&form)).await.status, 303);
    for (prompt, error) in [("none", "login_required"), ("create", "invalid_request")] {
        let more = [("prompt", prompt), ("max_age", "60")];
        let asked = browser.get(&path(&request("posted", &redirect, &more))).await;
        assert_eq!(error_of(&asked, &redirect), error);
    }
    let token = uaa.login("patrick", "pw").await.ok()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    for more in [("prompt", "login"), ("max_age", "0")] {
        let asked = path(&request("posted", &redirect, &[more]));
        let answer = uaa.client.get(&asked).bearer(&token).send().await;
        assert_eq!(error_of(&answer, &redirect), "login_required", "{more:?}");
    }
}
