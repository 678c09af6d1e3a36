//! Administration over HTTPS.
