//! The effective configuration as people read it.

use serde::Serialize;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// A configuration cannot be written as TOML: a fault of its type.
#[derive(Debug, Error)]
#[error("configuration cannot be shown as TOML")]
pub struct RenderError(#[from] toml::ser::Error);

impl Classify for RenderError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// The configuration as TOML that would load again, but for its secrets, which are redacted. Keys that are `None` are
/// left out.
///
/// # Errors
/// When the type has no TOML form, such as a map with keys that are no text.
pub fn render<R: Serialize>(config: &R) -> Result<String, RenderError> {
    Ok(toml::to_string(config)?)
}
