//! An agent that consists of drains only, and receivers that behave in several ways.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_drain::{App, Binding, Credentials, DrainUrl, Settings};
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::{Capacity, LogContext, Parcel};
use weir_tls::Trust;

use crate::config::Terms;
use crate::drain::queue::Memory;
use crate::drain::{Drain, Env, Order};
use crate::spill::{Budget, Limits, Spill};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(super) fn terms() -> Terms {
    Terms {
        metadata: true,
        idle_timeout: Duration::from_secs(600),
        removed_grace: Duration::from_secs(60),
        drain: Duration::from_secs(2),
        aggregate_refresh: Duration::from_secs(60),
        memory: Capacity {
            envelopes: 20_000,
            bytes: 16 << 20,
        },
        spill: 256 << 20,
        spill_after: Duration::from_millis(500),
    }
}

/// The state that drains share, in a directory of its own.
pub(super) struct Agent {
    pub(super) env: Arc<Env>,
    context: LogContext,
    _dir: Option<tempfile::TempDir>,
}

impl Agent {
    pub(super) fn start(terms: Terms) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = Self::start_in(terms, dir.path());
        Self {
            _dir: Some(dir),
            ..agent
        }
    }

    pub(super) fn start_in(terms: Terms, dir: &Path) -> Self {
        let (_, context) = LogContext::in_memory("syslog-agent");
        let settings = Settings {
            write_timeout: Duration::from_secs(30),
            ..Settings::new(Trust::none().unwrap())
        };
        let env = Arc::new(Env {
            terms,
            settings,
            tasks: context.tasks.clone(),
            clock: context.clock.clone(),
            ledger: Arc::clone(&context.ledger),
            memory: Memory::new(96 << 20),
            budget: Budget::new(4 << 30),
            spill: dir.join("spill"),
            in_flight_bytes: AtomicUsize::new(0),
            max_in_flight_bytes: 96 << 20,
            status_changed: Notify::new(),
            routed: AtomicU64::new(0),
        });
        Self {
            env,
            context,
            _dir: None,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.env.clock.instant()
    }

    pub(super) fn drain(&self, binding: &Binding) -> Arc<Drain> {
        self.drain_found(binding, false)
    }

    pub(super) fn drain_found(&self, binding: &Binding, found: bool) -> Arc<Drain> {
        Drain::start(Arc::new(binding.clone()), &self.env, found)
    }

    pub(super) fn folder(&self, drain: &Drain) -> PathBuf {
        self.env.folder(&drain.binding())
    }

    pub(super) fn lost_for(&self, reason: &str) -> u64 {
        let dropped = self.env.ledger.snapshot().dropped;
        dropped
            .iter()
            .filter(|drop| drop.reason == reason)
            .map(|drop| drop.count)
            .sum()
    }

    /// Checks the law of conservation for each drain and for their sum. Nothing may be in flight.
    pub(super) fn assert_balanced(&self, drains: &[&Arc<Drain>]) {
        let (mut sent, mut lost) = (0, 0);
        for drain in drains {
            let account = &drain.account;
            assert_eq!(account.recovered() + account.routed(), account.sent() + account.lost());
            sent += account.sent();
            lost += account.lost();
        }
        let ledger = self.env.ledger.snapshot();
        assert_eq!((ledger.sent, ledger.dropped_total(), ledger.in_flight), (sent, lost, 0));
        assert_eq!(self.env.in_flight_bytes.load(Ordering::Relaxed), 0);
    }

    pub(super) async fn stop(&self, drains: &[&Arc<Drain>]) {
        for drain in drains {
            drain.order(Order::Stop(self.now() + self.env.terms.drain));
        }
        for drain in drains {
            drain.ended().await;
        }
        self.context.tasks.join(Duration::from_secs(10)).await.unwrap();
    }
}

