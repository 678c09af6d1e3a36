//! What drains are connected to: receivers that count without decoding, and a network that takes its time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::meter::Meter;

/// Read at once.
const BUFFER: usize = 256 << 10;

/// Pieces that are on a delayed network in one direction: more than a connection has in flight.
const ON_THE_WAY: usize = 4096;

/// Windows of an HTTP/2 collector: those of common servers, large enough for what a round trip holds.
const WINDOW: u32 = 4 << 20;

/// Something that listens; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Remote {
    /// Counts octet-counted messages.
    pub(crate) async fn syslog(tls: Option<Arc<ServerConfig>>, meter: &Arc<Meter>) -> anyhow::Result<Self> {
        let meter = Arc::clone(meter);
        Self::serve(move |stream| {
            let (tls, meter) = (tls.clone(), Arc::clone(&meter));
            async move {
                match tls {
                    None => count_frames(stream, &meter).await,
                    Some(config) => count_frames(TlsAcceptor::from(config).accept(stream).await?, &meter).await,
                }
            }
        })
        .await
    }

    /// Counts the lines of POSTs.
    pub(crate) async fn https(tls: Arc<ServerConfig>, meter: &Arc<Meter>) -> anyhow::Result<Self> {
        let meter = Arc::clone(meter);
        Self::serve(move |stream| {
            let (tls, meter) = (Arc::clone(&tls), Arc::clone(&meter));
            async move {
                let stream = TlsAcceptor::from(tls).accept(stream).await?;
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let meter = Arc::clone(&meter);
                    async move {
                        count_lines(request.into_body(), &meter).await?;
                        anyhow::Ok(Response::new(Empty::<Bytes>::new()))
                    }
                });
                let mut server = auto::Builder::new(TokioExecutor::new());
                server
                    .http2()
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW);
                let served = server.serve_connection(TokioIo::new(stream), service).await;
                served.map_err(|error| anyhow::anyhow!(error))
            }
        })
        .await
    }

    async fn serve<S, F>(serve: S) -> anyhow::Result<Self>
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicU64::new(0));
        let accepted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = serving.join_next() => continue,
                };
                let Ok((stream, _)) = stream else { continue };
                if stream.set_nodelay(true).is_ok() {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    serving.spawn(serve(stream));
                }
            }
        });
        Ok(Self {
            address,
            connections,
            task,
        })
    }

    /// Connections that were accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Counts messages by their counts of octets.
async fn count_frames(mut stream: impl AsyncRead + Unpin, meter: &Meter) -> anyhow::Result<()> {
    let mut bytes = BytesMut::with_capacity(2 * BUFFER);
    loop {
        bytes.reserve(BUFFER);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let (mut at, mut messages) = (0, 0);
        while let Some(space) = bytes[at..].iter().take(10).position(|byte| *byte == b' ') {
            let length: usize = std::str::from_utf8(&bytes[at..at + space])?.parse()?;
            let end = at + space + 1 + length;
            if end > bytes.len() {
                break;
            }
            (at, messages) = (end, messages + 1);
        }
        meter.note(messages, &bytes.split_to(at));
    }
}

/// Counts the lines of a body.
async fn count_lines(mut body: Incoming, meter: &Meter) -> anyhow::Result<()> {
    // A line may be cut between two frames.
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    meter.note(memchr::memchr_iter(b'\n', &whole).count() as u64, &whole);
    Ok(())
}

/// A way to `address` on which everything takes `delay`, in both directions.
pub(crate) async fn delayed(address: SocketAddr, delay: Duration) -> anyhow::Result<Remote> {
    Remote::serve(move |near| async move {
        let far = TcpStream::connect(address).await?;
        far.set_nodelay(true)?;
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        let there = carry(near_in, far_out, delay);
        let back = carry(far_in, near_out, delay);
        tokio::try_join!(there, back)?;
        Ok(())
    })
    .await
}

/// Carries bytes, each piece `delay` after it came.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> anyhow::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
    let take = async move {
        loop {
            let mut piece = BytesMut::with_capacity(64 << 10);
            if from.read_buf(&mut piece).await? == 0
                || sender.send((Instant::now() + delay, piece.freeze())).await.is_err()
            {
                return anyhow::Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await?;
        anyhow::Ok(())
    };
    tokio::try_join!(take, give)?;
    Ok(())
}
