//! The traffic controller: WebSocket firehose and app streams.
