//! RFC 5424 messages and their RFC 6587 framing, to and from envelopes.
