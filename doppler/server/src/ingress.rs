//! The ingress service of the doppler.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weir_doppler_router::Router;
use weir_flow::{Ledger, Parcel, Reason};
use weir_net::{FrameStream, Messages, RawService};
use weir_rpc::egress::MAX_CLIENT_MESSAGE;
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Method};
use weir_service::Shutdown;

use crate::consumer_reconnect::ConsumerReconnect;

/// The size in bytes above which a batch is split, so that no message to a consumer exceeds what it accepts.
const LARGE_BATCH: usize = 1 << 20;

/// The gRPC service `loggregator.v2.Ingress`, which publishes to the router.
#[derive(Debug)]
pub(crate) struct Ingress {
    server: IngressServer,
    consumer_reconnect: ConsumerReconnect,
}

impl Ingress {
    pub(crate) fn new(router: Arc<Router>, ledger: Arc<Ledger>, shutdown: Shutdown) -> Self {
        let counting = Arc::clone(&ledger);
        let consumer_reconnect = ConsumerReconnect::new(Arc::clone(&ledger));
        let publish = move |parcel: Parcel| {
            if parcel.batch.byte_len() <= LARGE_BATCH {
                router.publish(&parcel);
            } else {
                cut_up(&parcel, &counting, |part| router.publish(&part));
            }
        };
        Self {
            server: IngressServer::new(publish, ledger, shutdown),
            consumer_reconnect,
        }
    }
}

/// Splits a large batch into parts that consumers accept. An envelope that is too large on its own is counted as lost.
fn cut_up(parcel: &Parcel, ledger: &Ledger, mut publish: impl FnMut(Parcel)) {
    let mut part = Vec::new();
    let mut bytes = 0;
    let mut flush = |part: &mut Vec<u32>| {
        if let Some(batch) = parcel.batch.pick(part) {
            publish(Parcel {
                batch,
                receipts: parcel.receipts.clone(),
            });
        }
        part.clear();
    };
    for (index, envelope) in (0u32..).zip(parcel.batch.iter()) {
        let len = envelope.field().len();
        // Such an envelope would end the stream of every consumer that matches it.
        if len > MAX_CLIENT_MESSAGE {
            ledger.dropped("ingress", Reason::TooLarge, envelope.source_id(), 1);
            parcel.note_lost(1);
            continue;
        }
        if bytes + len > LARGE_BATCH {
            flush(&mut part);
            bytes = 0;
        }
        part.push(index);
        bytes += len;
    }
    flush(&mut part);
}

#[tonic::async_trait]
impl RawService for Ingress {
    const NAME: &'static str = INGRESS_SERVICE;

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        match Method::named(method) {
            Some(method @ (Method::Sender | Method::BatchSender)) => {
                // Envelopes that arrive before the consumers have reconnected would be routed to nobody.
                self.consumer_reconnect.finished().await;
                self.server.serve(method, request).await
            }
            _ => Err(Status::unimplemented(format!(
                "method `{method}` is not served by a doppler; send to an agent"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::batch::{Batch, BatchBuilder};
    use weir_envelope::wire::put_bytes;

    use super::*;

    fn batch(sizes: &[usize]) -> Batch {
        let mut builder = BatchBuilder::new();
        for &size in sizes {
            builder.push_with(|envelope| {
                let mut log = Vec::new();
                put_bytes(&mut log, 1, &vec![b'x'; size]);
                put_bytes(envelope, 4, &log);
            });
        }
        builder.finish()
    }

    /// A large batch is split into parts of at most 1 MiB in their order. An envelope that no consumer accepts is
    /// counted.
    #[test]
    fn large_batches_are_cut_up() {
        let ledger = Ledger::in_memory("doppler");
        let parcel = Parcel::unacknowledged(batch(&[600_000, 500_000, 5 << 20, 1, 600_000]));
        let mut parts = Vec::new();
        cut_up(&parcel, &ledger, |part| parts.push(part.batch.len()));
        assert_eq!(parts, [1, 2, 1]);
        assert_eq!(ledger.snapshot().dropped[0].reason, "too_large");
    }
}
