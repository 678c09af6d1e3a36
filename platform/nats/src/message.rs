//! A message on its way: what every subscriber is sent of it behind its own subscription id.

use std::cell::OnceCell;

use crate::protocol::Publish;

/// A message on its way to its subscribers.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a [u8],
    /// How many bytes of the body are the header.
    pub(crate) header: usize,
    /// How many bytes the body has.
    pub(crate) size: usize,
    /// What follows the sid.
    pub(crate) tail: &'a [u8],
    publish: &'a Publish<'a>,
    without_header: OnceCell<Vec<u8>>,
}

impl<'a> Message<'a> {
    /// The message as it was published. `rewritten` is used where its own bytes cannot be.
    pub(crate) fn of(publish: &'a Publish<'a>, rewritten: &'a mut Vec<u8>) -> Self {
        Self {
            subject: publish.subject,
            header: publish.header,
            size: publish.body.len(),
            tail: publish.tail.unwrap_or_else(|| {
                rewritten.clear();
                write_tail(rewritten, publish.reply, publish.header, publish.body);
                rewritten
            }),
            publish,
            without_header: OnceCell::new(),
        }
    }

    /// What follows the sid for a client that takes no headers.
    pub(crate) fn tail_without_header(&self) -> &[u8] {
        self.without_header.get_or_init(|| {
            let Publish {
                reply, header, body, ..
            } = *self.publish;
            let mut tail = Vec::new();
            write_tail(&mut tail, reply, 0, &body[header..]);
            tail
        })
    }
}

/// Writes what follows the sid of a message.
fn write_tail(tail: &mut Vec<u8>, reply: Option<&[u8]>, header: usize, body: &[u8]) {
    if let Some(reply) = reply {
        tail.extend_from_slice(reply);
        tail.push(b' ');
    }
    if header > 0 {
        tail.extend_from_slice(format!("{header} ").as_bytes());
    }
    tail.extend_from_slice(format!("{}\r\n", body.len()).as_bytes());
    tail.extend_from_slice(body);
    tail.extend_from_slice(b"\r\n");
}
