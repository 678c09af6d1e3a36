//! Generated protobuf messages and services, checked in.
