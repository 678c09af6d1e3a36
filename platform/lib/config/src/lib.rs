//! TOML, environment and flags into validated values, all problems at once.
//!
//! A component has a `RawConfig` (serde, `#[serde(default, deny_unknown_fields)]`, `Default`, made of the typed values
//! here) and a `Config` with `TryFrom<RawConfig, Error = Problems>`; nothing past `main` sees the raw one. [`Loader`]
//! merges, strongest first:
//!
//! 1. flags: `ingress.listen=127.0.0.1:0`
//! 2. the environment: `DOPPLER__INGRESS__LISTEN=127.0.0.1:0` (component in upper case, `-` as `_`, `__` between levels),
//!    then names that operators already set for the Go job
//! 3. the file
//! 4. the defaults
//!
//! and reports every [`Problem`] with key, value, where it was set and what is allowed. A key nobody knows is a problem
//! too, with the nearest key that exists. [`render()`] prints the effective configuration, [`example()`] the commented
//! defaults; a [`Secret`] is redacted in both and everywhere else.

mod de;
mod example;
mod load;
mod node;
mod problem;
mod render;
mod value;

pub use example::{Example, example};
pub use load::{Loader, environment, load};
pub use problem::{Problem, Problems};
pub use render::{RenderError, render};
pub use value::{ByteSize, Duration, ListenAddr, PeerAddr, Secret, ValueError};
