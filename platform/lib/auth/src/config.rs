//! The configuration of the UAA whose tokens a component accepts: its address, and what its tokens must contain.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{Problems, Setting};

/// The configuration as it is written in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawUaa {
    /// Address of UAA as `https://host:port`; empty: no tokens of a UAA are accepted.
    pub url: String,
    /// The exact value that tokens must have as `iss`; empty: `<url>/oauth/token`.
    pub issuer: String,
    /// PEM file of the CA that has issued UAA's certificate.
    pub ca: PathBuf,
    /// The name that UAA's certificate must carry; empty: the host of `url`.
    pub server_name: String,
    /// Audiences of which a token must have one; `logs` also stands for `logs.read` and every other name below it.
    #[setting(
        default = ["doppler", "logs", "cloud_controller"],
        allowed("names, at least one", |names| !names.is_empty() && names.iter().all(|name| !name.is_empty()))
    )]
    pub audiences: Vec<String>,
    /// The client that reads the feed of revocations; empty: it is read without a client.
    pub client_id: String,
    /// File with the secret of `client_id`, or with a JSON object of secrets by client.
    pub client_secret_file: PathBuf,
    /// How far UAA's clock may be ahead of or behind this machine's.
    #[setting(default = "5s", max = "1m")]
    pub leeway: weir_config::Duration,
    /// How often keys are fetched. For a token with an unknown key they are fetched at once, but at most every 5s.
    #[setting(default = "30s", min = "100ms", max = "3600s")]
    pub keys_interval: weir_config::Duration,
    /// How long UAA may wait for revocations before it answers. A UAA that answers at once is asked this often.
    // The maximum makes revocations take effect within a minute.
    #[setting(default = "10s", min = "100ms", max = "30s")]
    pub revocations_interval: weir_config::Duration,
}

/// The validated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UaaConfig {
    /// The address of UAA: an `https` URL without a slash at the end.
    pub url: http::Uri,
    /// The value that tokens must have as `iss`.
    pub issuer: String,
    /// The PEM file of the CA of UAA's certificate.
    pub ca: PathBuf,
    /// The name that UAA's certificate must carry.
    pub server_name: String,
    /// The audiences of which a token must have one.
    pub audiences: Vec<String>,
    /// The client that reads the revocations, with the file of its secret.
    pub client: Option<(String, PathBuf)>,
    /// How far UAA's clock may differ from this machine's.
    pub leeway: Duration,
    /// How often keys are fetched.
    pub keys_interval: Duration,
    /// How long UAA may wait for revocations before it answers, or how often it is asked if it answers at once.
    pub revocations_interval: Duration,
}

impl RawUaa {
    /// Validates what [`Setting::check`] does not. Returns `None` if there is no UAA, or if the address is wrong. The
    /// keys of problems are relative to this part of the configuration.
    #[must_use]
    pub fn validate(self, problems: &mut Problems) -> Option<UaaConfig> {
        if self.url.is_empty() {
            return None;
        }
        let shown = self.url.clone();
        let url: Option<http::Uri> = self.url.trim_end_matches('/').parse().ok();
        let url = url.filter(|url| url.scheme_str() == Some("https") && url.host().is_some() && url.query().is_none());
        problems.require(url.is_some(), "url", shown, "`https://host:port`");
        problems.require(
            !self.ca.as_os_str().is_empty(),
            "ca",
            "",
            "the PEM file of the CA of UAA's certificate",
        );
        let secret = self.client_id.is_empty() || !self.client_secret_file.as_os_str().is_empty();
        problems.require(
            secret,
            "client_secret_file",
            "",
            "the file with the secret of `client_id`",
        );
        let url = url?;
        let server_name = match self.server_name {
            // An IPv6 address has brackets in a URL, and none in a certificate.
            name if name.is_empty() => url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            name => name,
        };
        let issuer = match self.issuer {
            issuer if issuer.is_empty() => format!("{}/oauth/token", self.url.trim_end_matches('/')),
            issuer => issuer,
        };
        Some(UaaConfig {
            url,
            issuer,
            ca: self.ca,
            server_name,
            audiences: self.audiences,
            client: (!self.client_id.is_empty()).then_some((self.client_id, self.client_secret_file)),
            leeway: self.leeway.get(),
            keys_interval: self.keys_interval.get(),
            revocations_interval: self.revocations_interval.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawUaa {
        RawUaa {
            url: "https://uaa.example:8443/".to_owned(),
            ca: "ca.pem".into(),
            ..RawUaa::default()
        }
    }

    /// The issuer and the server name follow from the address where they are left out.
    #[test]
    fn defaults_follow_from_the_address() {
        let mut problems = Problems::default();
        let config = raw().validate(&mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(config.issuer, "https://uaa.example:8443/oauth/token");
        assert_eq!(config.server_name, "uaa.example");
        assert_eq!(config.client, None);
        assert_eq!(RawUaa::default().validate(&mut problems), None);
        assert!(problems.is_empty());
    }

    /// All problems are reported at once.
    #[test]
    fn all_problems_are_reported() {
        let wrong = RawUaa {
            url: "http://uaa.example".to_owned(),
            ca: PathBuf::new(),
            audiences: vec![String::new()],
            client_id: "doppler".to_owned(),
            leeway: weir_config::Duration::from_secs(3600),
            keys_interval: weir_config::Duration::from_millis(1),
            revocations_interval: weir_config::Duration::from_secs(60),
            ..RawUaa::default()
        };
        let mut problems = wrong.problems();
        assert_eq!(wrong.validate(&mut problems), None);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "audiences",
                "leeway",
                "keys_interval",
                "revocations_interval",
                "url",
                "ca",
                "client_secret_file"
            ]
        );
    }
}
