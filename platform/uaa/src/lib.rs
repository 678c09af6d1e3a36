//! The UAA.
