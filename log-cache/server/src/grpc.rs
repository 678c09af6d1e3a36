//! The gRPC services: `logcache.v1.Ingress`, `Egress` and a `PromQLQuerier` that says what it is waiting for.

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

use crate::caller::OF_THE_RING;
use crate::intake::Intake;
use crate::reading::{self, Reader};

/// Requests above this size, in bytes, are stored on a thread that may block: a thousand envelopes or so.
const LARGE: usize = 512 << 10;

fn no_such_method(method: &str) -> Status {
    Status::unimplemented(format!("method `{method}` does not exist"))
}

/// `logcache.v1.Ingress`: `SendRequest { 1: EnvelopeBatch, 2: local_only }`.
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
    /// Stores the envelopes of an encoded `SendRequest`. Those before the point where one breaks off are stored.
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
                    self.refuse("");
                    return Err(Status::invalid_argument(format!("the batch is not readable: {error}")));
                }
            }
        }
        Ok(())
    }
}

/// `logcache.v1.Egress`.
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
                    .read(OF_THE_RING, request, reading::GRPC_PAGE, batch)
                    .await?;
                // ReadResponse { 1: EnvelopeBatch }, around the bytes that the store made.
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
                let encoded = self.reader.meta(OF_THE_RING, Visibility::All, encode).await?;
                Ok(one_frame(Frame::from(encoded)))
            }
            _ => Err(no_such_method(method)),
        }
    }
}

/// What there is of a source, as the wire has it.
fn info(source: &SourceMeta) -> MetaInfo {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    MetaInfo {
        count: number(source.count),
        expired: number(source.expired),
        oldest_timestamp: source.oldest_timestamp,
        newest_timestamp: source.newest_timestamp,
    }
}

/// `logcache.v1.PromQLQuerier`.
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
