//! Who may do what.

use http::Method;

use crate::common::{ALL, Deployment};

const FORBIDDEN: &str = "You are not authorized to perform the requested action";

/// Each endpoint takes tokens with its own scope, and no others; what a request has in its body does not matter before that.
#[tokio::test]
async fn each_endpoint_has_its_scope() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment.start().await;
    let [read, write, groups_read, groups_write] = ALL;
    for (method, path, scope, status) in [
        (Method::GET, "/router_groups", groups_read, 200),
        (Method::GET, "/router_groups?name=x", groups_read, 404),
        (Method::POST, "/router_groups", groups_write, 400),
        (Method::PUT, "/router_groups/x", groups_write, 400),
        (Method::DELETE, "/router_groups/x", groups_write, 404),
        (Method::GET, "/routes", read, 200),
        (Method::POST, "/routes", write, 400),
        (Method::DELETE, "/routes", write, 400),
        (Method::GET, "/tcp_routes", read, 200),
        (Method::POST, "/tcp_routes/create", write, 400),
        (Method::POST, "/tcp_routes/delete", write, 400),
        (Method::GET, "/events", read, 401),
        (Method::GET, "/tcp_routes/events", read, 401),
    ] {
        let others: Vec<&str> = ALL
            .into_iter()
            .filter(|other| *other != scope)
            .chain(["logs.admin"])
            .collect();
        let token = deployment.issuer.token("somebody", &others);
        let answer = api.ask(method.clone(), path, &format!("bearer {token}"), "{").await;
        answer.refused(401, "UnauthorizedError", FORBIDDEN);
        if status != 401 {
            let token = deployment.issuer.token("somebody", &[scope]);
            let answer = api.ask(method.clone(), path, &format!("bearer {token}"), "{").await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}: {answer:?}");
        }
    }
    api.stop().await;
}

/// What is no token, or none that counts, is refused in the original's words.
#[tokio::test]
async fn other_tokens_are_refused() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment.start().await;
    let good = deployment.issuer.token("somebody", &ALL);
    let mut claims = deployment.issuer.claims("somebody", &ALL);
    claims["aud"] = "elsewhere".into();
    let foreign = deployment.issuer.sign(&claims);
    let mut claims = deployment.issuer.claims("somebody", &ALL);
    claims["exp"] = 1.into();
    let old = deployment.issuer.sign(&claims);
    for (authorization, message) in [
        (String::new(), "invalid token format"),
        ("bearer".to_owned(), "invalid token format"),
        ("bearer a b".to_owned(), "invalid token format"),
        (good.clone(), "invalid token format"),
        (format!("basic {good}"), "Invalid token type: basic"),
        ("bearer abc".to_owned(), "invalid authorization"),
        (format!("bearer {good}x"), "invalid authorization"),
        (format!("bearer {foreign}"), "invalid authorization"),
        (format!("bearer {old}"), "authorization has expired"),
    ] {
        let answer = api.ask(Method::GET, "/routes", &authorization, "").await;
        answer.refused(401, "UnauthorizedError", message);
    }
    let answer = api.ask(Method::GET, "/routes", &format!("BEARER {good}"), "").await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    api.stop().await;
}

/// While nobody can say whether a token is good, the answer is that, and not that it is bad.
#[tokio::test]
async fn an_absent_issuer_is_no_refusal() {
    let deployment = Deployment::on_sqlite().await;
    deployment.issuer.set_away(true);
    let api = deployment.start().await;
    let answer = api.get("/routes").await;
    answer.refused(503, "UnauthorizedError", "authorization cannot be checked now");
    api.stop().await;
}
