//! Answers SQL requests in a build without the query engine.

use axum::Router;
use axum::response::IntoResponse;
use http::{StatusCode, header};
use serde_json::json;

/// Returns the routes, which answer every request with 501 and a hint.
pub(crate) fn router() -> Router {
    Router::new().fallback(async || {
        let answer = json!({
            "error": "this build has no SQL",
            "hint": "use one with the feature `sql`, as it is built without `--no-default-features`",
        });
        (
            StatusCode::NOT_IMPLEMENTED,
            [(header::CONTENT_TYPE, "application/json")],
            format!("{answer}\n"),
        )
            .into_response()
    })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    /// A query is answered with 501 in the form of other SQL errors.
    #[tokio::test]
    async fn a_build_without_sql_says_so() {
        let request = Request::post("/v1/sql")
            .body(Body::from("select 1"))
            .expect("a request");
        let response = router().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
        let body = to_bytes(response.into_body(), 1 << 10).await.expect("a short body");
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["error"], "this build has no SQL");
        assert!(
            answer["hint"]
                .as_str()
                .is_some_and(|hint| hint.contains("feature `sql`"))
        );
    }
}
