//! The UAA: users, groups and clients, and tokens for them by OAuth 2 and OpenID Connect.
//!
//! ```text
//! cf CLI, uaac, weir ─ POST /oauth/token ─┐                ┌─ users, clients, codes, refresh tokens ─ database
//! browsers ─ /login, /oauth/authorize ────┼─ HTTPS ─▶ UAA ─┼─ signing keys, sealed ─ database
//! components ─ /token_keys, revocations ──┘                └─ passwords ─ Argon2id, threads of their own
//! ```
//!
//! `http` has the endpoints, a file each; `http/token` the grants. What they answer is what the cf CLI, uaac and the log
//! components read (contract "UAA"). What they do is `weir-platform-uaa-core`, what is kept `weir-platform-uaa-store`.
//!
//! Limits: forms of 64 KiB, bodies of 1 MiB, a bounded line for hashing (then 503 with `Retry-After`), 4 attempts at a time
//! for one user name (then 429). No secret is in a log, an error or a URL.

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
