//! The configuration of external OpenID Connect providers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;
use weir_config::{Problems, Secret, Setting};

/// The names that a provider cannot have: the original uses them as origins of its own.
const RESERVED: [&str; 4] = ["uaa", "ldap", "login-server", "unknown"];

/// A provider as the configuration file has it.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawProvider {
    /// The text of the provider's button on the login page; empty: the name of the provider.
    pub title: String,
    /// The issuer. Its discovery document is `<issuer>/.well-known/openid-configuration`.
    pub issuer: String,
    /// The client id of this UAA at the provider.
    pub client_id: String,
    /// The client secret of this UAA at the provider.
    pub client_secret: Secret<String>,
    /// The scopes to request beside `openid`.
    pub scopes: Vec<String>,
    /// PEM file of the CA that signed the provider's certificate; empty: the CAs that the system trusts.
    pub ca: PathBuf,
    /// The claim that becomes the user name; empty: the first of `preferred_username`, `user_name`, `email`,
    /// `sub`.
    pub user_name_claim: String,
    /// The claim with the user's groups at the provider; empty: groups are not read.
    pub groups_claim: String,
    /// The groups at the provider, each with the groups of this UAA that its members get.
    pub groups: BTreeMap<String, Vec<String>>,
}

/// A provider whose settings are valid.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The name of the provider, which is the origin of its users.
    pub name: String,
    /// The text of the provider's button on the login page.
    pub title: String,
    /// The issuer of the provider's tokens.
    pub issuer: String,
    /// The client id of this UAA at the provider.
    pub client_id: String,
    /// The client secret of this UAA at the provider.
    pub client_secret: Secret<String>,
    /// The scopes to request, `openid` included.
    pub scopes: Vec<String>,
    /// PEM file of the CA that signed the provider's certificate; `None`: the CAs that the system trusts.
    pub ca: Option<PathBuf>,
    /// The claim that becomes the user name.
    pub user_name_claim: Option<String>,
    /// The claim with the user's groups at the provider.
    pub groups_claim: Option<String>,
    /// The groups at the provider, each with the groups of this UAA that its members get.
    pub groups: BTreeMap<String, Vec<String>>,
}

impl RawProvider {
    pub(super) fn validated(self, name: &str) -> Result<Provider, Problems> {
        let mut problems = Problems::default();
        // The name stands in a path (`/login/callback/NAME`), so it has only characters that need no escape.
        let usable =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
        let named = !name.is_empty() && name.len() <= 64 && name.bytes().all(usable) && !RESERVED.contains(&name);
        if !named {
            problems.reject(
                "",
                "must have a name of lower-case letters, digits, `-`, `_`, `.` that is not `uaa`, `ldap`, \
                 `login-server` or `unknown`",
            );
        }
        let issuer = Url::parse(&self.issuer).is_ok_and(|url| {
            url.scheme() == "https" && url.host().is_some() && url.query().is_none() && url.fragment().is_none()
        });
        problems.require(issuer, "issuer", &self.issuer, "an `https` URL without query");
        if self.client_id.is_empty() {
            problems.reject("client_id", "must be set");
        }
        if self.client_secret.expose().is_empty() {
            problems.reject("client_secret", "must be set");
        }
        let filled = |text: String| (!text.is_empty()).then_some(text);
        let mut scopes = vec!["openid".to_owned()];
        scopes.extend(self.scopes.into_iter().filter(|scope| scope != "openid"));
        problems.into_result(Provider {
            name: name.to_owned(),
            title: filled(self.title).unwrap_or_else(|| name.to_owned()),
            issuer: self.issuer,
            client_id: self.client_id,
            client_secret: self.client_secret,
            scopes,
            ca: (!self.ca.as_os_str().is_empty()).then_some(self.ca),
            user_name_claim: filled(self.user_name_claim),
            groups_claim: filled(self.groups_claim),
            groups: self.groups,
        })
    }
}
