//! The configuration of the server.

use std::ops::Deref;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, Problems, Secret, Setting};
use weir_net::RawPortLimits;
use weir_tls::IdentityFiles;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve clients.
    #[setting(default = "127.0.0.1:4224")]
    pub listen: ListenAddr,
    /// The server's certificate, and the CA that the certificates of clients must come from. Without it connections are not
    /// encrypted.
    pub identity: Option<IdentityFiles>,
    /// Whether clients must show a certificate, if there is an identity.
    #[setting(default = true)]
    pub client_certificates: bool,
    /// The user that clients must be. Without it they need no user.
    pub user: Option<String>,
    /// The password of the user. Use `password_file` to keep it out of the configuration.
    pub password: Option<Secret<String>>,
    /// File with the password of the user. Blanks and line feeds around the password do not count.
    pub password_file: Option<PathBuf>,
    /// Largest message, header and payload together.
    #[setting(default = "1MiB", min = "1KiB", max = "64MiB")]
    pub max_payload: ByteSize,
    /// Longest control line: an operation without its payload.
    #[setting(default = "4KiB", min = "512B", max = "1MiB")]
    pub max_control_line: ByteSize,
    /// Most bytes that may wait for one client; beyond them it is a slow consumer, and is disconnected.
    #[setting(default = "64MiB", min = "64KiB", max = "4GiB")]
    pub max_pending: ByteSize,
    /// Most bytes that may wait for all clients; beyond them a client with more than its share is a slow consumer.
    #[setting(default = "256MiB", min = self.max_pending)]
    pub max_pending_total: ByteSize,
    /// Most bytes of messages larger than 128 KiB that have not arrived completely; a client whose message does not fit is
    /// disconnected.
    #[setting(default = "64MiB", min = "1MiB")]
    pub max_unfinished: ByteSize,
    /// Most subscriptions of one connection.
    #[setting(default = 10_000, min = 1, max = 10_000_000)]
    pub max_subscriptions: usize,
    /// Most memory for the subscriptions of all connections. One needs about 1 KiB.
    #[setting(default = "128MiB", min = "1MiB")]
    pub max_subscriptions_size: ByteSize,
    /// How long a client that takes nothing of what is written stays connected.
    #[setting(default = "2s", min = "10ms", max = "10m")]
    pub write_deadline: Duration,
    /// How long a client may take from connecting until it has said who it is.
    #[setting(default = "15s", min = "10ms", max = "10m")]
    pub auth_timeout: Duration,
    /// How often a silent client is asked for a sign of life.
    #[setting(default = "2m", min = "10ms", max = "1h")]
    pub ping_interval: Duration,
    /// How many such questions in a row may stay without an answer.
    #[setting(default = 2, min = 1, max = 100)]
    pub max_pings_out: u32,
    /// How long a stopping server waits for its clients to leave, after it has told them.
    #[setting(default = "1s", max = "2m")]
    pub lame_duck: Duration,
    /// How many connections there may be.
    pub port: RawPortLimits,
}

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config(RawConfig);

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.0
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        if raw.user.is_some() != (raw.password.is_some() || raw.password_file.is_some()) {
            problems.reject("user", "must be set together with `password` or `password_file`");
        }
        problems.into_result(Self(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are valid, and a user without a password is not.
    #[test]
    fn defaults_and_problems() {
        let config = Config::try_from(RawConfig::default()).expect("valid");
        assert_eq!(config.max_control_line.bytes(), 4096);
        let raw = RawConfig {
            user: Some("nats".to_owned()),
            max_pending: ByteSize::mib(512),
            max_pings_out: 0,
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).expect_err("three problems");
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["max_pending_total", "max_pings_out", "user"]);
    }
}
