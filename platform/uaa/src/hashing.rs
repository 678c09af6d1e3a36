//! Argon2id on threads of its own.
//!
//! A hash takes tens of milliseconds of a core and megabytes of memory, on purpose. So there are few threads for it, at a
//! lower priority than everything else, and queues with an end: a storm of logins waits there or is told when to come
//! again, and keys, tokens and checks go on beside it.
//!
//! People and clients have a queue each, and the threads take from both by turns: the platform's components, which show
//! their clients' secrets, are served while everybody logs in at once, and the other way round.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use weir_service::{Guard, Tasks, clock};

use crate::config::HashingConfig;
use crate::secrets;

/// How much the hashing threads give way to others.
const NICENESS: i32 = 10;

/// Longest queue of the clients; shorter if that of people is.
const CLIENTS: usize = 64;

/// In whose queue something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Users' passwords.
    People,
    /// Clients' secrets.
    Clients,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy {
    /// When it is worth coming again.
    pub(crate) retry_after: Duration,
}

/// Hashes passwords and secrets, and checks them. Clones share the threads.
#[derive(Clone)]
pub(crate) struct Hasher {
    shared: Arc<Shared>,
}

struct Shared {
    line: Arc<Line>,
    argon: Argon2<'static>,
    /// What unknown users are checked against.
    nobody: String,
    threads: usize,
    /// Mean time of a hash so far, in microseconds.
    mean: AtomicU64,
}

/// What waits for a thread.
struct Line {
    queues: Mutex<Queues>,
    more: Condvar,
    /// Waiting or being worked on, by lane.
    under_way: [AtomicUsize; 2],
}

struct Queues {
    waiting: [VecDeque<Job>; 2],
    most: [usize; 2],
    /// Whose turn it is, if both wait.
    next: Lane,
    closed: bool,
}

impl Lane {
    const fn index(self) -> usize {
        match self {
            Self::People => 0,
            Self::Clients => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::People => Self::Clients,
            Self::Clients => Self::People,
        }
    }
}

impl Line {
    fn new(people: usize) -> Self {
        Self {
            queues: Mutex::new(Queues {
                waiting: [VecDeque::new(), VecDeque::new()],
                most: [people, people.min(CLIENTS)],
                next: Lane::Clients,
                closed: false,
            }),
            more: Condvar::new(),
            under_way: [AtomicUsize::new(0), AtomicUsize::new(0)],
        }
    }

    /// Whether there was a place.
    fn push(&self, lane: Lane, job: Job) -> bool {
        let mut queues = self.queues.lock();
        let index = lane.index();
        if queues.closed || queues.waiting[index].len() >= queues.most[index] {
            return false;
        }
        queues.waiting[index].push_back(job);
        self.under_way[index].fetch_add(1, Ordering::Relaxed);
        drop(queues);
        self.more.notify_one();
        true
    }

    /// The next one, when there is one; `None` when there will be none any more.
    fn next(&self) -> Option<(Lane, Job)> {
        let mut queues = self.queues.lock();
        loop {
            let turn = queues.next;
            for lane in [turn, turn.other()] {
                if let Some(job) = queues.waiting[lane.index()].pop_front() {
                    queues.next = lane.other();
                    return Some((lane, job));
                }
            }
            if queues.closed {
                return None;
            }
            self.more.wait(&mut queues);
        }
    }

    fn close(&self) {
        self.queues.lock().closed = true;
        self.more.notify_all();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.line.close();
    }
}

enum Job {
    Hash(Vec<u8>, oneshot::Sender<String>),
    Verify(String, Vec<u8>, oneshot::Sender<bool>),
}

enum Answer {
    Hash(String, oneshot::Sender<String>),
    Verify(bool, oneshot::Sender<bool>),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hasher")
            .field("threads", &self.shared.threads)
            .finish_non_exhaustive()
    }
}

impl Hasher {
    /// Starts the threads. They end after [`Hasher::stop`], or with the last clone.
    pub(crate) fn start(config: HashingConfig, tasks: &Tasks) -> std::io::Result<Self> {
        let params = Params::new(config.memory_kib, config.passes, 1, None).unwrap_or_default();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let line = Arc::new(Line::new(config.queue));
        let shared = Arc::new(Shared {
            line: Arc::clone(&line),
            nobody: hash(&argon, secrets::random_token::<32>().as_bytes()),
            argon,
            threads: config.threads,
            mean: AtomicU64::new(50_000),
        });
        for index in 0..config.threads {
            let worker = Worker {
                line: Arc::clone(&line),
                shared: Arc::downgrade(&shared),
                argon: shared.argon.clone(),
                _guard: tasks.hold("password hashing"),
            };
            std::thread::Builder::new()
                .name(format!("hashing-{index}"))
                .spawn(move || worker.run())?;
        }
        Ok(Self { shared })
    }

