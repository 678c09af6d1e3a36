//! Argon2id on threads of its own.
//!
//! A hash takes tens of milliseconds of a core and megabytes of memory, on purpose. So there are few threads for it, at a
//! lower priority than everything else, and a queue with an end: a storm of logins waits there or is told when to come
//! again, and keys, tokens and checks go on beside it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use weir_service::{Guard, Tasks, clock};

use crate::config::HashingConfig;
use crate::secrets;

/// How much the hashing threads give way to others.
const NICENESS: i32 = 10;

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
    queue: RwLock<Option<SyncSender<Job>>>,
    argon: Argon2<'static>,
    /// What unknown users are checked against.
    nobody: String,
    threads: usize,
    waiting: AtomicUsize,
    /// Mean time of a hash so far, in microseconds.
    mean: AtomicU64,
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
        let (sender, receiver) = sync_channel(config.queue);
        let shared = Arc::new(Shared {
            queue: RwLock::new(Some(sender)),
            nobody: hash(&argon, secrets::random_token::<32>().as_bytes()),
            argon,
            threads: config.threads,
            waiting: AtomicUsize::new(0),
            mean: AtomicU64::new(50_000),
        });
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..config.threads {
            let worker = Worker {
                receiver: Arc::clone(&receiver),
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

    /// A new hash, with a salt of its own.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Busy> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Hash(password.as_bytes().to_vec(), reply))?;
        self.finish(answer.await)
    }

    /// Whether the password is the one that was hashed. Without a hash it takes as long and is wrong.
    pub(crate) async fn verify(&self, hash: Option<&str>, password: &str) -> Result<bool, Busy> {
        let (reply, answer) = oneshot::channel();
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.shared.nobody).to_owned();
        self.push(Job::Verify(hash, password.as_bytes().to_vec(), reply))?;
        Ok(self.finish(answer.await)? && known)
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
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Takes no more work; the threads end when they have done what waits.
    pub(crate) fn stop(&self) {
        self.shared.queue.write().take();
    }

    fn push(&self, job: Job) -> Result<(), Busy> {
        let queue = self.shared.queue.read();
        let sender = queue.as_ref().ok_or_else(|| self.busy())?;
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        sender.try_send(job).map_err(|error| {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            let (TrySendError::Full(_) | TrySendError::Disconnected(_)) = error;
            self.busy()
        })
    }

    fn finish<T>(&self, answer: Result<T, oneshot::error::RecvError>) -> Result<T, Busy> {
        answer.map_err(|_| self.busy())
    }

    /// When half of what waits is done.
    fn busy(&self) -> Busy {
        let mean = Duration::from_micros(self.shared.mean.load(Ordering::Relaxed));
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        let threads = u32::try_from(self.shared.threads).unwrap_or(1).max(1);
        let half = mean.saturating_mul(waiting) / threads / 2;
        Busy {
            retry_after: Duration::from_secs(half.as_secs().clamp(1, 60)),
        }
    }
}

struct Worker {
    receiver: Arc<Mutex<Receiver<Job>>>,
    shared: std::sync::Weak<Shared>,
    argon: Argon2<'static>,
    _guard: Guard,
}

impl Worker {
    fn run(self) {
        give_way();
        loop {
            let job = self.receiver.lock().recv();
            let Ok(job) = job else { return };
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
            if let Some(shared) = self.shared.upgrade() {
                shared.waiting.fetch_sub(1, Ordering::Relaxed);
                if answer.is_some() {
                    let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                    let mean = shared.mean.load(Ordering::Relaxed);
                    shared.mean.store((mean * 7 + took) / 8, Ordering::Relaxed);
                }
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
        let (_trigger, context) = Context::in_memory("uaa");
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
        let (_trigger, context) = Context::in_memory("uaa");
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
}
