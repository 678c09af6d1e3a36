//! A NATS server with one publisher and some subscribers of one subject, over raw connections without TLS.
//!
//! The clients are threads of this process that write prepared bytes and count what they read, so that the server is the
//! part that works.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{DRAIN, LOST, Measured, PEAK, QUIET, RECEIVED, SENT, Settings, WARM_UP, processes};
use crate::cpu::between;
use crate::servers::{Part, Programs, Servers};

/// CPU time of the server for each message published, µs.
pub(crate) const CPU_MESSAGE: &str = "cpu µs/message";

/// Bytes of a message's payload.
const PAYLOAD: usize = 128;

/// How often a publisher at a rate writes what is due.
const TICK: Duration = Duration::from_millis(1);

/// How many bytes a publisher that does not wait writes at once.
const CHUNK: usize = 32 << 10;

pub(super) async fn run(
    programs: &Programs,
    subscribers: usize,
    rate: Option<u64>,
    settings: Settings,
) -> anyhow::Result<Measured> {
    let servers = Servers::start(programs, &[Part::Nats]).await?;
    let address = servers.addresses.nats;
    let load = move || drive(address, subscribers, rate, settings, &servers);
    tokio::task::spawn_blocking(load).await?
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn drive(
    address: SocketAddr,
    subscribers: usize,
    rate: Option<u64>,
    settings: Settings,
    servers: &Servers,
) -> anyhow::Result<Measured> {
    let payload = "x".repeat(PAYLOAD);
    let message = format!("PUB bench.subject {PAYLOAD}\r\n{payload}\r\n");
    let delivered = format!("MSG bench.subject 1 {PAYLOAD}\r\n{payload}\r\n").len() as u64;
    let received = Arc::<AtomicU64>::default();
    for _ in 0..subscribers {
        let mut stream = connected(address)?;
        answered(&mut stream, "SUB bench.subject 1\r\n")?;
        let received = Arc::clone(&received);
        // The thread ends with the server.
        std::thread::spawn(move || count(stream, &received));
    }
    let mut publisher = connected(address)?;
    let messages = || received.load(Ordering::Relaxed) / delivered;
    let copies = subscribers as u64;
    let warm = publish(&mut publisher, &message, rate, WARM_UP)?;
    settle(&messages, warm * copies);
    let (got_before, before, start) = (messages(), servers.usages()?, Instant::now());
    let sent = publish(&mut publisher, &message, rate, settings.measure)?;
    settle(&messages, got_before + sent * copies);
    let seconds = start.elapsed().as_secs_f64();
    let used = between(&before, &servers.usages()?);
    let (got, due) = (messages() - got_before, sent * copies);
    ensure!(got > 0, "no message arrives");
    let micros: f64 = used.values().map(|usage| usage.cpu.as_secs_f64() * 1e6).sum();
    let peak: u64 = used.values().map(|usage| usage.peak).sum();
    Ok(Measured {
        figures: vec![
            (SENT, sent as f64 / seconds),
            (RECEIVED, got as f64 / seconds),
            (LOST, due.saturating_sub(got) as f64 / due as f64 * 100.0),
            (CPU_MESSAGE, micros / sent as f64),
            (PEAK, peak as f64 / 1_048_576.0),
        ],
        processes: processes(&used, sent as f64),
    })
}

/// A client that the server has answered.
fn connected(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    answered(&mut stream, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
    Ok(stream)
}

/// Sends lines, and waits until the server has carried them out.
fn answered(stream: &mut TcpStream, lines: &str) -> anyhow::Result<()> {
    stream.write_all(format!("{lines}PING\r\n").as_bytes())?;
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while !said.ends_with(b"PONG\r\n") {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server says {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..count]);
    }
    Ok(())
}

/// Counts the bytes of a subscriber until its connection ends.
fn count(mut stream: TcpStream, received: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        received.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Publishes for this long: what is due in each tick, or without a rate as much as the server takes. Returns how many messages
/// there were.
fn publish(stream: &mut TcpStream, message: &str, rate: Option<u64>, time: Duration) -> anyhow::Result<u64> {
    let (start, mut sent) = (Instant::now(), 0);
    match rate {
        Some(rate) => {
            while start.elapsed() < time {
                let due = u64::try_from(start.elapsed().as_micros())? * rate / 1_000_000;
                stream.write_all(message.repeat(usize::try_from(due - sent)?).as_bytes())?;
                sent = due;
                std::thread::sleep(TICK);
            }
        }
        None => {
            let messages = CHUNK / message.len();
            let chunk = message.repeat(messages);
            while start.elapsed() < time {
                stream.write_all(chunk.as_bytes())?;
                sent += messages as u64;
            }
        }
    }
    Ok(sent)
}

/// Waits until `all` arrived, or nothing more does.
fn settle(messages: &impl Fn() -> u64, all: u64) {
    let deadline = Instant::now() + DRAIN;
    let (mut last, mut since) = (messages(), Instant::now());
    while Instant::now() < deadline && since.elapsed() < QUIET && last < all {
        std::thread::sleep(Duration::from_millis(1));
        let now = messages();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}
