//! A receiver of numbered lines over TCP or TLS, with a behaviour that the test sets.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::frames::Deframer;
use super::lines::Lines;
use super::ports::steady_port;
use crate::eventually;

/// A fatal TLS alert: `handshake_failure`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// The time between two reads of a slow receiver.
const STEP: Duration = Duration::from_millis(50);

/// The receive buffer of a receiver that does not read, in bytes. It is small, so that the sender notices soon.
const SMALL_BUFFER: usize = 4096;

/// What a receiver does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Reads everything at once.
    Read,
    /// Accepts connections, and never reads from them.
    NeverReads,
    /// Reads this number of bytes per second from each connection.
    Slow(usize),
    /// Ends every handshake with an alert.
    RefuseTls,
}

/// The receiver. It keeps its port while it is stopped.
#[derive(Debug)]
pub struct DrainReceiver {
    address: SocketAddr,
    tls: Option<watch::Sender<Arc<ServerConfig>>>,
    behaviour: watch::Sender<Behaviour>,
    shared: Shared,
    task: Option<JoinHandle<()>>,
}

/// The state that all connections share.
#[derive(Debug, Clone, Default)]
struct Shared {
    lines: Lines,
    accepted: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
    clients: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl DrainReceiver {
    /// Starts a receiver of plain TCP.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub async fn tcp(behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::new(None, behaviour, Lines::default()).await
    }

    /// Starts a receiver of TLS.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub async fn tls(config: Arc<ServerConfig>, behaviour: Behaviour) -> anyhow::Result<Self> {
        Self::new(Some(config), behaviour, Lines::default()).await
    }

    /// Starts a receiver that records in `lines`, with TLS if `tls` is given.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub async fn new(tls: Option<Arc<ServerConfig>>, behaviour: Behaviour, lines: Lines) -> anyhow::Result<Self> {
        let mut receiver = Self {
            address: steady_port()?,
            tls: tls.map(watch::Sender::new),
            behaviour: watch::Sender::new(behaviour),
            shared: Shared {
                lines,
                ..Shared::default()
            },
            task: None,
        };
        receiver.start().await?;
        Ok(receiver)
    }

    /// Returns the address of the receiver, also while it is stopped.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the drain URL, without parameters.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "syslog-tls" } else { "syslog" };
        format!("{scheme}://{}", self.address)
    }

    /// Returns what the receiver got.
    #[must_use]
    pub const fn lines(&self) -> &Lines {
        &self.shared.lines
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Returns the client certificates that were shown, in DER.
    #[must_use]
    pub fn clients(&self) -> BTreeSet<Vec<u8>> {
        self.shared
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets another behaviour, also for the open connections.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Shows another certificate to new connections.
    pub fn set_tls(&self, config: Arc<ServerConfig>) {
        if let Some(tls) = &self.tls {
            tls.send_replace(config);
        }
    }

    /// Closes all connections, and refuses new ones. What was not read is lost.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The connections are tasks of this task, and end with it.
            drop(task.await);
        }
    }

    /// Accepts connections again, at the same address.
    ///
    /// # Errors
    /// Fails when another program has taken the port.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.task.is_some() {
            return Ok(());
        }
        let small = *self.behaviour.borrow() != Behaviour::Read;
        let listener = eventually("the receiver's port", async || listen(self.address, small)).await?;
        let (tls, behaviour, shared) = (
            self.tls.as_ref().map(watch::Sender::subscribe),
            self.behaviour.subscribe(),
            self.shared.clone(),
        );
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_) = connections.join_next() => continue,
                };
                let Ok((stream, _)) = stream else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let open = Open::new(&shared.open);
                let tls = tls.as_ref().map(|config| Arc::clone(&config.borrow()));
                let (behaviour, shared) = (behaviour.clone(), shared.clone());
                connections.spawn(async move {
                    let _open = open;
                    // A connection that breaks concerns the sender only.
                    drop(serve(stream, tls, behaviour, &shared).await);
                });
            }
        }));
        Ok(())
    }

    /// Waits until `count` different lines have arrived.
    ///
    /// # Errors
    /// Fails when they do not arrive in time.
    pub async fn wait_for_lines(&self, count: u64) -> anyhow::Result<()> {
        let lines = self.lines();
        eventually("lines at the drain", async || {
            let got = lines.total();
            anyhow::ensure!(got >= count, "{got} of {count}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }
}

impl Drop for DrainReceiver {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Counts a connection as open until this is dropped.
#[derive(Debug)]
struct Open(Arc<AtomicU64>);

impl Open {
    fn new(open: &Arc<AtomicU64>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn listen(address: SocketAddr, small: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if small {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

async fn serve(
    mut stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    behaviour: watch::Receiver<Behaviour>,
    shared: &Shared,
) -> anyhow::Result<()> {
    if *behaviour.borrow() == Behaviour::RefuseTls {
        // The alert follows the first bytes of the client, as from a server that cannot agree with it.
        stream.readable().await?;
        stream.write_all(&ALERT).await?;
        stream.shutdown().await?;
        return Ok(());
    }
    let Some(config) = tls else {
        return read(stream, behaviour, &shared.lines).await;
    };
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    if let Some(client) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        let mut clients = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(client.to_vec());
    }
    read(stream, behaviour, &shared.lines).await
}

async fn read(
    mut stream: impl AsyncRead + Unpin,
    mut behaviour: watch::Receiver<Behaviour>,
    lines: &Lines,
) -> anyhow::Result<()> {
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let now = *behaviour.borrow_and_update();
        let most = match now {
            Behaviour::Read => buffer.len(),
            Behaviour::Slow(rate) => (rate * usize::try_from(STEP.as_millis())? / 1000).clamp(1, buffer.len()),
            Behaviour::NeverReads | Behaviour::RefuseTls => {
                behaviour.changed().await?;
                continue;
            }
        };
        let read = tokio::select! {
            read = stream.read(&mut buffer[..most]) => read?,
            changed = behaviour.changed() => {
                changed.context("the receiver is gone")?;
                continue;
            }
        };
        if read == 0 {
            return Ok(());
        }
        deframer.push(&buffer[..read]);
        loop {
            match deframer.message() {
                Ok(Some(message)) => lines.record(message),
                Ok(None) => break,
                Err(error) => {
                    lines.record_garbled(format!("{error:#}"));
                    return Err(error);
                }
            }
        }
        if let Behaviour::Slow(_) = now {
            tokio::time::sleep(STEP).await;
        }
    }
}