    /// A new hash of a user's password, with a salt of its own.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Busy> {
        self.hash_in(Lane::People, password).await
    }

    /// Whether the password is the one that was hashed. Without a hash it takes as long and is wrong.
    pub(crate) async fn verify(&self, hash: Option<&str>, password: &str) -> Result<bool, Busy> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.shared.nobody);
        Ok(self.verify_in(Lane::People, hash, password).await? && known)
    }

    /// As `hash`, of a client's secret.
    pub(crate) async fn hash_secret(&self, secret: &str) -> Result<String, Busy> {
        self.hash_in(Lane::Clients, secret).await
    }

    /// As `verify`, for a client's secret.
    pub(crate) async fn verify_secret(&self, hash: Option<&str>, secret: &str) -> Result<bool, Busy> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.shared.nobody);
        Ok(self.verify_in(Lane::Clients, hash, secret).await? && known)
    }

    async fn hash_in(&self, lane: Lane, password: &str) -> Result<String, Busy> {
        let (reply, answer) = oneshot::channel();
        self.push(lane, Job::Hash(password.as_bytes().to_vec(), reply))?;
        self.finish(lane, answer.await)
    }

    async fn verify_in(&self, lane: Lane, hash: &str, password: &str) -> Result<bool, Busy> {
        let (reply, answer) = oneshot::channel();
        self.push(lane, Job::Verify(hash.to_owned(), password.as_bytes().to_vec(), reply))?;
        self.finish(lane, answer.await)
    }

    /// Whether a hash was made with other parameters than new ones are.
    pub(crate) fn is_outdated(&self, hash: &str) -> bool {
        let params = self.shared.argon.params();
        let ours = format!(
            "$argon2id$v=19$m={},t={},p={}$",
            params.m_cost(),
            params.t_cost(),
            params.p_cost()
        );
        !hash.starts_with(&ours)
    }

    /// How many wait or are being worked on.
    pub(crate) fn waiting(&self) -> usize {
        self.under_way(Lane::People) + self.under_way(Lane::Clients)
    }

    fn under_way(&self, lane: Lane) -> usize {
        self.shared.line.under_way[lane.index()].load(Ordering::Relaxed)
    }

    /// Takes no more work; the threads end when they have done what waits.
    pub(crate) fn stop(&self) {
        self.shared.line.close();
    }

    fn push(&self, lane: Lane, job: Job) -> Result<(), Busy> {
        if self.shared.line.push(lane, job) {
            Ok(())
        } else {
            Err(self.busy(lane))
        }
    }

    fn finish<T>(&self, lane: Lane, answer: Result<T, oneshot::error::RecvError>) -> Result<T, Busy> {
        answer.map_err(|_| self.busy(lane))
    }

    /// When half of what waits there is done.
    fn busy(&self, lane: Lane) -> Busy {
        let mean = Duration::from_micros(self.shared.mean.load(Ordering::Relaxed));
        let waiting = u32::try_from(self.under_way(lane)).unwrap_or(u32::MAX);
        let threads = u32::try_from(self.shared.threads).unwrap_or(1).max(1);
        let half = mean.saturating_mul(waiting) / threads / 2;
        Busy {
            retry_after: Duration::from_secs(half.as_secs().clamp(1, 60)),
        }
    }
}

struct Worker {
    line: Arc<Line>,
    shared: std::sync::Weak<Shared>,
    argon: Argon2<'static>,
    _guard: Guard,
}

