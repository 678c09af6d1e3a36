//! What a syslog drain is, and how it is reached.
