//! Bodies that are read when their handler wants them: after it knows who asks, and no further than the route takes.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use weir_net::read_body;

use super::ApiError;

/// Largest form, and largest JSON of a user, a member or a secret.
pub(crate) const SMALL: usize = 64 << 10;

/// Largest JSON of a client, which may have many redirect URIs.
pub(crate) const CLIENT: usize = 256 << 10;

/// Largest JSON of a group, which may name thousands of members.
pub(crate) const GROUP: usize = 1 << 20;

/// A request's body that nobody has read yet.
#[derive(Debug)]
pub(crate) struct Unread(Body);

impl<S: Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request.into_body()))
    }
}

impl Unread {
    /// Reads the body, of at most so many bytes.
    pub(crate) async fn within(self, most: usize) -> Result<Bytes, ApiError> {
        read_body(self.0, most).await.map_err(ApiError::from)
    }
}
