//! Redirect URIs of requests for codes.

use super::{error_of, logged_in, path, request, web_client};
use crate::common::{Uaa, parameter};

/// An unregistered redirect URI is reported to the user, never followed; every other error is sent to the client (RFC 6749,
/// 4.1.2.1).
pub async fn unregistered_uris_are_refused(uaa: &Uaa) {
    uaa.add_user("rosa", "pw").await;
    let redirect = web_client(uaa, "redirect", true).await;
    let mut browser = logged_in(uaa, "rosa").await;
    for bad in [
        "https://evil.example/cb",
        "https://redirect.example/cb/../evil",
        "https://redirect.example/cb#x",
        "https://redirect.example/cb?x=1",
        "https://redirect.example@evil.example/cb",
        "https://redirect.example\\@evil.example/cb",
        "https://redirect.example.evil.example/cb",
        "http://redirect.example/cb",
        "//redirect.example/cb",
        "javascript:alert(1)",
        "data:text/html,x",
    ] {
        let answer = browser.get(&path(&request("redirect", bad, &[("state", "s")]))).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.header("location"), "", "{bad}");
        assert!(!answer.text().contains("evil"), "{bad}: {}", answer.text());
    }
    let answer = browser
        .get(&path(&request("nobody", "https://evil.example/", &[])))
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
    let answer = browser.get("/oauth/authorize").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
    // A program gets the error as JSON.
    let json = uaa
        .client
        .get(&path(&request("redirect", "https://evil.example/", &[])))
        .send()
        .await;
    json.refused(400, "invalid_redirect_uri");
    // A repeated parameter is refused (RFC 6749, 3.1).
    let twice = format!(
        "{}&redirect_uri=https%3A%2F%2Fevil.example%2F",
        path(&request("redirect", &redirect, &[]))
    );
    let answer = browser.get(&twice).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (400, ""));
    for (more, error) in [
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "openid doppler.firehose")], "invalid_scope"),
        (vec![("request", "x.y.z")], "request_not_supported"),
        (vec![("request_uri", "https://x.example")], "request_uri_not_supported"),
        (vec![("max_age", "soon")], "invalid_request"),
    ] {
        let mut more = more;
        more.push(("state", "s"));
        let answer = browser.get(&path(&request("redirect", &redirect, &more))).await;
        assert_eq!(error_of(&answer, &redirect), error);
        assert_eq!(parameter(answer.header("location"), "state").as_deref(), Some("s"));
        assert_eq!(parameter(answer.header("location"), "iss"), Some(uaa.issuer()));
    }
    let token = [
        ("response_type", "token"),
        ("client_id", "redirect"),
        ("redirect_uri", redirect.as_str()),
    ];
    assert_eq!(
        error_of(&browser.get(&path(&token)).await, &redirect),
        "unsupported_response_type"
    );
}
