//! Argon2id on threads of its own.
//!
//! A hash takes tens of milliseconds of a core and megabytes of memory, on purpose. So there are few threads for it, at a
//! lower priority than everything else, and lines with an end: a storm of logins waits there or is told when to come again,
//! and keys, tokens and checks go on beside it.
//!
//! People and clients have a [`Gate`] each, which lets in as many jobs at a time as there are threads. The threads take what
//! was let in by order of arrival, so they serve both by turns when both wait: the platform's components, which show their
//! clients' secrets, are served while everybody logs in at once, and the other way round.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_platform_uaa_store::secrets;
use weir_service::{Guard, Tasks, clock};

use crate::admission::Gate;
use crate::config::HashingConfig;

/// How much the hashing threads give way to others.
const NICENESS: i32 = 10;

/// Longest line of the clients; shorter if that of people is.
const CLIENTS: usize = 64;

/// How long a hash takes before one was measured.
const FIRST_GUESS: Duration = Duration::from_millis(50);

/// In whose line a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Users' passwords.
    People,
    /// Clients' secrets.
    Clients,
}

/// The line for hashing is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// How long a refused caller should wait before the next attempt.
    pub retry_after: Duration,
}

/// What a thread does; whether that was a hash, and not a job that nobody waits for any more.
type Job = Box<dyn FnOnce(&Argon2<'static>) -> bool + Send>;

/// Hashes passwords and secrets, and checks them. Clones share the threads.
#[derive(Clone)]
pub struct Hasher {
    shared: Arc<Shared>,
}

struct Shared {
    people: Arc<Gate>,
    clients: Arc<Gate>,
    /// As long as all turns of both gates, so there is always room; `None` once the threads are to end.
    jobs: Mutex<Option<SyncSender<Job>>>,
    argon: Argon2<'static>,
    /// The hash that passwords of unknown users are checked against, so that they take as long as those of known ones.
    nobody: String,
    threads: usize,
    /// Mean time of a hash so far, in microseconds.
    mean: Arc<AtomicU64>,
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
    pub fn start(config: HashingConfig, tasks: &Tasks) -> std::io::Result<Self> {
        let (hasher, jobs) = Self::without_threads(config);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..config.threads {
            let worker = Worker {
                jobs: Arc::clone(&jobs),
                argon: hasher.shared.argon.clone(),
                mean: Arc::clone(&hasher.shared.mean),
                _guard: tasks.hold("password hashing"),
            };
            std::thread::Builder::new()
                .name(format!("hashing-{index}"))
                .spawn(move || worker.run())?;
        }
        Ok(hasher)
    }

    /// A hasher, and what its threads are to do.
    fn without_threads(config: HashingConfig) -> (Self, Receiver<Job>) {
        let params = Params::new(config.memory_kib, config.passes, 1, None).unwrap_or_default();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let (sender, jobs) = sync_channel(config.threads * 2);
        let shared = Shared {
            people: Gate::new(config.threads, config.queue),
            clients: Gate::new(config.threads, config.queue.min(CLIENTS)),
            jobs: Mutex::new(Some(sender)),
            nobody: hash(&argon, secrets::random_token::<32>().as_bytes()),
            argon,
            threads: config.threads,
            mean: Arc::new(AtomicU64::new(micros(FIRST_GUESS))),
        };
        let hasher = Self {
            shared: Arc::new(shared),
        };
        (hasher, jobs)
    }

    /// A new hash of a user's password, with a salt of its own.
    pub async fn hash(&self, password: &str) -> Result<String, Busy> {
        self.hash_for(Class::People, password).await
    }

    /// Whether the password is the one that was hashed. Without a hash it takes as long and is wrong.
    pub async fn verify(&self, hash: Option<&str>, password: &str) -> Result<bool, Busy> {
        self.verify_for(Class::People, hash, password).await
    }

    /// A new hash of a client's secret, with a salt of its own.
    pub async fn hash_secret(&self, secret: &str) -> Result<String, Busy> {
        self.hash_for(Class::Clients, secret).await
    }

    /// Whether the secret is the one that was hashed. Without a hash it takes as long and is wrong.
    pub async fn verify_secret(&self, hash: Option<&str>, secret: &str) -> Result<bool, Busy> {
        self.verify_for(Class::Clients, hash, secret).await
    }

    async fn hash_for(&self, class: Class, password: &str) -> Result<String, Busy> {
        let password = password.as_bytes().to_vec();
        self.run(class, move |argon| hash(argon, &password)).await
    }

    async fn verify_for(&self, class: Class, known: Option<&str>, password: &str) -> Result<bool, Busy> {
        let (exists, password) = (known.is_some(), password.as_bytes().to_vec());
        let known = known.unwrap_or(&self.shared.nobody).to_owned();
        let verify = move |argon: &Argon2<'static>| {
            PasswordHash::new(&known).is_ok_and(|known| argon.verify_password(&password, &known).is_ok())
        };
        Ok(self.run(class, verify).await? && exists)
    }

    /// Has a thread do `work`, when it is the turn of this class.
    async fn run<T, F>(&self, class: Class, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce(&Argon2<'static>) -> T + Send + 'static,
    {
        let turn = self.gate(class).take().await.ok_or_else(|| self.busy(class))?;
        let (reply, answer) = oneshot::channel();
        // The turn goes with the job, also when its caller gives up: what waits for threads stays bounded.
        let job: Job = Box::new(move |argon| {
            if reply.is_closed() {
                return false;
            }
            let outcome = work(argon);
            drop(turn);
            if reply.send(outcome).is_err() {
                tracing::debug!("nobody waits for a hash any more");
            }
            true
        });
        let sent = self
            .shared
            .jobs
            .lock()
            .as_ref()
            .is_some_and(|jobs| jobs.try_send(job).is_ok());
        if !sent {
            return Err(self.busy(class));
        }
        answer.await.map_err(|_| self.busy(class))
    }

    /// Whether a hash was made with other parameters than new ones are.
    pub fn is_outdated(&self, hash: &str) -> bool {
        let params = self.shared.argon.params();
        let ours = format!(
            "$argon2id$v=19$m={},t={},p={}$",
            params.m_cost(),
            params.t_cost(),
            params.p_cost()
        );
        !hash.starts_with(&ours)
    }

    /// The number of hashes that wait or are being made.
    pub fn waiting(&self) -> usize {
        self.shared.people.entered() + self.shared.clients.entered()
    }

    fn gate(&self, class: Class) -> &Arc<Gate> {
        match class {
            Class::People => &self.shared.people,
            Class::Clients => &self.shared.clients,
        }
    }

    /// Takes no more work; the threads end when they have done what they were given.
    pub fn stop(&self) {
        self.shared.people.close();
        self.shared.clients.close();
        self.shared.jobs.lock().take();
    }

    /// When half of what waits there is done.
    fn busy(&self, class: Class) -> Busy {
        let mean = Duration::from_micros(self.shared.mean.load(Ordering::Relaxed));
        let waiting = u32::try_from(self.gate(class).entered()).unwrap_or(u32::MAX);
        let threads = u32::try_from(self.shared.threads).unwrap_or(1).max(1);
        let half = mean.saturating_mul(waiting) / threads / 2;
        Busy {
            retry_after: Duration::from_secs(half.as_secs().clamp(1, 60)),
        }
    }
}

struct Worker {
    jobs: Arc<Mutex<Receiver<Job>>>,
    argon: Argon2<'static>,
    mean: Arc<AtomicU64>,
    _guard: Guard,
}

impl Worker {
    fn run(self) {
        give_way();
        loop {
            // In a statement of its own, so that the others may take theirs while this one works.
            let job = self.jobs.lock().recv();
            let Ok(job) = job else { return };
            let start = clock::instant();
            if job(&self.argon) {
                let mean = self.mean.load(Ordering::Relaxed);
                self.mean
                    .store((mean * 7 + micros(start.elapsed())) / 8, Ordering::Relaxed);
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
    use futures::FutureExt as _;
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
        assert!(
            !hasher.is_outdated(&hasher.shared.nobody),
            "a name that is not known costs as much as one that is"
        );
        assert!(!hasher.is_outdated(&one));
        assert!(hasher.is_outdated(&one.replace("m=64", "m=32")) && hasher.is_outdated("no hash"));
        hasher.stop();
        assert!(hasher.hash("late").await.is_err());
        context.finish(Duration::from_secs(10)).await.unwrap();
    }

    /// A full line refuses at once and says when to come again; who gives up makes room.
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

    /// Each class has its places, and both are served by turns, whoever came first.
    #[tokio::test]
    async fn classes_take_turns() {
        let (hasher, jobs) = Hasher::without_threads(config(2));
        let mut people: Vec<_> = (0..3).map(|_| hasher.hash("secret").boxed_local()).collect();
        for attempt in &mut people {
            assert!(attempt.now_or_never().is_none());
        }
        assert!(hasher.hash("secret").await.is_err(), "the line of people is full");
        let mut clients: Vec<_> = (0..2).map(|_| hasher.hash_secret("secret").boxed_local()).collect();
        for attempt in &mut clients {
            assert!(attempt.now_or_never().is_none());
        }
        let mut order = String::new();
        while let Ok(job) = jobs.try_recv() {
            assert!(job(&hasher.shared.argon));
            // Whoever is done leaves, and the next of the same class is let in.
            for (attempts, letter) in [(&mut people, 'p'), (&mut clients, 'c')] {
                let before = attempts.len();
                attempts.retain_mut(|attempt| attempt.now_or_never().is_none());
                order.extend(std::iter::repeat_n(letter, before - attempts.len()));
            }
        }
        assert_eq!(order, "pcpcp");
        assert_eq!(hasher.waiting(), 0);
        let (wide, _jobs) = Hasher::without_threads(config(10_000));
        let mut attempts: Vec<_> = (0..CLIENTS + 10)
            .map(|_| Box::pin(wide.hash_secret("secret")))
            .collect();
        let refused = attempts.iter_mut().filter_map(|attempt| attempt.now_or_never()).count();
        assert_eq!((refused, wide.waiting()), (9, CLIENTS + 1));
    }
}
