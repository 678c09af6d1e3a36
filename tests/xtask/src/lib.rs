//! Daily chores, each a library function, a subcommand of the binary, and a test that CI runs:
//!
//! - [`citations`]: finds citations of the contracts that lead nowhere.
//! - [`proto`]: generates the bindings of `weir-proto` from its `.proto` files.
//! - [`structure`]: refuses dependencies that point up.

use std::path::{Path, PathBuf};

pub mod citations;
pub mod proto;
pub mod structure;

/// The root of the workspace this crate was built in.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
