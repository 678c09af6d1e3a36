//! The login page.

use axum::response::Response;
use http::StatusCode;

use super::{escape, hidden, page};

/// What the login page shows.
#[derive(Debug)]
pub(crate) struct Login<'l> {
    pub(crate) status: StatusCode,
    /// What went wrong the last time.
    pub(crate) problem: Option<&'l str>,
    pub(crate) user_name: &'l str,
    pub(crate) csrf: &'l str,
    pub(crate) continue_to: &'l str,
    /// How recent the login must be, as parameters.
    pub(crate) demand: Vec<(&'static str, String)>,
    /// The program that somebody logs in for.
    pub(crate) client: Option<&'l str>,
    /// External providers: where their login begins, and what their buttons say.
    pub(crate) providers: Vec<(String, String)>,
    pub(crate) targets: &'l [String],
}

impl Login<'_> {
    pub(crate) fn page(&self) -> Response {
        let purpose = match self.client {
            Some(client) => format!("<p>to continue to <strong>{}</strong></p>", escape(client)),
            None => "<p>with your account of this platform</p>".to_owned(),
        };
        let problem = self
            .problem
            .map(|problem| format!("<div class=\"alert\" role=\"alert\">{}</div>", escape(problem)))
            .unwrap_or_default();
        // After a failure the name is there already.
        let (on_name, on_password) = if self.user_name.is_empty() {
            (" autofocus", "")
        } else {
            ("", " autofocus")
        };
        let demand: String = self.demand.iter().map(|(name, value)| hidden(name, value)).collect();
        let mut content = format!(
            "<h1>Log in</h1>\n{purpose}\n{problem}\n\
             <form method=\"post\" action=\"/login.do\">\n{}{}{demand}\n\
             <label for=\"username\">Email or user name</label>\n\
             <input type=\"text\" id=\"username\" name=\"username\" value=\"{}\" autocomplete=\"username\" \
             autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"255\" required{on_name}>\n\
             <label for=\"password\">Password</label>\n\
             <input type=\"password\" id=\"password\" name=\"password\" autocomplete=\"current-password\" \
             maxlength=\"1024\" required{on_password}>\n\
             <button type=\"submit\">Log in</button>\n</form>",
            hidden("csrf", self.csrf),
            hidden("continue", self.continue_to),
            escape(self.user_name),
        );
        if !self.providers.is_empty() {
            content.push_str("\n<div class=\"or\">or</div>");
            for (path, title) in &self.providers {
                content.push_str(&format!(
                    "\n<a class=\"button quiet\" href=\"{}\">Continue with {}</a>",
                    escape(path),
                    escape(title)
                ));
            }
        }
        page(self.status, "Log in", &content, self.targets)
    }
}
