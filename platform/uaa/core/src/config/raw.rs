//! The configuration as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, ListenAddr, Secret};
use weir_net::RawPortLimits;

use super::RawProvider;

type Span = weir_config::Duration;

/// The configuration as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where to serve HTTPS.
    pub listen: ListenAddr,
    /// The certificate shown to everybody.
    pub identity: RawIdentity,
    /// The address that clients know: `https://uaa.<system domain>`; empty for `https://` and where it listens.
    pub external_url: String,
    /// The address of the login pages, if it is another.
    pub login_url: String,
    /// Where users, clients and tokens are kept.
    #[serde(serialize_with = "without_password")]
    pub database: Secret<String>,
    /// The first user, who may do everything.
    pub admin_user: String,
    /// The file with that user's password.
    pub admin_password_file: PathBuf,
    /// The file with the secrets of the clients that are there from the start.
    pub client_secrets_file: PathBuf,
    /// The file with the key that seals signing keys in the database.
    pub master_key_file: PathBuf,
    /// How long tokens are good for.
    pub tokens: RawTokens,
    /// How long a browser stays logged in.
    pub sessions: RawSessions,
    /// What happens after repeated failures to log in.
    pub lockout: RawLockout,
    /// What a password must be.
    pub passwords: RawPasswords,
    /// How passwords are stored.
    pub hashing: RawHashing,
    /// Bounds of what clients may use.
    pub limits: RawPortLimits,
    /// External OpenID Connect providers, by the name that becomes the origin of their users.
    pub providers: BTreeMap<String, RawProvider>,
}

/// A certificate and its key as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the CA whose certificates the parts of the stack show; empty: nobody is asked for one.
    pub ca: PathBuf,
}

/// Life times of tokens as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTokens {
    /// An access token, unless its client says otherwise.
    pub access: Span,
    /// The longest that a client may say.
    pub longest_access: Span,
    /// A refresh token, unless its client says otherwise.
    pub refresh: Span,
    /// Whether a refresh token is good for one refresh only.
    pub rotate_refresh: bool,
    /// An authorization code.
    pub code: Span,
    /// A one-time passcode.
    pub passcode: Span,
    /// When a new signing key replaces the present one; `0` for never.
    pub key_rotation: Span,
}

impl Default for RawTokens {
    fn default() -> Self {
        Self {
            access: Span::from_secs(20 * 60),
            longest_access: Span::from_secs(24 * 3600),
            refresh: Span::from_secs(30 * 24 * 3600),
            rotate_refresh: false,
            code: Span::from_secs(2 * 60),
            passcode: Span::from_secs(5 * 60),
            key_rotation: Span::from_secs(90 * 24 * 3600),
        }
    }
}

/// Browser sessions as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSessions {
    /// After this long without a request.
    pub idle: Span,
    /// In any case.
    pub longest: Span,
}

impl Default for RawSessions {
    fn default() -> Self {
        Self {
            idle: Span::from_secs(30 * 60),
            longest: Span::from_secs(12 * 3600),
        }
    }
}

/// The lockout policy as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLockout {
    /// How many failures lock.
    pub attempts: u32,
    /// Within what time.
    pub window: Span,
    /// For how long.
    pub lock: Span,
}

impl Default for RawLockout {
    fn default() -> Self {
        Self {
            attempts: 5,
            window: Span::from_secs(3600),
            lock: Span::from_secs(300),
        }
    }
}

/// The password policy as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPasswords {
    /// Fewest characters.
    pub shortest: usize,
}

impl Default for RawPasswords {
    fn default() -> Self {
        Self { shortest: 8 }
    }
}

/// Argon2id as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHashing {
    /// Memory of one hash.
    pub memory: ByteSize,
    /// Passes over it.
    pub passes: u32,
    /// Threads; 0 for half of the cores.
    pub threads: usize,
    /// How many may wait.
    pub queue: usize,
}

impl Default for RawHashing {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(19),
            passes: 2,
            threads: 0,
            queue: 256,
        }
    }
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            listen: ListenAddr::loopback(8443),
            identity: RawIdentity::default(),
            external_url: String::new(),
            login_url: String::new(),
            database: Secret::new("sqlite://uaa.db".to_owned()),
            admin_user: "admin".to_owned(),
            admin_password_file: PathBuf::from("admin-password"),
            client_secrets_file: PathBuf::from("client-secrets.json"),
            master_key_file: PathBuf::from("uaa-master-key"),
            tokens: RawTokens::default(),
            sessions: RawSessions::default(),
            lockout: RawLockout::default(),
            passwords: RawPasswords::default(),
            hashing: RawHashing::default(),
            limits: RawPortLimits::default(),
            providers: BTreeMap::new(),
        }
    }
}

/// An address with a password in it is shown to nobody; one of a file may be written into a configuration file.
fn without_password<S: serde::Serializer>(url: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    if url.expose().starts_with("sqlite://") {
        serializer.serialize_str(url.expose())
    } else {
        url.serialize(serializer)
    }
}
