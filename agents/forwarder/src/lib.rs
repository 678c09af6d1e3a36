//! The forwarder agent: every envelope to every agent of this machine.
