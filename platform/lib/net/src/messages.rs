//! Incoming gRPC messages, which are cut out of HTTP/2 data frames.
//!
//! This follows gRPC's PROTOCOL-HTTP2: a message is a flag byte, a length of four bytes, and that many bytes. A message
//! that lies within one data frame, as a batch of Weir does, is a slice of the frame. Only a message that is spread
//! over several frames is copied.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body::Body as _;
use tonic::Status;
use tonic::body::Body;

use crate::port::budget::Charge;

/// The bytes before each message: a flag and a length.
const HEADER: usize = 5;

/// How one direction of a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client's messages end with the data.
    Plain,
    /// The server's messages end with trailers that carry the status of the call.
    Status,
}

/// The received messages of one direction of a call.
#[derive(Debug)]
pub struct Messages {
    body: Body,
    end: End,
    max_message: usize,
    /// The rest of the last data frame that was read.
    chunk: Bytes,
    /// The beginning of a message that is spread over several frames, with its header; empty otherwise.
    partial: BytesMut,
    /// The charge for the bytes in `partial`, at a server.
    held: Option<Charge>,
    ended: bool,
}

impl Messages {
    pub(crate) fn new(body: Body, end: End, max_message: usize) -> Self {
        Self {
            body,
            end,
            max_message,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            held: None,
            ended: false,
        }
    }

    /// Charges the bytes of a message to `held` while the message is incomplete.
    pub(crate) fn charged_to(self, held: Option<Charge>) -> Self {
        Self { held, ..self }
    }

    /// Waits for the next message. Returns `None` at the end of a call that succeeded. Cancel safe.
    pub async fn message(&mut self) -> Result<Option<Bytes>, Status> {
        self.next().await.transpose()
    }

    /// Cuts the next message out of what has arrived, if it is complete.
    fn cut(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            if self.chunk.len() >= HEADER {
                let length = self.length(&self.chunk)?;
                if self.chunk.len() - HEADER >= length {
                    self.chunk.advance(HEADER);
                    return Ok(Some(self.chunk.split_to(length)));
                }
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
        }
        // The message is spread over frames: first its header is gathered, then as many bytes as the header says.
        loop {
            let wanted = match self.partial.len() {
                0..HEADER => HEADER,
                _ => HEADER + self.length(&self.partial)?,
            };
            let missing = wanted - self.partial.len();
            if missing == 0 {
                let mut message = std::mem::take(&mut self.partial).freeze();
                message.advance(HEADER);
                if let Some(held) = &self.held {
                    // From here on the service holds the message, which accounts for it in its own queues.
                    held.clear();
                }
                return Ok(Some(message));
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
            let piece = self.chunk.split_to(missing.min(self.chunk.len()));
            if let Some(held) = &self.held {
                held.add(piece.len())
                    .map_err(|exceeded| Status::resource_exhausted(exceeded.to_string()))?;
            }
            self.partial.extend_from_slice(&piece);
        }
    }

    /// The length in the header at the front of `bytes`.
    fn length(&self, bytes: &[u8]) -> Result<usize, Status> {
        let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<HEADER>() else {
            return Err(Status::internal("the header of a message is not there"));
        };
        // No side offers `grpc-accept-encoding`, so a peer that follows gRPC does not compress.
        if flag != 0 {
            return Err(Status::unimplemented("compressed messages are not accepted"));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // Checked before a byte of the message is gathered.
        if length > self.max_message {
            let max = self.max_message;
            return Err(Status::resource_exhausted(format!(
                "message of {length} bytes is larger than {max} bytes"
            )));
        }
        Ok(length)
    }
}

impl Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            match this.cut() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(status) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
            let ended = match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.chunk = data;
                        continue;
                    }
                    Err(frame) => frame
                        .into_trailers()
                        .ok()
                        .and_then(|trailers| Status::from_header_map(&trailers)),
                },
                Some(Err(status)) => Some(status),
                None if this.end == End::Plain => None,
                None => Some(Status::unknown("the stream ended without a status")),
            };
            this.ended = true;
            return match ended {
                Some(status) if status.code() != tonic::Code::Ok => Poll::Ready(Some(Err(status))),
                _ if !this.partial.is_empty() => {
                    Poll::Ready(Some(Err(Status::internal("the stream ended within a message"))))
                }
                _ => Poll::Ready(None),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn encoded(messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.push(0);
            bytes.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    fn messages(bytes: &[u8], piece: usize) -> Messages {
        let pieces: Vec<_> = bytes
            .chunks(piece)
            .map(|piece| Ok::<_, Status>(http_body::Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        Messages::new(
            Body::new(StreamBody::new(futures::stream::iter(pieces))),
            End::Plain,
            1000,
        )
    }

    /// Messages arrive complete wherever data frames cut them.
    #[tokio::test]
    async fn frames_may_cut_messages_anywhere() {
        let long = vec![7; 300];
        let sent: [&[u8]; 5] = [b"one", b"", &long, b"", b"last"];
        let bytes = encoded(&sent);
        for piece in 1..bytes.len() + 1 {
            let received: Vec<Bytes> = messages(&bytes, piece)
                .map(|message| message.expect("well formed"))
                .collect()
                .await;
            assert_eq!(received, sent, "in pieces of {piece}");
        }
    }

    /// A compressed message, one that is too large, and an end within a message are errors that end the stream.
    #[tokio::test]
    async fn an_invalid_message_ends_the_stream() {
        for (bytes, code) in [
            (vec![1, 0, 0, 0, 0], tonic::Code::Unimplemented),
            (vec![0, 0xff, 0xff, 0xff, 0xff], tonic::Code::ResourceExhausted),
            (vec![0, 0, 0, 0, 9, 1], tonic::Code::Internal),
            (vec![0, 0], tonic::Code::Internal),
        ] {
            for piece in 1..=bytes.len() {
                let mut messages = messages(&bytes, piece);
                let error = messages.message().await.expect_err("refused");
                assert_eq!(error.code(), code);
                assert!(messages.next().await.is_none());
            }
        }
    }

    /// A message that is spread over several frames is charged until it is complete, and refused where the budget is
    /// used up.
    #[tokio::test]
    async fn an_incomplete_message_is_charged() {
        let bytes = encoded(&[&[1; 90], &[2; 90], &[3; 96]]);
        let mut messages = messages(&bytes, 50).charged_to(Some(Charge::within(100)));
        for _ in 0..2 {
            messages.message().await.expect("there is room").expect("a message");
        }
        let error = messages.message().await.expect_err("refused");
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        assert_eq!(
            error.message(),
            "requests under way on this connection hold more than `100` bytes"
        );
    }
}
