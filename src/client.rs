//! The connection of a command to a running stack: addresses from `endpoints.json`, and the client certificate of the stack.

pub(crate) mod http;
mod line;
pub(crate) mod login;
mod outbox;
mod reconnect;
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

pub(crate) use line::{Line, Sequence};
pub(crate) use outbox::Outbox;
pub(crate) use reconnect::reconnect;
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
    /// Returns the stack of a state directory. Without a running stack, the failure says how to start one.
    pub(crate) fn find(state: &StateDir) -> Result<Self, Failure> {
        let endpoints = Endpoints::read(state)?;
        // The file of a killed stack is still there, but the kernel has freed its lock.
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

    /// Returns the address and identity of the gRPC server of the component `C`.
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

    /// Returns the forwarder agent, which takes envelopes.
    pub(crate) fn agent(&self) -> Result<Target, Failure> {
        self.target::<weir_agents_forwarder::Server>()
    }

    /// Returns a channel to the log cache, which has stored envelopes.
    pub(crate) fn log_cache(&self) -> Result<Channel, Failure> {
        Ok(Channel::new(&self.target::<weir_log_cache_server::Server>()?))
    }

    /// Returns a channel to the reverse log proxy, which has the live stream.
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
    // Without ALPN: the handshake must succeed with servers of every protocol.
    let mut stream = tls
        .with_alpn(&[])
        .connector()
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    // Without `close_notify`, the server would log a warning. A failure to send it does not matter.
    stream.shutdown().await.ok();
    Ok(())
}

/// Sends a unary request and returns the decoded answer.
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

/// Sends a unary request and returns the encoded answer.
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

/// Sends a request and returns the stream of answers.
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

/// Returns the failure for a status that a server answered.
pub(crate) fn refused(address: &str, status: &Status) -> Failure {
    let kind = grpc::kind(status.code()).unwrap_or(ErrorKind::Internal);
    let failure = Failure::new(kind, format!("`{address}`: {}", status.message()));
    match status.code() {
        Code::Unavailable => failure.with_hint("is the stack well? `weir doctor` looks"),
        _ => failure,
    }
}
