//! SQL over HTTP. (CACHE: this is a place holder by LEAD so that the rest compiles; replace it whole.)

use std::sync::Arc;

use axum::Router;
use weir_auth::Authorizer;
use weir_log_cache_store::Store;

use crate::{Error, SqlConfig};

#[derive(Debug)]
pub(crate) struct Sql;

impl Sql {
    pub(crate) fn start(_: &Store, _: &SqlConfig, _: Arc<dyn Authorizer>) -> Result<Self, Error> {
        Ok(Self)
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
    }
}
