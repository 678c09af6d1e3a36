//! The UAA's configuration.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;
use weir_config::{ListenAddr, Problems, Setting as _};
use weir_db::DatabaseUrl;
use weir_net::PortLimits;

mod providers;
mod raw;

pub use providers::{Provider, RawProvider};
pub use raw::{RawConfig, RawHashing, RawIdentity, RawLockout, RawPasswords, RawSessions, RawTokens};
pub use weir_platform_uaa_store::LockoutConfig;

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address on which HTTPS is served.
    pub listen: ListenAddr,
    /// The certificate that every client is shown.
    pub identity: RawIdentity,
    /// The URL that clients know, without a slash at its end. It is empty until the port is open if the configuration does
    /// not name one; see [`Config::listens_on`].
    pub external_url: String,
    /// The URL of the login pages, without a slash at its end.
    pub login_url: String,
    /// The database of users, clients and tokens.
    pub database: DatabaseUrl,
    /// The name of the administrator, who may do everything.
    pub admin_user: String,
    /// The file with the first password of the administrator.
    pub admin_password_file: PathBuf,
    /// The file with the secrets of the clients that a first start creates.
    pub client_secrets_file: PathBuf,
    /// The file with the key that seals signing keys in the database.
    pub master_key_file: PathBuf,
    /// The life times of tokens.
    pub tokens: TokensConfig,
    /// The time without a request after which a browser session ends.
    pub session_idle: Duration,
    /// The longest time that a browser session lasts.
    pub session_longest: Duration,
    /// The limits of failed logins.
    pub lockout: LockoutConfig,
    /// The fewest characters of a new password.
    pub shortest_password: usize,
    /// The parameters of password hashes.
    pub hashing: HashingConfig,
    /// The limits of the connections to the port.
    pub port: PortLimits,
    /// The external OpenID Connect providers.
    pub providers: Vec<Provider>,
}

/// The life times of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokensConfig {
    /// The life time of an access token whose client names none.
    pub access: Duration,
    /// The longest life time of an access token that a client may have.
    pub longest_access: Duration,
    /// The life time of a refresh token whose client names none.
    pub refresh: Duration,
    /// Whether a refresh token can be used only once.
    pub rotate_refresh: bool,
    /// The life time of an authorization code.
    pub code: Duration,
    /// The life time of a one-time passcode.
    pub passcode: Duration,
    /// The age at which a new key replaces the present signing key; `None` for never.
    pub key_rotation: Option<Duration>,
}

/// The parameters of password hashes (Argon2id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashingConfig {
    /// The memory of one hash, in KiB.
    pub memory_kib: u32,
    /// The passes of one hash over its memory.
    pub passes: u32,
    /// The number of threads that hash.
    pub threads: usize,
    /// The number of requests that may wait for a thread.
    pub queue: usize,
}

impl Config {
    /// Takes the address of the listener for the URLs that the configuration does not name.
    pub fn listens_on(&mut self, address: std::net::SocketAddr) {
        if self.external_url.is_empty() {
            self.external_url = format!("https://{address}");
        }
        if self.login_url.is_empty() {
            self.login_url.clone_from(&self.external_url);
        }
    }

    /// Whether the host of the external URL belongs to this UAA alone. `localhost` does not: browsers apply cookies and HSTS
    /// to every port of the host.
    pub fn has_own_name(&self) -> bool {
        let url = Url::parse(&self.external_url).ok();
        matches!(url.as_ref().and_then(Url::host), Some(url::Host::Domain(name))
            if name != "localhost" && !name.ends_with(".localhost"))
    }

