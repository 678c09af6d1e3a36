//! The page that asks a user whether a client may have scopes.

use axum::response::Response;
use http::StatusCode;

use super::{escape, hidden, page};

/// The content of the page.
#[derive(Debug)]
pub(crate) struct Consent<'c> {
    pub(crate) client: &'c str,
    pub(crate) user_name: &'c str,
    /// The host to which the answer redirects.
    pub(crate) destination: &'c str,
    pub(crate) scopes: Vec<ConsentScope>,
    /// The hidden fields: the parameters of the request, and the CSRF token.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) targets: &'c [String],
}

/// A scope on the page.
#[derive(Debug)]
pub(crate) struct ConsentScope {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
}

impl Consent<'_> {
    pub(crate) fn page(&self) -> Response {
        let mut content = format!(
            "<h1>Allow {client}?</h1>\n\
             <p><strong>{client}</strong> wants to act for <strong>{}</strong>. Your answer leads to <strong>{}</strong>.</p>\n\
             <form method=\"post\" action=\"/oauth/authorize\">\n<ul class=\"scopes\">",
            escape(self.user_name),
            escape(self.destination),
            client = escape(self.client),
        );
        for scope in &self.scopes {
            let text = match &scope.description {
                Some(description) => format!("{}<small>{}</small>", escape(description), escape(&scope.name)),
                None => escape(&scope.name),
            };
            content.push_str(&format!(
                "\n<li><label><input type=\"checkbox\" name=\"scope.{}\" value=\"on\" checked><span>{text}</span></label></li>",
                escape(&scope.name)
            ));
        }
        content.push_str("\n</ul>\n");
        for (name, value) in &self.fields {
            content.push_str(&hidden(name, value));
        }
        content.push_str(
            "\n<button type=\"submit\" name=\"user_oauth_approval\" value=\"true\">Allow</button>\n\
             <button class=\"quiet\" type=\"submit\" name=\"user_oauth_approval\" value=\"false\">Deny</button>\n</form>",
        );
        page(StatusCode::OK, "Allow access", &content, self.targets)
    }
}
