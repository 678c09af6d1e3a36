//! The question every public face asks.

use std::fmt::Debug;
use std::pin::Pin;

use crate::{Caller, Denied};

/// The answer, when it is there: an authorizer may have to ask UAA or the Cloud Controller.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Caller, Denied>> + Send + 'a>>;

/// Decides who may read what. `token` is what the client sent ([`crate::credentials()`]), with or without `bearer `.
pub trait Authorizer: Debug + Send + Sync {
    /// Whether the bearer may read everything.
    fn firehose<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a>;

    /// Whether the bearer may read this source. A source that the bearer may not know about is [`Denied::NotFound`].
    fn source<'a>(&'a self, token: Option<&'a str>, source_id: &'a str) -> Verdict<'a>;
}

/// Lets everybody read everything: the original's `DISABLE_ACCESS_CONTROL`, for tests and closed networks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unchecked;

impl Authorizer for Unchecked {
    fn firehose<'a>(&'a self, _token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(async { Ok(Caller::new("anybody", crate::Scope::Everything)) })
    }

    fn source<'a>(&'a self, _token: Option<&'a str>, _source_id: &'a str) -> Verdict<'a> {
        self.firehose(None)
    }
}
