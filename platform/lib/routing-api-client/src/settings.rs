//! Where the routing API is, and who asks it: a part of the configuration of each of its clients.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;
use weir_config::{Problems, Setting};
use weir_tls::IdentityFiles;

/// The part as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawRoutingApi {
    /// `https://host:port` of the routing API; empty: there is none.
    pub url: String,
    /// The name that the certificate of the routing API must carry; empty: the host of `url`.
    pub server_name: String,
    /// The certificate that is shown to the routing API, and the CA that its own certificate must come from.
    pub identity: IdentityFiles,
    /// `https://host:port` of the UAA that gives tokens.
    pub uaa_url: String,
    /// PEM file of the CA that UAA's certificate must come from; empty: the CAs of the system.
    pub uaa_ca: PathBuf,
    /// The client that UAA gives tokens to.
    #[setting(default = "routing_api_client")]
    pub client_id: String,
    /// File with the secret of `client_id`, or with a JSON object of secrets by client.
    pub client_secret_file: PathBuf,
}

/// The validated part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingApiSettings {
    /// The address of the routing API, without a path's trailing slash.
    pub url: String,
    /// The name in its certificate.
    pub server_name: String,
    /// The certificate that is shown to it, and the CA of its own.
    pub identity: IdentityFiles,
    /// The address of UAA.
    pub uaa_url: String,
    /// The CA of UAA's certificate; `None`: those of the system.
    pub uaa_ca: Option<PathBuf>,
    /// The client that UAA gives tokens to.
    pub client_id: String,
    /// The file of the client's secret, which is read for each token.
    pub client_secret_file: PathBuf,
}

impl RawRoutingApi {
    /// Validates what [`Setting::check`] leaves; `None` if there is to be no routing API. Keys of problems are relative to this
    /// part.
    #[must_use]
    pub fn validate(self, problems: &mut Problems) -> Option<RoutingApiSettings> {
        if self.url.is_empty() {
            return None;
        }
        let host = https_host(&self.url);
        problems.require(host.is_some(), "url", &self.url, "`https://host:port`");
        let has_uaa = https_host(&self.uaa_url).is_some();
        problems.require(has_uaa, "uaa_url", &self.uaa_url, "`https://host:port`");
        problems.require(!self.client_id.is_empty(), "client_id", "", "a client of UAA");
        let has_secret = !self.client_secret_file.as_os_str().is_empty();
        problems.require(
            has_secret,
            "client_secret_file",
            "",
            "the file with the secret of `client_id`",
        );
        let host = host?;
        Some(RoutingApiSettings {
            url: self.url.trim_end_matches('/').to_owned(),
            server_name: if self.server_name.is_empty() {
                host
            } else {
                self.server_name
            },
            identity: self.identity,
            uaa_url: self.uaa_url,
            uaa_ca: (!self.uaa_ca.as_os_str().is_empty()).then_some(self.uaa_ca),
            client_id: self.client_id,
            client_secret_file: self.client_secret_file,
        })
    }
}

/// The host of an address of an HTTPS server, without a user, a query or a fragment.
fn https_host(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    (plain && url.scheme() == "https").then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a URL there is no routing API; with one, everything that is wrong is said at once.
    #[test]
    fn settings_are_checked() {
        let mut problems = Problems::default();
        assert_eq!(RawRoutingApi::default().validate(&mut problems), None);
        assert!(problems.is_empty());
        let raw = RawRoutingApi {
            url: "https://routing-api.example:3001/".to_owned(),
            uaa_url: "https://uaa.example:8443".to_owned(),
            client_secret_file: "secrets".into(),
            ..RawRoutingApi::default()
        };
        let settings = raw.clone().validate(&mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(settings.url, "https://routing-api.example:3001");
        assert_eq!(settings.server_name, "routing-api.example");
        assert_eq!(
            (settings.client_id.as_str(), settings.uaa_ca),
            ("routing_api_client", None)
        );
        let wrong = RawRoutingApi {
            url: "http://routing-api".to_owned(),
            uaa_url: String::new(),
            client_id: String::new(),
            client_secret_file: PathBuf::new(),
            ..raw
        };
        assert_eq!(wrong.validate(&mut problems), None);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["url", "uaa_url", "client_id", "client_secret_file"]);
    }
}
