//! Pages with a message: errors, the start page, and passcodes.

use axum::response::Response;
use http::StatusCode;

use super::{escape, hidden, page};

/// Returns the page of an error that cannot be sent to a client.
pub(crate) fn failure(status: StatusCode, title: &str, text: &str) -> Response {
    let content = format!(
        "<h1>{}</h1>\n<p role=\"alert\">{}</p>\n<a class=\"button quiet\" href=\"/\">To the start</a>",
        escape(title),
        escape(text)
    );
    page(status, title, &content, &[])
}

/// Returns the start page of a user who is logged in.
pub(crate) fn home(user_name: &str, csrf: &str, passcodes: bool) -> Response {
    let passcode = if passcodes {
        "\n<a class=\"button quiet\" href=\"/passcode\">Get a one-time passcode</a>"
    } else {
        ""
    };
    let content = format!(
        "<h1>You are logged in</h1>\n<p>as <strong>{}</strong></p>{passcode}\n\
         <form method=\"post\" action=\"/logout.do\">{}<button type=\"submit\">Log out</button></form>",
        escape(user_name),
        hidden("csrf", csrf),
    );
    page(StatusCode::OK, "Logged in", &content, &[])
}

/// Returns the page with a one-time passcode.
pub(crate) fn passcode(passcode: &str, minutes: u64) -> Response {
    let content = format!(
        "<h1>One-time passcode</h1>\n<p>Give this to <strong>cf login --sso</strong>. It is good once, for {minutes} \
         minutes.</p>\n<code class=\"code\">{}</code>\n<a class=\"button quiet\" href=\"/passcode\">Get another one</a>",
        escape(passcode)
    );
    page(StatusCode::OK, "One-time passcode", &content, &[])
}
