//! The effective configuration as TOML text.

use serde::Serialize;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// The error of a configuration whose type cannot be written as TOML.
#[derive(Debug, Error)]
#[error("configuration cannot be shown as TOML")]
pub struct RenderError(#[from] toml::ser::Error);

impl Classify for RenderError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// Writes a configuration as TOML that can be loaded again, except for its secrets, which are redacted. Keys whose
/// value is `None` are left out.
///
/// # Errors
/// When the type has no TOML form, such as a map whose keys are not text.
pub fn render<R: Serialize>(config: &R) -> Result<String, RenderError> {
    Ok(toml::to_string(config)?)
}
