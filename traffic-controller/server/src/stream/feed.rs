//! A subscription as the source of a stream's messages.

use std::sync::Arc;
use std::time::Duration;

use weir_flow::{Ledger, Parcel};
use weir_rpc::subscriber::{Delivery, Refused, Subscription};

use super::outgoing::Arrival;
use super::session::Feed;
use crate::metrics::Metrics;

/// How long a subscription stays open after its stream, so that the last acknowledgements can leave. They are sent
/// every 20 ms, and without them the doppler would count envelopes as lost that the client has.
const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_millis(100);

/// The messages that the dopplers send for one stream.
#[derive(Debug)]
pub(crate) struct SubscriptionFeed {
    pub(crate) subscription: Subscription,
    /// The refusal of a doppler that [`Feed::try_next`] received and [`Feed::next`] returns.
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
        // A doppler of the original may send invalid envelopes, so the message is validated here.
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
                // What was received before the refusal is still delivered. The next call returns the refusal.
                self.refused = Some(refused);
                None
            }
        }
    }

    async fn close(self) {
        self.subscription.close();
        // The subscription sends its last acknowledgements in the background. Without them the doppler would count
        // these envelopes as lost.
        tokio::time::sleep(LAST_ACKNOWLEDGEMENTS).await;
    }
}
