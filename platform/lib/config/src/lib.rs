//! Reads a component's configuration from TOML, the environment and flags, and reports all problems at once.
//!
//! A setting is written once, as a field:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use weir_config::{ListenAddr, Setting};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, Setting)]
//! #[serde(deny_unknown_fields, default)]
//! struct RawConfig {
//!     /// Address on which gRPC is served.
//!     #[setting(default = "127.0.0.1:8083")]
//!     listen: ListenAddr,
//!     /// Most client streams at a time.
//!     #[setting(default = 1000, min = 1, max = 100_000)]
//!     max_streams: usize,
//! }
//!
//! assert_eq!(RawConfig::default().max_streams, 1000);
//! assert!(weir_config::example::<RawConfig>()?.contains("# Must be 1 to 100000.\nmax_streams = 1000\n"));
//! # Ok::<(), weir_config::RenderError>(())
//! ```
//!
//! The derive [`Setting`](macro@Setting) makes the defaults, the checks and the example from these fields. A component
//! turns such a `RawConfig` into its `Config` by `TryFrom<RawConfig, Error = Problems>`, which begins with
//! [`Setting::problems`] and adds the checks that only the component can make. No code behind `main` uses the raw form.
//! [`Loader`] merges the sources, strongest first:
//!
//! 1. flags: `ingress.listen=127.0.0.1:0`
//! 2. the environment: `DOPPLER__INGRESS__LISTEN=127.0.0.1:0` (component in upper case, `-` as `_`, `__` between
//!    levels)
//! 3. the file
//! 4. the defaults
//!
//! It reports every [`Problem`] with the key, the value, the place where it was set, and the allowed values. An unknown
//! key is a problem too, which names the known key that is most like it. [`render()`] prints the effective
//! configuration, and [`example()`] the commented defaults. A [`Secret`] is redacted in both and everywhere else.

mod de;
mod example;
mod load;
mod node;
mod problem;
mod render;
mod setting;
mod value;
pub mod yaml;

pub use example::example;
pub use load::{Loader, environment, load};
pub use problem::{Problem, Problems};
pub use render::{RenderError, render};
#[doc(hidden)]
pub use setting::derived;
pub use setting::{Key, Setting, Shape};
pub use value::{ByteSize, Duration, ListenAddr, PeerAddr, Secret, ValueError};
pub use weir_config_derive::Setting;
