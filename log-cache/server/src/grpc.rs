//! The gRPC services `logcache.v1.Ingress`, `Egress` and `PromQLQuerier`; the last one refuses every query.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status};
use weir_envelope::batch::{Batch, Split};
use weir_envelope::wire::{Fields, Value, put_head};
use weir_log_cache_store::{Page, SourceMeta, Visibility};
use weir_net::{Frame, FrameStream, Messages, RawService, one_frame, only_message};
use weir_proto::logcache_v1::{MetaInfo, MetaResponse, ReadRequest};
use weir_service::Tasks;

use crate::caller::CERTIFICATE_CALLER;
use crate::intake::Intake;
use crate::reading::{self, Reader};

/// The size in bytes above which a request is stored on a blocking thread; about a thousand envelopes.
const LARGE: usize = 512 << 10;

fn no_such_method(method: &str) -> Status {
    Status::unimplemented(format!("method `{method}` does not exist"))
}

/// The service `logcache.v1.Ingress`, whose request is `SendRequest { 1: EnvelopeBatch, 2: local_only }`.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) intake: Intake,
    pub(crate) tasks: Tasks,
}

#[tonic::async_trait]
impl RawService for Ingress {
    const NAME: &'static str = "logcache.v1.Ingress";

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        if method != "Send" {
            return Err(no_such_method(method));
        }
        let message = only_message(request).await?;
        if message.len() <= LARGE {
            self.intake.take_request(&message)?;
        } else {
            // Storing a large batch takes milliseconds, which the other connections of this worker thread would wait.
            let intake = self.intake.clone();
            let taken = self
                .tasks
                .spawn_blocking("store a large batch", move || intake.take_request(&message));
            taken
                .await
                .map_err(|_| Status::internal("the batch could not be stored"))??;
        }
        Ok(one_frame(Frame::default()))
    }
}

impl Intake {
    /// Stores the envelopes of an encoded `SendRequest`.
    ///
    /// # Errors
    /// If the framing of the request is broken. The envelopes before the break are stored.
    fn take_request(&self, message: &Bytes) -> Result<(), Status> {
        for field in Fields::new(message) {
            let field =
                field.map_err(|error| Status::invalid_argument(format!("the request is not readable: {error}")))?;
            if let (1, Value::Bytes(batch)) = field {
                let Split {
                    batch,
                    rejected,
                    broken,
                    ..
                } = Batch::split(message.slice_ref(batch));
                self.take(&batch);
                for rejected in &rejected {
                    self.refuse(&rejected.source_id);
                }
                if let Some(error) = broken {
                    // Behind the break neither the number of envelopes nor their sources are known: it counts as one.
                    self.refuse("");
                    return Err(Status::invalid_argument(format!("the batch is not readable: {error}")));
                }
            }
        }
        Ok(())
    }
}

/// The service `logcache.v1.Egress`.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) reader: Arc<Reader>,
}

#[tonic::async_trait]
impl RawService for Egress {
    const NAME: &'static str = "logcache.v1.Egress";

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        match method {
            "Read" => {
                let request = ReadRequest::decode(only_message(request).await?)
                    .map_err(|error| Status::invalid_argument(format!("the request is not readable: {error}")))?;
                let batch = |page: Page| Ok(Bytes::from(page.batch));
                let batch = self
                    .reader
                    .read(CERTIFICATE_CALLER, request, reading::GRPC_PAGE, batch)
                    .await?;
                // `ReadResponse { 1: EnvelopeBatch }`: a head before the store's bytes, which are not copied.
                let mut head = Vec::with_capacity(8);
                put_head(&mut head, 1, batch.len());
                Ok(one_frame(Frame::parts(vec![head.into(), batch])))
            }
            "Meta" => {
                only_message(request).await?;
                let encode = |sources: Vec<SourceMeta>| {
                    let meta = sources.into_iter().map(|source| {
                        let info = info(&source);
                        (source.source_id, info)
                    });
                    Ok(MetaResponse { meta: meta.collect() }.encode_to_vec())
                };
                let encoded = self.reader.meta(CERTIFICATE_CALLER, Visibility::All, encode).await?;
                Ok(one_frame(Frame::from(encoded)))
            }
            _ => Err(no_such_method(method)),
        }
    }
}

/// Returns the numbers of a source in their protobuf form.
fn info(source: &SourceMeta) -> MetaInfo {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    MetaInfo {
        count: number(source.count),
        expired: number(source.expired),
        oldest_timestamp: source.oldest_timestamp,
        newest_timestamp: source.newest_timestamp,
    }
}

/// The service `logcache.v1.PromQLQuerier`.
#[derive(Debug)]
pub(crate) struct PromQl;

#[tonic::async_trait]
impl RawService for PromQl {
    const NAME: &'static str = "logcache.v1.PromQLQuerier";

    async fn call(&self, method: &str, _: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        match method {
            "InstantQuery" | "RangeQuery" => Err(Status::unimplemented(
                "this log cache does not speak PromQL; ask it in SQL",
            )),
            _ => Err(no_such_method(method)),
        }
    }
}
