//! Browsers: their cookies, their sessions, and the protection of their forms.
//!
//! A session is a random cookie, of which the digest is stored. Every login creates a new one, against session fixation. A form
//! has a token that is signed over a cookie of the browser and its session, against CSRF; and if the browser sends `Origin`, it
//! must be this UAA. All cookies have the prefix `__Host-`: browsers accept them over HTTPS only, and not from other hosts of
//! the domain.

use axum::response::Response;
use http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_core::refusal::Refusal;
use weir_platform_uaa_store::{Session, User, secrets};

use crate::http::error::ApiError;
use crate::http::form::Form;

const SESSION: &str = "__Host-weir-session";
const CSRF: &str = "__Host-weir-csrf";

/// The most bytes of a cookie's value that browsers keep.
const LONGEST_COOKIE: usize = 4096;

/// The most bytes of the path to which a login leads back.
const LONGEST: usize = 8192;

/// The browser of a request.
#[derive(Debug)]
pub(crate) struct Browser {
    session_cookie: Option<String>,
    csrf_cookie: String,
    /// Whether the browser has no CSRF cookie yet.
    csrf_is_new: bool,
    host: String,
    origin: Option<String>,
}

/// A user who is logged in.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) user: User,
    /// The time of the login, in seconds since 1970.
    pub(crate) auth_time: i64,
}

impl Browser {
    pub(crate) fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        // A shorter value was not set by this UAA, and might be guessed.
        let known = cookie(headers, CSRF).filter(|value| value.len() >= 32);
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
                .map(str::to_owned)
        };
        Self {
            session_cookie: cookie(headers, SESSION),
            csrf_is_new: known.is_none(),
            csrf_cookie: known.unwrap_or_else(secrets::random_token::<32>),
            // HTTP/2 has the host in `:authority`, HTTP/1.1 in `Host`.
            host: parts
                .uri
                .authority()
                .map(ToString::to_string)
                .or_else(|| text(HOST))
                .unwrap_or_default(),
            origin: text(ORIGIN),
        }
    }

    /// Returns the user who is logged in, if there is one.
    pub(crate) async fn logged_in(&self, app: &App) -> Result<Option<LoggedIn>, ApiError> {
        let Some(cookie) = &self.session_cookie else {
            return Ok(None);
        };
        let hash = secrets::digest(cookie);
        let session = app.store.session(&hash, app.config.session_idle).await?;
        let Some(Session {
            user_id,
            auth_time,
            as_of,
        }) = session
        else {
            return Ok(None);
        };
        let user = app.store.user(&user_id).await?.filter(|user| user.active);
        Ok(user.map(|mut user| {
            // A revocation after the session was read must count when a token is issued.
            user.as_of = user.as_of.min(as_of);
            LoggedIn { user, auth_time }
        }))
    }

    /// Returns the CSRF token for a form.
    pub(crate) fn csrf(&self, app: &App) -> String {
        let session = self.session_cookie.as_deref().unwrap_or_default();
        app.master.sign("csrf", &[&self.csrf_cookie, session])
    }

    /// Checks that a form was given to this browser by this UAA.
    pub(crate) fn check(&self, app: &App, form: &Form) -> Result<(), ApiError> {
        let refused = || {
            ApiError::new(
                StatusCode::FORBIDDEN,
                "invalid_csrf",
                "The form is too old, or not from here. Go back, reload the page and try again.",
            )
        };
        if self
            .origin
            .as_ref()
            .is_some_and(|origin| *origin != format!("https://{}", self.host))
        {
            weir_service::limited!(info, weir_service::EACH_SECOND, "a form from another site was refused");
            return Err(refused());
        }
        let shown = form.get("csrf").unwrap_or_default();
        if self.csrf_is_new || !secrets::equal(shown, &self.csrf(app)) {
            return Err(refused());
        }
        Ok(())
    }

    /// Starts a session for a user who logged in at `auth_time` (seconds since 1970), and ends the browser's earlier session.
    pub(crate) async fn log_in(
        &self,
        app: &App,
        user: &User,
        auth_time: i64,
        response: &mut Response,
    ) -> Result<(), Refusal> {
        if let Some(old) = &self.session_cookie {
            app.store.remove_session(&secrets::digest(old)).await?;
        }
        let cookie = secrets::random_token::<32>();
        let longest = app.config.session_longest;
        if !app
            .store
            .add_session(&secrets::digest(&cookie), user, auth_time, longest)
            .await?
        {
            return Err(Refusal::ChangedMeanwhile);
        }
        set(response, SESSION, &cookie, None);
        Ok(())
    }

    /// Ends this browser's session.
    pub(crate) async fn log_out(&self, app: &App, response: &mut Response) -> Result<(), ApiError> {
        if let Some(cookie) = &self.session_cookie {
            app.store.remove_session(&secrets::digest(cookie)).await?;
        }
        set(response, SESSION, "", Some(0));
        Ok(())
    }

    /// Sets the CSRF cookie if the browser has none.
    pub(crate) fn remember(&self, mut response: Response) -> Response {
        if self.csrf_is_new {
            set(&mut response, CSRF, &self.csrf_cookie, None);
        }
        response
    }
}

/// Sets a cookie for `max_age` seconds; `None`: until the browser is closed.
pub(crate) fn set(response: &mut Response, name: &str, value: &str, max_age: Option<u64>) {
    let age = max_age
        .map(|seconds| format!("; Max-Age={seconds}"))
        .unwrap_or_default();
    // `Lax` and not `Strict`: a redirect of a client or a provider to this UAA must find the session.
    let cookie = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Returns the value of a cookie. A cookie that is sent twice is ignored, because one of the two may have been planted.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        for pair in header.to_str().ok()?.split(';') {
            if let Some((key, value)) = pair.trim().split_once('=')
                && key == name
            {
                if found.is_some() {
                    return None;
                }
                found = Some(value.to_owned());
            }
        }
    }
    found.filter(|value: &String| !value.is_empty() && value.len() <= LONGEST_COOKIE)
}

/// Returns the path to which a login leads: `path` if it is a page of this UAA that needs a login, and else the start page. Other
/// paths would make the login an open redirect.
pub(crate) fn safe_continue(path: Option<&str>) -> String {
    let allowed = |path: &&str| {
        let clean = path.len() <= LONGEST && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        clean && (path.starts_with("/oauth/authorize?") || *path == "/passcode")
    };
    path.filter(allowed).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login leads to no other host.
    #[test]
    fn a_login_leads_to_own_pages_only() {
        for path in ["/oauth/authorize?client_id=a&state=%2F%2Fx", "/passcode"] {
            assert_eq!(safe_continue(Some(path)), path);
        }
        for path in [
            "https://evil.example/",
            "//evil.example/oauth/authorize?",
            "/\\evil.example",
            "/oauth/authorize?x=\\",
            "/oauth/authorize?\r\nSet-Cookie: a=b",
            "/oauth/authorize.evil",
            "/logout.do",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(safe_continue(Some(path)), "/", "{path:?}");
        }
        assert_eq!(safe_continue(None), "/");
    }

    /// A cookie is found among others, and is ignored if it is sent twice.
    #[test]
    fn reads_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; __Host-weir-session=abc; b=2"));
        assert_eq!(cookie(&headers, SESSION).as_deref(), Some("abc"));
        assert_eq!(cookie(&headers, CSRF), None);
        headers.append(COOKIE, HeaderValue::from_static("__Host-weir-session=planted"));
        assert_eq!(cookie(&headers, SESSION), None);
    }
}
