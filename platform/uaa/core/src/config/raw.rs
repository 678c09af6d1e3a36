//! The configuration as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, Secret, Setting};
use weir_net::RawPortLimits;
use weir_platform_uaa_store::LONGEST_VALIDITY;

use super::RawProvider;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS.
    #[setting(default = "127.0.0.1:8443")]
    pub listen: ListenAddr,
    /// The certificate shown to every client.
    pub identity: RawIdentity,
    /// The address that clients know, such as `https://uaa.example.com`; empty for the address of `listen`. Tokens carry it,
    /// with `/oauth/token` behind it, as their issuer.
    pub external_url: String,
    /// The address of the login pages; empty: `external_url`.
    pub login_url: String,
    /// Where users, clients and tokens are kept: `sqlite:///path`, `postgres://user:password@host/name` or
    /// `mysql://user:password@host/name`.
    #[setting(default = "sqlite://uaa.db")]
    #[serde(serialize_with = "without_password")]
    pub database: Secret<String>,
    /// The first user, who may do everything.
    #[setting(
        default = "admin",
        allowed("1 to 255 bytes without blanks around", |name| {
            !name.is_empty() && name.len() <= 255 && name.trim() == name
        })
    )]
    pub admin_user: String,
    /// The file with the first password of that user. Made with a random one (mode 0600) when absent.
    #[setting(default = "admin-password")]
    pub admin_password_file: PathBuf,
    /// The file with the secrets of the clients that are there from the start: a JSON object by client id. Made together with
    /// them; a secret that is new in it is the client's from the next start on. All nodes need a copy.
    #[setting(default = "client-secrets.json")]
    pub client_secrets_file: PathBuf,
    /// The file with the key that seals the signing keys in the database; the same on all nodes. Made when absent.
    #[setting(default = "uaa-master-key")]
    pub master_key_file: PathBuf,
    /// How long tokens are good for.
    pub tokens: RawTokens,
    /// How long a browser stays logged in.
    pub sessions: RawSessions,
    /// What happens after repeated failures to log in with a password.
    pub lockout: RawLockout,
    /// What a password must be.
    pub passwords: RawPasswords,
    /// How passwords are stored: Argon2id.
    pub hashing: RawHashing,
    /// Bounds of what clients may use.
    pub limits: RawPortLimits,
    /// External OpenID Connect providers, by the name that becomes the origin of their users.
    pub providers: BTreeMap<String, RawProvider>,
}

/// A certificate and its key as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// PEM file of the certificate; it carries the names of `external_url` and `login_url`.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the stack's CA. Callers that show a certificate of it have connections in reserve; empty: no caller has.
    pub ca: PathBuf,
}

/// Life times of tokens as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTokens {
    /// How long an access token is good for, unless its client says otherwise.
    #[setting(default = "20m", min = "10s", max = self.longest_access)]
    pub access: Duration,
    /// The longest time that a client may say for an access token; a retired signing key is published for as long.
    #[setting(default = "24h", min = "10s", max = Duration::from_secs(LONGEST_VALIDITY.unsigned_abs()))]
    pub longest_access: Duration,
    /// How long a refresh token is good for, unless its client says otherwise.
    #[setting(default = "30d", min = "10s", max = "3660d")]
    pub refresh: Duration,
    /// Whether a refresh token is good for one refresh only. One that is shown again then revokes its successors.
    pub rotate_refresh: bool,
    /// How long an authorization code is good for.
    #[setting(default = "2m", min = "5s", max = "10m")]
    pub code: Duration,
    /// How long a one-time passcode is good for, as `cf login --sso` asks for.
    #[setting(default = "5m", min = "5s", max = "1h")]
    pub passcode: Duration,
    /// After how long a new signing key replaces the present one; 0 for never.
    #[setting(
        default = "90d",
        allowed("0 or at least 1h", |rotation| rotation.is_zero() || *rotation >= Duration::from_secs(3600))
    )]
    pub key_rotation: Duration,
}

/// Browser sessions as they are written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawSessions {
    /// How long a session lasts without a request.
    #[setting(default = "30m", min = "1m", max = "30d")]
    pub idle: Duration,
    /// How long a session lasts in any case.
    #[setting(default = "12h", min = "1m", max = "30d")]
    pub longest: Duration,
}

/// The lockout policy as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLockout {
    /// How many failures lock a user name.
    #[setting(default = 5, min = 1, max = 1000)]
    pub attempts: u32,
    /// Within what time these failures count.
    #[setting(default = "1h", min = "1s", max = "7d")]
    pub window: Duration,
    /// For how long a user name is locked.
    #[setting(default = "5m", min = "1s", max = "7d")]
    pub lock: Duration,
}

/// The password policy as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawPasswords {
    /// Fewest characters of a new password; passwords that are there stay good.
    #[setting(default = 8, min = 1, max = 128)]
    pub shortest: usize,
}

/// Argon2id as it is written.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawHashing {
    /// Memory of one hash; at least 19MiB where it matters.
    #[setting(default = "19MiB", min = "64KiB", max = "1GiB")]
    pub memory: ByteSize,
    /// Passes of one hash over its memory.
    #[setting(default = 2, min = 1, max = 32)]
    pub passes: u32,
    /// Threads that hash; 0 for half of the cores.
    #[setting(max = 64)]
    pub threads: usize,
    /// How many requests may wait for a thread; further ones are told when to come again.
    #[setting(default = 256, min = 1, max = 10_000)]
    pub queue: usize,
}

/// An address with a password in it is shown to nobody; one of a file may be written into a configuration file.
fn without_password<S: serde::Serializer>(url: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    if url.expose().starts_with("sqlite://") {
        serializer.serialize_str(url.expose())
    } else {
        url.serialize(serializer)
    }
}
