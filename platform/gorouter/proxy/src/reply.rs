//! The body of every answer, which carries the request's account to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::account::Account;
use crate::backend::AnswerBody;

/// What an answer consists of.
#[derive(Debug)]
pub(crate) enum Content {
    /// Text of the router; nothing once it was sent.
    Text(Bytes),
    /// What a backend sends.
    Backend(AnswerBody),
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    content: Content,
    /// `None` where a tunnel carries the account on.
    account: Option<Account>,
}

impl Reply {
    /// An answer of this content.
    pub(crate) const fn new(content: Content, account: Option<Account>) -> Self {
        Self { content, account }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.content {
            Content::Text(text) if text.is_empty() => None,
            Content::Text(text) => Some(Ok(Frame::data(std::mem::take(text)))),
            Content::Backend(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(account)) = (frame.data_ref(), &mut this.account)
        {
            account.sends(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_empty(),
            Content::Backend(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
            Content::Backend(body) => body.size_hint(),
        }
    }
}
