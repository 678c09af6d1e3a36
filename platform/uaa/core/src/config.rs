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
    /// Where to serve HTTPS.
    pub listen: ListenAddr,
    /// The certificate shown to everybody.
    pub identity: RawIdentity,
    /// The address that clients know, without a slash at its end; empty until it listens, if it is to be that.
    pub external_url: String,
    /// The address of the login pages, without a slash at its end.
    pub login_url: String,
    /// Where users, clients and tokens are kept.
    pub database: DatabaseUrl,
    /// The first user, who may do everything.
    pub admin_user: String,
    /// The file with that user's password.
    pub admin_password_file: PathBuf,
    /// The file with the secrets of the clients that are there from the start.
    pub client_secrets_file: PathBuf,
    /// The file with the key that seals signing keys in the database.
    pub master_key_file: PathBuf,
    /// How long tokens are good for.
    pub tokens: TokensConfig,
    /// How long a browser stays logged in without a request.
    pub session_idle: Duration,
    /// How long a browser stays logged in at most.
    pub session_longest: Duration,
    /// What happens after repeated failures to log in.
    pub lockout: LockoutConfig,
    /// Fewest characters of a password.
    pub shortest_password: usize,
    /// How passwords are stored.
    pub hashing: HashingConfig,
    /// What its port takes.
    pub port: PortLimits,
    /// External OpenID Connect providers.
    pub providers: Vec<Provider>,
}

/// How long tokens are good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokensConfig {
    /// An access token, unless its client says otherwise.
    pub access: Duration,
    /// The longest that a client may say.
    pub longest_access: Duration,
    /// A refresh token, unless its client says otherwise.
    pub refresh: Duration,
    /// Whether a refresh token is good for one refresh only.
    pub rotate_refresh: bool,
    /// An authorization code.
    pub code: Duration,
    /// A one-time passcode.
    pub passcode: Duration,
    /// When a new signing key replaces the present one.
    pub key_rotation: Option<Duration>,
}

/// How passwords are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashingConfig {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Threads.
    pub threads: usize,
    /// How many may wait.
    pub queue: usize,
}

impl Config {
    /// Takes the address of the listener for those that were left open.
    pub fn listens_on(&mut self, address: std::net::SocketAddr) {
        if self.external_url.is_empty() {
            self.external_url = format!("https://{address}");
        }
        if self.login_url.is_empty() {
            self.login_url.clone_from(&self.external_url);
        }
    }

    /// Whether clients know us by a name that is ours alone: what is said of `localhost` would be said of everything on
    /// that machine, whatever its port.
    pub fn has_own_name(&self) -> bool {
        let url = Url::parse(&self.external_url).ok();
        matches!(url.as_ref().and_then(Url::host), Some(url::Host::Domain(name))
            if name != "localhost" && !name.ends_with(".localhost"))
    }

    /// What tokens carry as `iss`.
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
        threads: if raw.threads == 0 {
            (cores / 2).max(1)
        } else {
            raw.threads
        },
        queue: raw.queue,
    }
}

/// `https://host[:port]`, as everything that we write begins.
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

    /// The defaults are valid, and all that is wrong is said at once, without the secrets.
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
