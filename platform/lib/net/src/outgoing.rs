//! Outgoing gRPC messages as the body of a request or an answer.
//!
//! Large parts are handed to HTTP/2 without a copy. Small parts, and the headers of messages, are gathered in between,
//! so that a hundred small messages do not cost a data frame each.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use http::HeaderMap;
use tonic::Status;

use crate::frame::Frame;
use crate::port::UnderWay;

/// The size in bytes from which a part is not copied.
const LARGE: usize = 8 * 1024;

/// The size in bytes up to which small parts are gathered while more messages are ready.
const GATHER: usize = 64 * 1024;

/// A stream of messages in the form of an HTTP body.
#[derive(Debug)]
pub(crate) struct Outgoing<S> {
    frames: S,
    /// Whether trailers with a status end the body, as they do on the server's side of a call.
    trailers: bool,
    ready: VecDeque<Bytes>,
    small: BytesMut,
    status: Option<Status>,
    ended: bool,
    /// Marks the connection of a server as busy until the answer was sent.
    _under_way: Option<UnderWay>,
}

impl<S> Outgoing<S> {
    /// The body of a client's request.
    pub(crate) fn request(frames: S) -> Self {
        Self::new(frames, false, None)
    }

    /// The body of a server's answer to a call that is `under_way` until the answer was sent.
    pub(crate) fn answer(frames: S, under_way: Option<UnderWay>) -> Self {
        Self::new(frames, true, under_way)
    }

    fn new(frames: S, trailers: bool, under_way: Option<UnderWay>) -> Self {
        Self {
            frames,
            trailers,
            ready: VecDeque::new(),
            small: BytesMut::new(),
            status: None,
            ended: false,
            _under_way: under_way,
        }
    }

    fn push(&mut self, frame: Frame) {
        // The flag of a message that is not compressed.
        self.small.put_u8(0);
        // The length cannot be larger than 4 GiB: batches are limited to far less.
        self.small.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        for part in frame.into_parts() {
            if part.len() < LARGE {
                self.small.extend_from_slice(&part);
            } else {
                self.flush();
                self.ready.push_back(part);
            }
        }
    }

    /// Makes a data frame of the parts that were gathered.
    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.ready.push_back(self.small.split().freeze());
        }
    }
}

impl<S: Stream<Item = Result<Frame, Status>> + Unpin> http_body::Body for Outgoing<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(data) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(http_body::Frame::data(data))));
            }
            if this.ended {
                let Some(status) = this.status.take() else {
                    return Poll::Ready(None);
                };
                let mut trailers = HeaderMap::new();
                return match status.add_header(&mut trailers) {
                    Ok(()) => Poll::Ready(Some(Ok(http_body::Frame::trailers(trailers)))),
                    Err(status) => Poll::Ready(Some(Err(status))),
                };
            }
            match Pin::new(&mut this.frames).poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.push(frame);
                    if this.small.len() >= GATHER {
                        this.flush();
                    }
                }
                // While more messages are ready they are gathered; when none is, what was gathered is sent without a
                // delay.
                Poll::Pending if this.small.is_empty() => return Poll::Pending,
                Poll::Pending => this.flush(),
                Poll::Ready(end) => {
                    this.flush();
                    this.ended = true;
                    let status = end.and_then(Result::err).unwrap_or_else(|| Status::ok(""));
                    this.status = this.trailers.then_some(status);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::BodyExt;
    use tonic::Code;

    use super::*;

    fn large() -> Bytes {
        Bytes::from(vec![9; LARGE])
    }

    /// Small messages share a data frame, a large part is passed on without a copy, and the trailers come last.
    #[tokio::test]
    async fn small_messages_are_gathered_and_large_parts_are_not_copied() {
        let large = large();
        let frames = [
            Frame::from(vec![1, 2]),
            Frame::from(Bytes::new()),
            Frame::parts(vec![Bytes::from_static(b"head"), large.clone()]),
            Frame::from(vec![3]),
        ];
        let body = Outgoing::answer(futures::stream::iter(frames.map(Ok)), None);
        let frames: Vec<_> = body.into_data_stream().collect::<Vec<_>>().await;
        let pieces: Vec<Bytes> = frames.into_iter().map(|piece| piece.expect("no error")).collect();
        assert_eq!(pieces.len(), 3);
        let len = u32::try_from(LARGE + 4).expect("small").to_be_bytes();
        assert_eq!(
            pieces[0],
            [&[0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0][..], &len, b"head"].concat()
        );
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(pieces[2], [0, 0, 0, 0, 1, 3][..]);
    }

    /// An error of the stream becomes the status in the trailers, after the messages that came before it.
    #[tokio::test]
    async fn errors_come_last() {
        let frames = [Ok(Frame::from(vec![1])), Err(Status::not_found("gone"))];
        let body = Outgoing::answer(futures::stream::iter(frames), None);
        let collected = body.collect().await.expect("no transport error");
        let trailers = collected.trailers().expect("trailers").clone();
        assert_eq!(
            Status::from_header_map(&trailers).map(|status| status.code()),
            Some(Code::NotFound)
        );
        assert_eq!(collected.to_bytes(), [0, 0, 0, 0, 1, 1][..]);
    }
}
