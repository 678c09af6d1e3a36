//! The doppler: gRPC ingress and egress around the router.