/// Returns a port on which nobody listens.
pub(super) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(super) fn binding(port: u16, app: &str, query: &str) -> Binding {
    let url = DrainUrl::parse(&format!("syslog://127.0.0.1:{port}{query}")).unwrap();
    let app = App {
        hostname: "org.space.app".to_owned(),
        app_id: app.to_owned(),
    };
    Binding::new(url, Some(app), Credentials::default())
}

pub(super) fn log(source: &str, instance: &str, text: &str, tag: Option<(&str, &str)>) -> Vec<u8> {
    let mut envelope = Vec::new();
    let mut writer = Writer::new(&mut envelope);
    writer.timestamp(17).source_id(source).instance_id(instance);
    if let Some((key, value)) = tag {
        writer.tag(key, value);
    }
    writer.log(text.as_bytes(), Stream::Out);
    envelope
}

pub(super) fn parcel(envelopes: &[Vec<u8>]) -> Parcel {
    let mut builder = BatchBuilder::new();
    for envelope in envelopes {
        assert!(builder.push(envelope));
    }
    Parcel::unacknowledged(builder.finish())
}

/// Returns lines whose text is their number.
pub(super) fn lines(source: &str, first: i64, count: i64) -> Parcel {
    let envelopes: Vec<_> = (first..first + count)
        .map(|number| log(source, "0", &number.to_string(), None))
        .collect();
    parcel(&envelopes)
}

/// Returns lines whose text is their number and a kilobyte of padding.
pub(super) fn long_lines(source: &str, first: i64, count: i64) -> Parcel {
    let tail = "x".repeat(1000);
    let envelopes: Vec<_> = (first..first + count)
        .map(|number| log(source, "0", &format!("{number} {tail}"), None))
        .collect();
    parcel(&envelopes)
}

/// Returns the number of envelopes in a backlog. It is copied first, so that the agent is not disturbed.
pub(super) fn spilled(folder: &Path) -> u64 {
    if !folder.exists() {
        return 0;
    }
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        // The file may be removed by the agent at any time.
        drop(fs::copy(&path, copy.path().join(path.file_name().unwrap())));
    }
    let budget = Budget::new(u64::MAX);
    Spill::open(copy.path(), Limits::of(1 << 40), &budget, None).map_or(0, |spill| spill.unsettled())
}

/// Checks that each number comes for the first time after the one before it.
pub(super) fn assert_in_order(numbers: &[i64]) {
    let mut high = -1;
    for (index, number) in numbers.iter().enumerate() {
        if *number > high + 1 {
            let comes = numbers[index..].iter().position(|later| *later == high + 1);
            let around = &numbers[index.saturating_sub(5)..numbers.len().min(index + 5)];
            panic!(
                "{number} came before {}, which came {comes:?} later: {around:?}",
                high + 1
            );
        }
        high = high.max(*number);
    }
}

/// The behaviour of a receiver towards its connections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    Reads,
    /// Reads this number of bytes per second.
    Slow(u64),
    NeverReads,
    /// Ends each connection after it has read this number of messages.
    EndsAfter(usize),
    /// Ends the connection at a message that is longer than this number of bytes.
    Refuses(usize),
    /// Ends each connection as soon as it receives something.
    EndsOnData,
    /// Ends each connection at once.
    EndsAtOnce,
}

#[derive(Default)]
struct Kept {
    numbers: Mutex<Vec<i64>>,
    connections: AtomicUsize,
    /// The number of bytes to read per second. Zero means no limit.
    speed: AtomicU64,
    behaviour: Mutex<Option<Behaviour>>,
    changed: Notify,
    killed: CancellationToken,
}

impl Kept {
    fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = Some(behaviour);
        let speed = match behaviour {
            Behaviour::Slow(speed) => speed,
            Behaviour::NeverReads => STOPPED,
            _ => 0,
        };
        self.speed.store(speed, Ordering::Relaxed);
    }

    /// Returns whether the connection ends at a message of this size after this number of messages.
    fn ends_at(&self, size: usize, before: usize) -> bool {
        match *self.behaviour.lock() {
            Some(Behaviour::EndsAfter(most)) => before >= most,
            Some(Behaviour::Refuses(most)) => size > most,
            Some(Behaviour::EndsOnData) => true,
            _ => false,
        }
    }

    /// Returns whether the connection ends after this number of messages, even if no other one follows.
    fn ends_with(&self, count: usize) -> bool {
        match *self.behaviour.lock() {
            Some(Behaviour::EndsAfter(most)) => count >= most,
            Some(Behaviour::EndsAtOnce) => true,
            _ => false,
        }
    }
}

