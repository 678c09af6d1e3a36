//! The interface by which every public server asks who the bearer of a token is.

use std::fmt::Debug;
use std::pin::Pin;

use crate::{Caller, Denied};

/// The answer of an authorizer, which may have to wait for an answer of UAA.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Caller, Denied>> + Send + 'a>>;

/// Decides which sources the bearer of a token may read. The token is given as the client sent it
/// ([`crate::credentials()`]), with or without `bearer `.
pub trait Authorizer: Debug + Send + Sync {
    /// The bearer of the token, with all that it may read, which may be nothing.
    fn caller<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a>;

    /// The bearer of the token, if it may open the firehose.
    fn firehose<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(async move {
            let caller = self.caller(token).await?;
            if caller.may_open_firehose() {
                Ok(caller)
            } else {
                Err(Denied::Forbidden)
            }
        })
    }

    /// The bearer of the token, if it may read this source. Otherwise the answer is [`Denied::NotFound`], because the
    /// bearer shall not learn whether the source exists.
    fn source<'a>(&'a self, token: Option<&'a str>, source_id: &'a str) -> Verdict<'a> {
        Box::pin(async move {
            let caller = self.caller(token).await?;
            if caller.may_read(source_id) {
                Ok(caller)
            } else {
                Err(Denied::NotFound)
            }
        })
    }
}

/// The authorizer that lets every caller read everything: the original's `DISABLE_ACCESS_CONTROL`, for tests and closed
/// networks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unchecked;

impl Authorizer for Unchecked {
    fn caller<'a>(&'a self, _token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(async { Ok(Caller::new("anybody", crate::Scope::Everything)) })
    }
}
