//! `GET /.well-known/openid-configuration`: the discovery document (OpenID Connect Discovery §4). It is also served below the
//! issuer `…/oauth/token`, where the specification expects it.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;

pub(crate) async fn document(State(app): State<App>) -> Json<Value> {
    let uaa = &app.config.external_url;
    let login = &app.config.login_url;
    Json(json!({
        "issuer": app.issuer,
        "authorization_endpoint": format!("{login}/oauth/authorize"),
        "token_endpoint": format!("{login}/oauth/token"),
        "jwks_uri": format!("{uaa}/token_keys"),
        "userinfo_endpoint": format!("{login}/userinfo"),
        "introspection_endpoint": format!("{uaa}/introspect"),
        "revocation_endpoint": format!("{uaa}/oauth/revoke"),
        "end_session_endpoint": format!("{login}/logout.do"),
        "scopes_supported": ["openid", "profile", "email", "phone", "roles", "user_attributes"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code", "password", "client_credentials", "refresh_token",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "claim_types_supported": ["normal"],
        "claims_supported": [
            "sub", "user_name", "preferred_username", "origin", "iss", "auth_time", "amr", "client_id", "aud", "zid",
            "grant_type", "user_id", "azp", "scope", "exp", "iat", "jti", "rev_sig", "cid", "given_name", "family_name",
            "name", "phone_number", "email", "email_verified", "nonce", "at_hash", "roles",
        ],
        "ui_locales_supported": ["en-US"],
        "service_documentation": "https://docs.cloudfoundry.org/api/uaa/",
    }))
}
