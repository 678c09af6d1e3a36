//! A browser without display.

use std::collections::BTreeMap;

use super::{Answer, Client, Request};

/// A browser, which keeps cookies and fills in forms. It follows no redirects by itself.
pub struct Browser {
    pub client: Client,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            cookies: BTreeMap::new(),
        }
    }

    fn dressed(&self, request: Request) -> Request {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        if cookies.is_empty() {
            request
        } else {
            request.header("cookie", &cookies.join("; "))
        }
    }

    fn keep(&mut self, answer: &Answer) {
        for value in answer.headers.get_all("set-cookie") {
            let text = value.to_str().unwrap();
            assert!(text.starts_with("__Host-"), "{text}");
            for attribute in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
                assert!(text.contains(attribute), "{text}");
            }
            let (name, rest) = text.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self.dressed(self.client.get(path));
        let answer = request.send().await;
        self.keep(&answer);
        answer
    }

    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("https://{}", self.client.address);
        self.post_from(path, fields, &origin).await
    }

    pub async fn post_from(&mut self, path: &str, fields: &[(&str, &str)], origin: &str) -> Answer {
        let request = self
            .dressed(self.client.post(path))
            .header("origin", origin)
            .form(fields);
        let answer = request.send().await;
        self.keep(&answer);
        answer
    }

    /// Returns a new one-time passcode from its page.
    pub async fn passcode(&mut self) -> String {
        let page = self.get("/passcode").await;
        assert_eq!(page.status, 200, "{}", page.text());
        let text = page.text();
        let code = text.split("<code class=\"code\">").nth(1).unwrap();
        code.split('<').next().unwrap().to_owned()
    }

    /// Fills in the login page and submits it. Returns the response.
    pub async fn log_in(&mut self, path: &str, user: &str, password: &str) -> Answer {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let mut fields = hidden_fields(&page.text());
        fields.push(("username".to_owned(), user.to_owned()));
        fields.push(("password".to_owned(), password.to_owned()));
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.post("/login.do", &fields).await
    }
}

/// Returns the hidden fields of a page's forms.
pub fn hidden_fields(page: &str) -> Vec<(String, String)> {
    let unescape = |text: &str| {
        text.replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    };
    page.split("<input type=\"hidden\" ")
        .skip(1)
        .map(|rest| {
            let part = |name: &str| {
                let start = rest.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
                let end = rest[start..].find('"').unwrap() + start;
                unescape(&rest[start..end])
            };
            (part("name"), part("value"))
        })
        .collect()
}
