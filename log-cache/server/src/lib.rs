//! The log cache: gRPC, REST and SQL faces over the store.
