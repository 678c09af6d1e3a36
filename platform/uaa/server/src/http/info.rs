//! `GET /info`, and `GET /login` as JSON: the prompts that the cf CLI shows.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::issue::ZONE;

/// The version of the original whose answers are given here. The cf CLI requires at least 4.26.0.
const VERSION: &str = "77.0.0";

pub(crate) async fn info(State(app): State<App>) -> Json<Value> {
    Json(document(&app))
}

pub(crate) fn document(app: &App) -> Value {
    let (uaa, login) = (&app.config.external_url, &app.config.login_url);
    let providers: serde_json::Map<String, Value> = app
        .providers
        .iter()
        .map(|provider| {
            let url = format!("{login}/login/oidc/{}", provider.name());
            (provider.name().to_owned(), json!(url))
        })
        .collect();
    let mut document = json!({
        "app": {"version": VERSION},
        "commit_id": env!("CARGO_PKG_VERSION"),
        "timestamp": "",
        "zone_name": ZONE,
        "entityID": login.trim_start_matches("https://"),
        "idpDefinitions": {},
        "links": {
            "uaa": uaa,
            "login": login,
            "passwd": "/forgot_password",
            "register": "/create_account",
        },
        "showLoginLinks": !providers.is_empty(),
        "prompts": {
            "username": ["text", "Email"],
            "password": ["password", "Password"],
        },
    });
    if !providers.is_empty() {
        document["oauthLinks"] = providers.into();
        let label = format!("Temporary Authentication Code ( Get one at {login}/passcode )");
        document["prompts"]["passcode"] = json!(["password", label]);
    }
    document
}
