//! The log cache's syslog server: RFC 5424 in, envelopes to the log cache.
