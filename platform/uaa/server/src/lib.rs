//! The HTTP server of the UAA: users, groups and clients, and tokens for them by OAuth 2 and OpenID Connect.
//!
//! ```text
//! cf CLI, uaac, weir ─ POST /oauth/token ─┐                ┌─ users, clients, codes, refresh tokens ─ database
//! browsers ─ /login, /oauth/authorize ────┼─ HTTPS ─▶ UAA ─┼─ encrypted signing keys ─ database
//! components ─ /token_keys, revocations ──┘                └─ passwords ─ Argon2id on own threads
//! ```
//!
//! `http` has the endpoints, each in its own file, and `http/token` the grant types. Their answers are those that the cf CLI, uaac
//! and the log components expect. The domain logic is in `weir-platform-uaa-core`, the database in `weir-platform-uaa-store`.
//!
//! Limits: forms of 64 KiB, bodies of 1 MiB, a bounded queue for hashing (503 with `Retry-After` if it is full), and 4 attempts at
//! a time for one user name (429 above that). Logs, errors and URLs contain no secrets.

mod component;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod server;

pub use server::Server;
pub use weir_platform_uaa_core::config::{
    Config, HashingConfig, LockoutConfig, Provider, RawConfig, RawHashing, RawIdentity, RawLockout, RawPasswords,
    RawProvider, RawSessions, RawTokens, TokensConfig,
};
pub use weir_platform_uaa_core::error::{Error, FileError};
pub use weir_platform_uaa_core::seed::FirstStart;
