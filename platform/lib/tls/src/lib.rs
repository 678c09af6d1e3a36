//! The stack's own CA, mTLS configurations and certificate reload.