/// A receiver of octet-counted lines that keeps their numbers.
pub(super) struct Receiver {
    port: u16,
    kept: Arc<Kept>,
    task: JoinHandle<()>,
}

const STOPPED: u64 = u64::MAX;

impl Receiver {
    pub(super) async fn start(port: u16, behaviour: Behaviour) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::new(Kept::default());
        kept.behaves(behaviour);
        let keeping = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let killed = keeping.killed.clone();
            // Connections are served one after the other, so that the rest of an old one does not mix with a new one.
            while let Some(Ok((stream, _))) = killed.run_until_cancelled(listener.accept()).await {
                keeping.connections.fetch_add(1, Ordering::Relaxed);
                receive(stream, Arc::clone(&keeping)).await;
            }
        });
        Self { port, kept, task }
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn binding(&self, app: &str) -> Binding {
        binding(self.port, app, "")
    }

    pub(super) fn numbers(&self) -> Vec<i64> {
        self.kept.numbers.lock().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.kept.numbers.lock().len()
    }

    pub(super) fn connections(&self) -> usize {
        self.kept.connections.load(Ordering::Relaxed)
    }

    /// Changes the behaviour from now on.
    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.kept.behaves(behaviour);
    }

    /// Reads without a limit from now on.
    pub(super) fn speed_up(&self) {
        self.set_speed(0);
        self.kept.changed.notify_waiters();
    }

    /// Sets the number of bytes to read per second.
    pub(super) fn set_speed(&self, speed: u64) {
        self.kept.speed.store(speed, Ordering::Relaxed);
    }

    /// Ends the receiver and its connections, and returns what it received. Bytes that it has not read are lost, as
    /// with any TCP receiver that is killed.
    pub(super) async fn kill(self) -> Vec<i64> {
        self.kept.killed.cancel();
        drop(self.task.await);
        std::mem::take(&mut self.kept.numbers.lock())
    }
}

async fn receive(mut stream: TcpStream, kept: Arc<Kept>) {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let mut count = 0;
    loop {
        if kept.ends_with(count) {
            return;
        }
        let speed = kept.speed.load(Ordering::Relaxed);
        if speed == STOPPED {
            match kept.killed.run_until_cancelled(kept.changed.notified()).await {
                Some(()) => continue,
                None => return,
            }
        }
        let most = if speed == 0 {
            chunk.len()
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            usize::try_from(speed / 20).unwrap()
        };
        let read = kept.killed.run_until_cancelled(stream.read(&mut chunk[..most])).await;
        let read = read.unwrap_or_else(|| stream.try_read(&mut chunk));
        match read {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
        let mut used = 0;
        let mut numbers: Vec<i64> = Vec::new();
        let mut ends = false;
        while let Some((length, begin)) = announced(&buffer[used..]) {
            ends = kept.ends_at(length, count);
            let Some(message) = buffer.get(used + begin..used + begin + length).filter(|_| !ends) else {
                break;
            };
            let message = std::str::from_utf8(message).unwrap();
            let text = message.rsplit(" - ").next().unwrap();
            let number = text.trim_start_matches("- ").split_whitespace().next().unwrap();
            numbers.push(number.parse().unwrap());
            used += begin + length;
            count += 1;
        }
        buffer.drain(..used);
        kept.numbers.lock().extend(numbers);
        if ends {
            return;
        }
    }
}

/// Returns the length of the next message and the offset at which it begins.
fn announced(bytes: &[u8]) -> Option<(usize, usize)> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
    Some((length, space + 1))
}
