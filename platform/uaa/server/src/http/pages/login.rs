//! The login page.

use axum::response::Response;
use http::StatusCode;

use super::{escape, hidden, page};

/// The content of the login page.
#[derive(Debug)]
pub(crate) struct Login<'l> {
    pub(crate) status: StatusCode,
    /// The error of the last attempt.
    pub(crate) problem: Option<&'l str>,
    pub(crate) user_name: &'l str,
    pub(crate) csrf: &'l str,
    pub(crate) continue_to: &'l str,
    /// The parameters of the demand on the login.
    pub(crate) demand: Vec<(&'static str, String)>,
    /// The name of the client that requested the login.
    pub(crate) client: Option<&'l str>,
    /// The external providers: the path where the login begins, and the text of the button.
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
        // After a failed attempt the name is filled in, and the password is what the user types next.
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
