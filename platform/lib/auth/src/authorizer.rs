//! The question every public face asks.

use std::fmt::Debug;
use std::pin::Pin;

use crate::{Caller, Denied};

/// The answer, when it is there: an authorizer may have to wait for UAA's keys, or ask somebody.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Caller, Denied>> + Send + 'a>>;

/// Decides who may read what. `token` is what the client sent ([`crate::credentials()`]), with or without `bearer `.
pub trait Authorizer: Debug + Send + Sync {
    /// Who the bearer is, and all that it may read; which may be nothing.
    fn caller<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a>;

    /// Whether the bearer may open the firehose.
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

    /// Whether the bearer may read this source. One that the bearer may not know about is [`Denied::NotFound`].
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

/// Lets everybody read everything: the original's `DISABLE_ACCESS_CONTROL`, for tests and closed networks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unchecked;

impl Authorizer for Unchecked {
    fn caller<'a>(&'a self, _token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(async { Ok(Caller::new("anybody", crate::Scope::Everything)) })
    }
}
