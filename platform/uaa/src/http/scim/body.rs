//! JSON bodies, with an error that says what is wrong with them.

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use crate::http::ApiError;

/// Reads a JSON body. Members that we do not know are ignored, as clients send what they were once told.
pub(crate) fn json<T: DeserializeOwned>(body: Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(&body).map_err(|error| {
        // The text of the library names a place and a type, never a value.
        let place = format!("line {} column {}", error.line(), error.column());
        ApiError::invalid_scim(format!("The body is not readable at {place}"))
    })
}