    /// Returns the issuer of tokens (`iss`).
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/oauth/token", self.external_url)
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        let external_url = match raw.external_url.as_str() {
            "" => Some(String::new()),
            url => problems.accept("external_url", base_url(url)),
        };
        let login_url = match raw.login_url.as_str() {
            "" => external_url.clone(),
            url => problems.accept("login_url", base_url(url)),
        };
        let database = problems.accept(
            "database",
            raw.database.expose().parse::<DatabaseUrl>().map_err(|error| {
                let hint = weir_error::Classify::hint(&error).unwrap_or_default();
                format!("{error}; {hint}")
            }),
        );
        let tokens = tokens(&raw.tokens);
        let hashing = hashing(&raw.hashing);
        let mut listed = Vec::new();
        for (name, provider) in raw.providers {
            match provider.validated(&name) {
                Ok(provider) => listed.push(provider),
                Err(part) => problems.nest(&format!("providers.{name}"), part),
            }
        }
        problems.into_result_with(|| {
            Some(Self {
                listen: raw.listen,
                identity: raw.identity,
                external_url: external_url?,
                login_url: login_url?,
                database: database?,
                admin_user: raw.admin_user,
                admin_password_file: raw.admin_password_file,
                client_secrets_file: raw.client_secrets_file,
                master_key_file: raw.master_key_file,
                tokens,
                session_idle: raw.sessions.idle.get(),
                session_longest: raw.sessions.longest.get(),
                lockout: LockoutConfig {
                    attempts: raw.lockout.attempts,
                    window: raw.lockout.window.get(),
                    lock: raw.lockout.lock.get(),
                },
                shortest_password: raw.passwords.shortest,
                hashing,
                port: raw.limits.limits(),
                providers: listed,
            })
        })
    }
}

fn tokens(raw: &RawTokens) -> TokensConfig {
    let rotation = raw.key_rotation.get();
    TokensConfig {
        access: raw.access.get(),
        longest_access: raw.longest_access.get(),
        refresh: raw.refresh.get(),
        rotate_refresh: raw.rotate_refresh,
        code: raw.code.get(),
        passcode: raw.passcode.get(),
        key_rotation: (!rotation.is_zero()).then_some(rotation),
    }
}

fn hashing(raw: &RawHashing) -> HashingConfig {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HashingConfig {
        memory_kib: u32::try_from(raw.memory.bytes() >> 10).unwrap_or(u32::MAX),
        passes: raw.passes,
        // Half of the cores stay free for requests that need no hash.
        threads: if raw.threads == 0 {
            (cores / 2).max(1)
        } else {
            raw.threads
        },
        queue: raw.queue,
    }
}

/// Returns the URL without its trailing slash if it is `https://host[:port]`, because paths are appended to it.
fn base_url(text: &str) -> Result<String, &'static str> {
    const WANTED: &str = "must be `https://host` or `https://host:port`";
    let url = Url::parse(text).map_err(|_| WANTED)?;
    let bare = url.scheme() == "https"
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    bare.then(|| url.as_str().trim_end_matches('/').to_owned())
        .ok_or(WANTED)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weir_config::Secret;

    use super::*;

    /// The defaults are valid, and all problems are reported together, without secrets.
    #[test]
    fn defaults_and_problems() {
        let mut config = Config::try_from(RawConfig::default()).unwrap();
        config.listens_on("127.0.0.1:8443".parse().unwrap());
        assert_eq!(config.issuer(), "https://127.0.0.1:8443/oauth/token");
        assert_eq!(config.login_url, "https://127.0.0.1:8443");
        let raw = RawConfig {
            external_url: "http://uaa.example/path".to_owned(),
            database: Secret::new("oracle://me:hunter2@host/x".to_owned()),
            lockout: RawLockout {
                attempts: 0,
                ..RawLockout::default()
            },
            providers: BTreeMap::from([("uaa".to_owned(), RawProvider::default())]),
            ..RawConfig::default()
        };
        let problems = Config::try_from(raw).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys[..3],
            ["lockout.attempts", "external_url", "database"],
            "{problems}"
        );
        assert!(
            keys[3..].iter().all(|key| key.starts_with("providers.uaa")),
            "{problems}"
        );
        assert!(!problems.to_string().contains("hunter2"));
    }
}
