//! Where UAA is, and what its tokens must say: a part of the configuration of every face that takes them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{Problems, Setting};

/// The part as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawUaa {
    /// `https://host:port`; empty: tokens of a UAA are not taken.
    pub url: String,
    /// What tokens must have as `iss`, to the letter; empty: `<url>/oauth/token`.
    pub issuer: String,
    /// PEM file of the CA that UAA's certificate must come from.
    pub ca: PathBuf,
    /// The name that UAA's certificate must carry; empty: the host of `url`.
    pub server_name: String,
    /// A token must be meant for one of these; `logs` also stands for `logs.read` and all else below it.
    #[setting(
        default = ["doppler", "logs", "cloud_controller"],
        allowed("names, at least one", |names| !names.is_empty() && names.iter().all(|name| !name.is_empty()))
    )]
    pub audiences: Vec<String>,
    /// The client that reads the feed of revocations; empty: it is read without one.
    pub client_id: String,
    /// File with the secret of that client, or with a JSON object of secrets by client.
    pub client_secret_file: PathBuf,
    /// How far UAA's clock may be from this machine's.
    #[setting(default = "5s", max = "1m")]
    pub leeway: weir_config::Duration,
    /// How often keys are fetched; one that is not known is asked for at once, at most every 5s.
    #[setting(default = "30s", min = "100ms", max = "3600s")]
    pub keys_interval: weir_config::Duration,
    /// How long UAA may take for an answer without revocations; how often they are read from one that answers at once.
    // Revocations are to be seen within a minute.
    #[setting(default = "10s", min = "100ms", max = "30s")]
    pub revocations_interval: weir_config::Duration,
}

/// The validated part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UaaConfig {
    /// Where it is: `https`, without a path's trailing slash.
    pub url: http::Uri,
    /// What tokens must have as `iss`.
    pub issuer: String,
    /// The CA of its certificate.
    pub ca: PathBuf,
    /// The name in its certificate.
    pub server_name: String,
    /// Whom tokens must be meant for.
    pub audiences: Vec<String>,
    /// The client that may read the revocations, with the file of its secret.
    pub client: Option<(String, PathBuf)>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// How often keys are fetched.
    pub keys_interval: Duration,
    /// How often revocations are read.
    pub revocations_interval: Duration,
}

impl RawUaa {
    /// Validates what [`Setting::check`] leaves; `None` if there is to be no UAA. Keys of problems are relative to this part.
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

    /// What is left out follows from the address.
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

    /// All that is wrong is said at once.
    #[test]
    fn problems_are_said() {
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
