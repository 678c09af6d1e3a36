//! gRPC over mTLS: the raw codec, servers, channels, and links with acknowledgements.
