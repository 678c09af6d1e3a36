//! An endpoint in use.

use std::ops::Deref;
use std::sync::Arc;

use crate::endpoint::Endpoint;

/// An endpoint that serves a request. As long as it lives, the request counts among those in flight.
#[derive(Debug)]
pub struct Lease {
    endpoint: Arc<Endpoint>,
}

impl Lease {
    /// `None` if the endpoint serves `max` requests already; 0: any number.
    pub(super) fn take(endpoint: &Arc<Endpoint>, max: u32) -> Option<Self> {
        endpoint.take(max).then(|| Self {
            endpoint: Arc::clone(endpoint),
        })
    }
}

impl Deref for Lease {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.give_back();
    }
}
