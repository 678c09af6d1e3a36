//! The UAA: users, groups and clients, and tokens for them by OAuth 2 and OpenID Connect.
//!
//! ```text
//! cf CLI, uaac, weir ─ POST /oauth/token ─┐                ┌─ users, clients, codes, refresh tokens ─ database
//! browsers ─ /login, /oauth/authorize ────┼─ HTTPS ─▶ UAA ─┼─ signing keys, sealed ─ database
//! components ─ /token_keys, revocations ──┘                └─ passwords ─ Argon2id, threads of their own
//! ```
//!
//! - `http` has the endpoints, a file each; `http/token` the grants. What they answer is what the cf CLI, uaac and
//!   the log components read (contract "UAA").
//! - `issue` makes tokens: RS256, signed by the present key of `keys`; retired keys stay published until their last token
//!   is over.
//! - `revoked` knows which tokens do not count any more; verifiers read the same by `GET /weir/v1/revocations`.
//! - `store` is the one place that speaks SQL, on SQLite, PostgreSQL or MySQL; several UAAs may share a database.
//!
//! Limits: forms of 64 KiB, bodies of 1 MiB, a bounded queue for hashing (then 503 with `Retry-After`), 4 attempts at a
//! time for one user name (then 429). No secret is in a log, an error or a URL.

mod admission;
mod app;
mod config;
mod error;
mod external;
#[doc(hidden)]
pub mod fuzzing;
mod hashing;
mod http;
mod issue;
mod keys;
mod login;
mod metrics;
mod private_file;
mod refusal;
mod revoked;
mod scopes;
mod secret_cache;
mod secrets;
mod seed;
mod server;
mod store;

pub use config::{
    Config, HashingConfig, LockoutConfig, Provider, RawConfig, RawHashing, RawIdentity, RawLockout, RawPasswords,
    RawProvider, RawSessions, RawTokens, TokensConfig,
};
pub use error::{Error, FileError};
pub use seed::FirstStart;
pub use server::Server;
