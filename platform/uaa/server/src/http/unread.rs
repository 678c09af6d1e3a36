//! Bodies that their handler reads, after it has authenticated the caller, and up to the limit of the route.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use weir_net::read_body;

use super::ApiError;

/// The most bytes of a form, and of the JSON of a user, a member or a secret.
pub(crate) const SMALL: usize = 64 << 10;

/// The most bytes of the JSON of a client, which may have many redirect URIs.
pub(crate) const CLIENT: usize = 256 << 10;

/// The most bytes of the JSON of a group, which may name 1,000 members.
pub(crate) const GROUP: usize = 1 << 20;

/// The body of a request that was not read yet.
#[derive(Debug)]
pub(crate) struct UnreadBody(Body);

impl<S: Sync> FromRequest<S> for UnreadBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request.into_body()))
    }
}

impl UnreadBody {
    /// Reads the body, of at most `most` bytes.
    pub(crate) async fn within(self, most: usize) -> Result<Bytes, ApiError> {
        read_body(self.0, most).await.map_err(ApiError::from)
    }
}
