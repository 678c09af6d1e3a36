//! A subscription as the feed of a stream.

use std::sync::Arc;
use std::time::Duration;

use weir_flow::{Ledger, Parcel};
use weir_rpc::subscriber::{Delivery, Refused, Subscription};

use super::outgoing::Arrival;
use super::session::Feed;
use crate::metrics::Metrics;

/// Acknowledgements leave every 20 ms. A subscription that ends before its last ones have left would be counted as lost
/// by the doppler, though its client has them.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_millis(100);

/// What the dopplers send for one stream.
#[derive(Debug)]
pub(crate) struct SubscriptionFeed {
    pub(crate) subscription: Subscription,
    /// A doppler's refusal that was seen where it could not be told.
    pub(crate) refused: Option<Refused>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) metrics: Arc<Metrics>,
}

impl SubscriptionFeed {
    fn arrival(&self, delivery: Delivery) -> Arrival {
        if let Some(envelopes) = delivery.envelopes {
            self.metrics.arrived(envelopes);
            return Arrival {
                message: delivery.message,
                receipt: delivery.receipt,
            };
        }
        // One of the original's dopplers: it may pass on anything.
        let Parcel { batch, receipts } = delivery.into_parcel(&self.ledger);
        self.metrics.arrived(batch.len() as u64);
        Arrival {
            message: batch.bytes().clone(),
            receipt: receipts.into_iter().next(),
        }
    }
}

impl Feed for SubscriptionFeed {
    async fn next(&mut self) -> Result<Arrival, Refused> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let delivery = self.subscription.next().await?;
        Ok(self.arrival(delivery))
    }

    fn try_next(&mut self) -> Option<Arrival> {
        match self.subscription.try_next()? {
            Ok(delivery) => Some(self.arrival(delivery)),
            Err(refused) => {
                self.refused = Some(refused);
                None
            }
        }
    }

    async fn close(self) {
        self.subscription.close();
        tokio::time::sleep(LAST_ACKNOWLEDGEMENTS).await;
    }
}