impl Worker {
    fn run(self) {
        give_way();
        while let Some((lane, job)) = self.line.next() {
            let start = clock::instant();
            // Who gave up costs nothing any more.
            let answer = match job {
                Job::Hash(_, reply) if reply.is_closed() => None,
                Job::Verify(_, _, reply) if reply.is_closed() => None,
                Job::Hash(password, reply) => Some(Answer::Hash(hash(&self.argon, &password), reply)),
                Job::Verify(hash, password, reply) => {
                    let matches =
                        PasswordHash::new(&hash).is_ok_and(|hash| self.argon.verify_password(&password, &hash).is_ok());
                    Some(Answer::Verify(matches, reply))
                }
            };
            self.line.under_way[lane.index()].fetch_sub(1, Ordering::Relaxed);
            if let Some(shared) = self.shared.upgrade()
                && answer.is_some()
            {
                let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                let mean = shared.mean.load(Ordering::Relaxed);
                shared.mean.store((mean * 7 + took) / 8, Ordering::Relaxed);
            }
            let unheard = match answer {
                Some(Answer::Hash(hash, reply)) => reply.send(hash).is_err(),
                Some(Answer::Verify(matches, reply)) => reply.send(matches).is_err(),
                None => true,
            };
            if unheard {
                tracing::debug!("nobody waits for a hash any more");
            }
        }
    }
}

/// Lowers the priority of this thread, where the system has such a thing for threads.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::debug!(%error, "hashing runs at normal priority");
    }
}

fn hash(argon: &Argon2<'_>, password: &[u8]) -> String {
    let mut salt = [0; 16];
    secrets::fill(&mut salt);
    argon
        .hash_password_with_salt(password, &salt)
        .expect("the parameters were checked, and a password is shorter than 4 GiB")
        .to_string()
}

#[cfg(test)]
mod tests {
    use weir_service::Context;

    use super::*;

    fn config(queue: usize) -> HashingConfig {
        HashingConfig {
            memory_kib: 64,
            passes: 1,
            threads: 1,
            queue,
        }
    }

    /// A hash is of its password only, salted, in the form that others read too; nobody's password is never right.
    #[tokio::test]
    async fn hashes_and_verifies() {
        let (_trigger, context) = Context::new("uaa");
        let hasher = Hasher::start(config(8), &context.tasks).unwrap();
        let (one, two) = (
            hasher.hash("secret").await.unwrap(),
            hasher.hash("secret").await.unwrap(),
        );
        assert_ne!(one, two);
        assert!(one.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{one}");
        assert!(hasher.verify(Some(&one), "secret").await.unwrap());
        assert!(!hasher.verify(Some(&one), "Secret").await.unwrap());
        assert!(!hasher.verify(Some("no hash"), "secret").await.unwrap());
        assert!(!hasher.verify(None, "secret").await.unwrap());
        assert!(!hasher.is_outdated(&one));
        assert!(hasher.is_outdated(&one.replace("m=64", "m=32")) && hasher.is_outdated("no hash"));
        hasher.stop();
        assert!(hasher.hash("late").await.is_err());
        context.finish(Duration::from_secs(10)).await.unwrap();
    }

    /// A full queue refuses at once and says when to come again; who gives up makes room.
    #[tokio::test]
    async fn the_queue_has_an_end() {
        let (_trigger, context) = Context::new("uaa");
        let hasher = Hasher::start(
            HashingConfig {
                memory_kib: 64 * 1024,
                passes: 2,
                ..config(1)
            },
            &context.tasks,
        )
        .unwrap();
        let attempts = (0..20).map(|_| hasher.hash("secret"));
        let results = futures::future::join_all(attempts).await;
        let refused = results.iter().filter(|result| result.is_err()).count();
        assert!(refused >= 17, "{refused}");
        let busy = results.into_iter().find_map(Result::err).unwrap();
        assert!(busy.retry_after >= Duration::from_secs(1));
        assert!(hasher.hash("secret").await.is_ok());
        assert_eq!(hasher.waiting(), 0);
    }

    /// Each lane has its places, and both are served by turns, whoever came first.
    #[test]
    fn lanes_take_turns() {
        let line = Line::new(3);
        let job = || Job::Hash(Vec::new(), oneshot::channel().0);
        for _ in 0..3 {
            assert!(line.push(Lane::People, job()));
        }
        assert!(!line.push(Lane::People, job()));
        assert!(line.push(Lane::Clients, job()) && line.push(Lane::Clients, job()));
        let order: Vec<Lane> = (0..5).map(|_| line.next().unwrap().0).collect();
        let (people, clients) = (Lane::People, Lane::Clients);
        assert_eq!(order, [clients, people, clients, people, people]);
        line.close();
        assert!(line.next().is_none() && !line.push(Lane::Clients, job()));
        let wide = Line::new(10_000);
        assert_eq!(wide.queues.lock().most, [10_000, CLIENTS]);
    }
}
