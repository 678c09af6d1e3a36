//! Many connections from one address that occupy a port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use weir_tls::{ClientTls, server_name};

use crate::endpoints::authority;
use crate::eventually;

/// How long a member of the crowd waits before it connects again.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// How long a member's first connection is waited for. A server that is full takes no more connections before it closes
/// others, and the crowd is there while it is full, not after that.
const FIRST_ATTEMPT: Duration = Duration::from_secs(3);

/// Connections that are opened again whenever they are closed. Dropping this closes all of them.
#[derive(Debug)]
pub struct Crowd {
    counts: Arc<Counts>,
    _members: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The number of members whose first attempt succeeded, failed, or takes longer than [`FIRST_ATTEMPT`].
    tried: AtomicUsize,
    /// The number of open connections.
    open: AtomicUsize,
}

impl Crowd {
    /// Opens `count` connections from `from` to the server at `url`. Each sends `words` inside TLS and nothing more.
    /// Waits until all members have tried once, or wait for the server.
    ///
    /// # Errors
    /// Fails when they have not done so in time.
    pub async fn gather(
        url: &str,
        from: Ipv4Addr,
        count: usize,
        tls: &ClientTls,
        words: &[u8],
    ) -> anyhow::Result<Self> {
        raise_file_limit(2 * u64::try_from(count)?)?;
        let address: SocketAddr = authority(url).parse().context("an address")?;
        let counts = Arc::<Counts>::default();
        let mut members = JoinSet::new();
        for _ in 0..count {
            let (counts, tls, words) = (Arc::clone(&counts), tls.clone(), words.to_vec());
            members.spawn(async move {
                let first = First {
                    counts: &counts,
                    is_over: AtomicBool::new(false),
                };
                let occupying = async {
                    loop {
                        // A member connects again after success and after failure.
                        drop(occupy(address, from, &tls, &words, &first).await);
                        first.over();
                        tokio::time::sleep(RECONNECT_DELAY).await;
                    }
                };
                let impatient = async {
                    tokio::time::sleep(FIRST_ATTEMPT).await;
                    first.over();
                };
                tokio::join!(occupying, impatient);
            });
        }
        let crowd = Self {
            counts,
            _members: members,
        };
        eventually("the crowd is there", async || {
            let tried = crowd.counts.tried.load(Ordering::Relaxed);
            ensure!(tried >= count, "{tried} of {count}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(crowd)
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }
}

/// The first attempt of a member, which is counted once.
struct First<'c> {
    counts: &'c Counts,
    is_over: AtomicBool,
}

impl First<'_> {
    fn over(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            self.counts.tried.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn occupy(
    address: SocketAddr,
    from: Ipv4Addr,
    tls: &ClientTls,
    words: &[u8],
    first: &First<'_>,
) -> anyhow::Result<()> {
    let stream = connect_from(from, address).await?;
    let mut stream = tls.connector().connect(server_name("localhost")?, stream).await?;
    stream.write_all(words).await?;
    stream.flush().await?;
    first.counts.open.fetch_add(1, Ordering::Relaxed);
    first.over();
    let mut answer = [0; 256];
    while !matches!(stream.read(&mut answer).await, Ok(0) | Err(_)) {}
    first.counts.open.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

/// Opens a TCP connection to `address` from `from`, an address of the loopback interface.
///
/// # Errors
/// Fails when the connection cannot be made.
pub async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect(address).await?)
}

/// Raises the limit of open files of this process to at least `files`.
///
/// # Errors
/// Fails when the system does not allow so many.
pub fn raise_file_limit(files: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = files + 1024;
    if limit.current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).with_context(|| format!("{wanted} open files"))
}
