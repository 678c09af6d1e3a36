//! How a command reaches a running stack: addresses from `endpoints.json`, identity from its certificates.

mod again;
pub(crate) mod http;
mod line;
pub(crate) mod login;
mod outbox;
mod router;
pub(crate) mod shipping;
pub(crate) mod uaa;

use bytes::Bytes;
use prost::Message;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::{Code, Request, Status};
use weir_component::{Component, Port};
use weir_error::ErrorKind;
use weir_net::{Channel, Frame, Messages, Target, grpc};
use weir_tls::{ClientTls, IdentityFiles, server_name};

pub(crate) use again::again;
pub(crate) use line::{Line, Sequence};
pub(crate) use outbox::Outbox;
pub(crate) use router::ask_by_name;

use crate::failure::Failure;
use crate::state::{Endpoints, Lock, StateDir};

/// A stack that is (or should be) running.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) state: StateDir,
    pub(crate) endpoints: Endpoints,
    pub(crate) tls: ClientTls,
}

impl Stack {
    /// The stack of a state directory; says how to start one when there is none.
    pub(crate) fn find(state: &StateDir) -> Result<Self, Failure> {
        let endpoints = Endpoints::read(state)?;
        if Lock::holder(state).is_none() {
            return Err(Failure::new(
                ErrorKind::Unavailable,
                format!(
                    "stack in `{}`: not running any more, and did not stop in order",
                    state.root().display()
                ),
            )
            .with_hint(format!("start it again with `weir{} up`", state.as_flag())));
        }
        let tls = ClientTls::mutual(&IdentityFiles {
            ca: endpoints.ca.clone(),
            cert: endpoints.client_cert.clone(),
            key: endpoints.client_key.clone(),
        })?;
        Ok(Self {
            state: state.clone(),
            endpoints,
            tls,
        })
    }

    /// How to reach the gRPC server of the component `C`.
    fn target<C: Component>(&self) -> Result<Target, Failure> {
        Ok(Target {
            address: self.endpoints.address(C::DESCRIPTION.port().key)?.to_owned(),
            server_name: C::DESCRIPTION.server_name().to_owned(),
            tls: self.tls.clone(),
        })
    }

    /// Connects to a port and shakes hands with the server called `name` where the port has TLS, which proves port, process
    /// and certificates.
    pub(crate) async fn handshake(&self, port: &Port, address: &str, name: &str) -> Result<(), String> {
        handshake(&self.tls, port, address, name).await
    }

    /// The forwarder agent: takes envelopes.
    pub(crate) fn agent(&self) -> Result<Target, Failure> {
        self.target::<weir_agents_forwarder::Server>()
    }

    /// The log cache: gives what was kept.
    pub(crate) fn log_cache(&self) -> Result<Channel, Failure> {
        Ok(Channel::new(&self.target::<weir_log_cache_server::Server>()?))
    }

    /// The reverse log proxy: gives what happens now.
    pub(crate) fn rlp(&self) -> Result<Channel, Failure> {
        Ok(Channel::new(&self.target::<weir_rlp_server::Server>()?))
    }
}

/// Connects to `port` at `address`, and shakes hands with the server called `name` if the port has TLS.
pub(crate) async fn handshake(tls: &ClientTls, port: &Port, address: &str, name: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    if !port.tls {
        return Ok(());
    }
    let name = server_name(name).map_err(|error| error.to_string())?;
    // Any protocol will do: none is spoken.
    let mut stream = tls
        .with_alpn(&[])
        .connector()
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    // Said goodbye properly, it leaves no warning in the server's log; whether the goodbye arrives does not matter.
    stream.shutdown().await.ok();
    Ok(())
}

/// One message there, one back.
pub(crate) async fn call<Q: Message, A: Message + Default>(
    channel: &Channel,
    path: &'static str,
    question: &Q,
) -> Result<A, Failure> {
    let answer = call_raw(channel, path, question).await?;
    A::decode(answer).map_err(|error| {
        Failure::new(
            ErrorKind::Internal,
            format!("`{}`: answer cannot be read: {error}", channel.address()),
        )
    })
}

/// As [`call`], with the answer as it came.
pub(crate) async fn call_raw<Q: Message>(
    channel: &Channel,
    path: &'static str,
    question: &Q,
) -> Result<Bytes, Failure> {
    channel
        .unary(path, question.encode_to_vec())
        .await
        .map_err(|status| refused(channel.address(), &status))
}

/// One message there, a stream back.
pub(crate) async fn subscribe<Q: Message>(
    channel: &Channel,
    path: &'static str,
    question: &Q,
) -> Result<Messages, Failure> {
    let question = Frame::from(question.encode_to_vec());
    let request = Request::new(futures::stream::once(async move { question }));
    let answer = channel
        .stream(path, request)
        .await
        .map_err(|status| refused(channel.address(), &status))?;
    Ok(answer.into_inner())
}

/// What a server said instead of an answer.
pub(crate) fn refused(address: &str, status: &Status) -> Failure {
    let kind = grpc::kind(status.code()).unwrap_or(ErrorKind::Internal);
    let failure = Failure::new(kind, format!("`{address}`: {}", status.message()));
    match status.code() {
        Code::Unavailable => failure.with_hint("is the stack well? `weir doctor` looks"),
        _ => failure,
    }
}
