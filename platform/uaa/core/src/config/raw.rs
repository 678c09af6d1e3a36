//! The configuration as the file has it, before its values are checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Duration, ListenAddr, Secret, Setting};
use weir_net::RawPortLimits;
use weir_platform_uaa_store::LONGEST_VALIDITY;

use super::RawProvider;

/// The configuration as the file has it.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The address on which HTTPS is served.
    #[setting(default = "127.0.0.1:8443")]
    pub listen: ListenAddr,
    /// The certificate that every client is shown.
    pub identity: RawIdentity,
    /// The URL that clients know, such as `https://uaa.example.com`; empty: the address of `listen`. The issuer of tokens is this
    /// URL with the path `/oauth/token`.
    pub external_url: String,
    /// The URL of the login pages; empty: `external_url`.
    pub login_url: String,
    /// The database of users, clients and tokens: `sqlite:///path`, `postgres://user:password@host/name` or
    /// `mysql://user:password@host/name`.
    #[setting(default = "sqlite://uaa.db")]
    #[serde(serialize_with = "without_password")]
    pub database: Secret<String>,
    /// The name of the administrator, who may do everything. The first start creates this user.
    #[setting(
        default = "admin",
        allowed("1 to 255 bytes without blanks around", |name| {
            !name.is_empty() && name.len() <= 255 && name.trim() == name
        })
    )]
    pub admin_user: String,
    /// The file with the first password of the administrator. An absent file is created with a random password (mode 0600).
    #[setting(default = "admin-password")]
    pub admin_password_file: PathBuf,
    /// The file with the secrets of the clients that a first start creates: a JSON object by client id. It is created together
    /// with the clients. A secret that is new in the file becomes the client's secret at the next start. All nodes need a copy.
    #[setting(default = "client-secrets.json")]
    pub client_secrets_file: PathBuf,
    /// The file with the key that encrypts the signing keys in the database. An absent file is created. All nodes need a copy.
    #[setting(default = "uaa-master-key")]
    pub master_key_file: PathBuf,
    /// The life times of tokens.
    pub tokens: RawTokens,
    /// The life times of browser sessions.
    pub sessions: RawSessions,
    /// The limits of failed logins with a password.
    pub lockout: RawLockout,
    /// The rules for new passwords.
    pub passwords: RawPasswords,
    /// The parameters of password hashes (Argon2id).
    pub hashing: RawHashing,
    /// The limits of the connections to the port.
    pub limits: RawPortLimits,
    /// The external OpenID Connect providers by name. The name is the origin of the provider's users.
    pub providers: BTreeMap<String, RawProvider>,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// PEM file of the certificate, which must be valid for the hosts of `external_url` and `login_url`.
    pub cert: PathBuf,
    /// PEM file of the certificate's key.
    pub key: PathBuf,
    /// PEM file of the stack's CA. Connections are reserved for callers with a certificate of this CA; empty: none are reserved.
    pub ca: PathBuf,
}

/// The life times of tokens.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawTokens {
    /// How long an access token is valid if its client names no time.
    #[setting(default = "20m", min = "10s", max = self.longest_access)]
    pub access: Duration,
    /// The longest time that a client may name for its access tokens. A retired signing key stays published for this time.
    #[setting(default = "24h", min = "10s", max = Duration::from_secs(LONGEST_VALIDITY.unsigned_abs()))]
    pub longest_access: Duration,
    /// How long a refresh token is valid if its client names no time.
    #[setting(default = "30d", min = "10s", max = "3660d")]
    pub refresh: Duration,
    /// Whether a refresh token can be used only once. A token that is used again then revokes its successors.
    pub rotate_refresh: bool,
    /// How long an authorization code is valid.
    #[setting(default = "2m", min = "5s", max = "10m")]
    pub code: Duration,
    /// How long a one-time passcode is valid, which `cf login --sso` asks for.
    #[setting(default = "5m", min = "5s", max = "1h")]
    pub passcode: Duration,
    /// The age at which a new key replaces the present signing key; 0: never.
    #[setting(
        default = "90d",
        allowed("0 or at least 1h", |rotation| rotation.is_zero() || *rotation >= Duration::from_secs(3600))
    )]
    pub key_rotation: Duration,
}

/// The life times of browser sessions.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawSessions {
    /// The time without a request after which a session ends.
    #[setting(default = "30m", min = "1m", max = "30d")]
    pub idle: Duration,
    /// The longest time that a session lasts.
    #[setting(default = "12h", min = "1m", max = "30d")]
    pub longest: Duration,
}

/// The limits of failed logins.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawLockout {
    /// The number of failed logins that locks a user name.
    #[setting(default = 5, min = 1, max = 1000)]
    pub attempts: u32,
    /// The time within which these failures are counted.
    #[setting(default = "1h", min = "1s", max = "7d")]
    pub window: Duration,
    /// How long a user name stays locked.
    #[setting(default = "5m", min = "1s", max = "7d")]
    pub lock: Duration,
}

/// The rules for new passwords.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawPasswords {
    /// The fewest characters of a new password. Existing passwords stay valid.
    #[setting(default = 8, min = 1, max = 128)]
    pub shortest: usize,
}

/// The parameters of password hashes (Argon2id).
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct RawHashing {
    /// The memory of one hash. Use at least 19MiB in production.
    #[setting(default = "19MiB", min = "64KiB", max = "1GiB")]
    pub memory: ByteSize,
    /// The passes of one hash over its memory.
    #[setting(default = 2, min = 1, max = 32)]
    pub passes: u32,
    /// The number of threads that hash; 0: half of the cores.
    #[setting(max = 64)]
    pub threads: usize,
    /// The number of requests that may wait for a thread; further ones are answered with 503 and `Retry-After`.
    #[setting(default = 256, min = 1, max = 10_000)]
    pub queue: usize,
}

/// Serializes a database URL. Only the URL of a file is written out, because the URL of a server may contain a password.
fn without_password<S: serde::Serializer>(url: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    if url.expose().starts_with("sqlite://") {
        serializer.serialize_str(url.expose())
    } else {
        url.serialize(serializer)
    }
}
