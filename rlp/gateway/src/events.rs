//! Server-sent events in the exact form of the original (logging §10).
//!
//! Clients parse them line by line: the name of the event first, one `data:` line with a space after the colon, and an
//! empty line at the end. An id follows the data, where clients that do not expect it ignore it.

use std::io::Write as _;

use bytes::Bytes;
use serde_json::json;
use weir_envelope::view::EnvelopeView;

/// The number of bytes in an event besides the JSON.
const FRAME: usize = 64;

/// Returns an event with envelopes as one line of JSON, and with an id if there is one. `bytes` is their encoded size.
pub(crate) fn data<'a>(
    envelopes: impl Iterator<Item = EnvelopeView<'a>>,
    bytes: usize,
    id: Option<(&str, u64)>,
) -> Bytes {
    // With Base64, field names and quotes, the JSON takes about twice the size of the protobuf encoding.
    let mut event = Vec::with_capacity(bytes * 2 + FRAME);
    event.extend_from_slice(b"data: ");
    weir_envelope::json::write_batch(envelopes, &mut event);
    if let Some((session, sequence)) = id {
        write!(event, "\nid: {session}.{sequence}").expect("writing to memory cannot fail");
    }
    event.extend_from_slice(b"\n\n");
    // The event may wait for its client for a long time, so it should not hold more memory than it needs.
    event.shrink_to_fit();
    event.into()
}

/// Returns a heartbeat with the time in seconds since the epoch.
pub(crate) fn heartbeat(now_seconds: i64) -> Bytes {
    format!("event: heartbeat\ndata: {now_seconds}\n\n").into()
}

/// Returns the last event of a stream that ends in order.
pub(crate) fn closing(why: &str) -> Bytes {
    format!("event: closing\ndata: {why}\n\n").into()
}

/// Returns the last event of a stream that fails. The original ends such a stream without an event.
pub(crate) fn error(name: &str, message: &str) -> Bytes {
    let message = json!(message);
    format!("event: error\ndata: {{\"message\":{message},\"error\":\"{name}\"}}\n\n").into()
}

/// Returns an event that tells a reconnected client that not everything it missed is available.
pub(crate) fn gap(message: &str) -> Bytes {
    let message = json!(message);
    format!("event: gap\ndata: {{\"message\":{message}}}\n\n").into()
}

#[cfg(test)]
mod tests {
    use weir_envelope::batch::{Batch, BatchBuilder};
    use weir_envelope::encode::Writer;
    use weir_envelope::view::Stream;

    use super::*;

    fn batch() -> Batch {
        let mut builder = BatchBuilder::new();
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer
                .timestamp(7)
                .source_id("app")
                .instance_id("0")
                .tag("k", "line\nbreak");
            writer.log(b"a\nb\r\n\r\ndata: x\n\n", Stream::Err);
        });
        builder.push_with(|out| {
            Writer::new(out)
                .timestamp(8)
                .source_id("\u{2028}id: 1\n\n")
                .counter("c\n\nevent: closing", 1, 2);
        });
        builder.finish()
    }

    /// Events are exact to the byte, and no content of an envelope can end a line or an event.
    #[test]
    fn frames_are_exact() {
        let batch = batch();
        let data = data(batch.iter().map(|envelope| envelope.view()), batch.byte_len(), None);
        assert_eq!(
            std::str::from_utf8(&data).unwrap(),
            "data: {\"batch\":[{\"timestamp\":\"7\",\"source_id\":\"app\",\"instance_id\":\"0\",\"deprecated_tags\":{},\
             \"tags\":{\"k\":\"line\\nbreak\"},\"log\":{\"payload\":\"YQpiDQoNCmRhdGE6IHgKCg==\",\"type\":\"ERR\"}},\
             {\"timestamp\":\"8\",\"source_id\":\"\u{2028}id: 1\\n\\n\",\"instance_id\":\"\",\"deprecated_tags\":{},\
             \"tags\":{},\"counter\":{\"name\":\"c\\n\\nevent: closing\",\"delta\":\"1\",\"total\":\"2\"}}]}\n\n"
        );
        assert_eq!(&heartbeat(1_700_000_000)[..], b"event: heartbeat\ndata: 1700000000\n\n");
        assert_eq!(
            &closing("closing due to stream timeout")[..],
            b"event: closing\ndata: closing due to stream timeout\n\n"
        );
        assert_eq!(
            &error("streaming_unavailable", "say \"why\"\n\n")[..],
            b"event: error\ndata: {\"message\":\"say \\\"why\\\"\\n\\n\",\"error\":\"streaming_unavailable\"}\n\n"
        );
        assert_eq!(&gap("gone")[..], b"event: gap\ndata: {\"message\":\"gone\"}\n\n");
    }

    /// The id follows the data.
    #[test]
    fn ids_come_last() {
        let event = data(std::iter::empty(), 0, Some(("abc", 12)));
        assert_eq!(&event[..], b"data: {\"batch\":[]}\nid: abc.12\n\n");
    }
}
