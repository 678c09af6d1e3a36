//! A subscription as the feed of a stream.

use std::sync::Arc;
use std::time::Duration;

use weir_flow::{Ledger, Parcel};
use weir_rpc::subscriber::Subscription;

use super::session::Feed;
use crate::metrics::Metrics;

/// Acknowledgements leave every 20 ms. A subscription that ends before its last ones have left would be counted as lost
/// by the doppler, though its client has them.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_millis(100);

/// What the dopplers send for one stream.
#[derive(Debug)]
pub(crate) struct SubscriptionFeed {
    pub(crate) subscription: Subscription,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) metrics: Arc<Metrics>,
}

impl SubscriptionFeed {
    fn arrived(&self, parcel: &Parcel) {
        self.metrics.arrived(parcel.batch.len() as u64);
    }
}

impl Feed for SubscriptionFeed {
    async fn next(&mut self) -> Parcel {
        let parcel = self.subscription.next().await.into_parcel(&self.ledger);
        self.arrived(&parcel);
        parcel
    }

    fn try_next(&mut self) -> Option<Parcel> {
        let parcel = self.subscription.try_next()?.into_parcel(&self.ledger);
        self.arrived(&parcel);
        Some(parcel)
    }

    async fn close(self) {
        self.subscription.close();
        tokio::time::sleep(LAST_ACKNOWLEDGEMENTS).await;
    }
}
