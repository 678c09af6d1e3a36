//! Hashes and verifies passwords and secrets with Argon2id, on threads of its own.
//!
//! A hash takes tens of milliseconds of a core and megabytes of memory, by design. It runs on a few threads with a lower
//! priority, behind bounded queues: in a storm of logins, requests wait there or are refused with a time for the next
//! attempt, and requests without a password are not delayed.
//!
//! Users and clients have an [`AdmissionQueue`] each, which admits as many jobs at a time as there are threads. The threads
//! take admitted jobs in the order of arrival, and so serve both classes alternately when both wait. The platform's components,
//! which send their client secrets, are therefore served during a storm of user logins, and users during one of clients.

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

use crate::admission::AdmissionQueue;
use crate::config::HashingConfig;

/// The niceness of the hashing threads (`nice(2)`).
const NICENESS: i32 = 10;

/// The number of requests with client secrets that may wait, if `queue` of the configuration is not lower. Few clients
/// exist, and the secret cache spares them most hashes.
const CLIENTS_WAITING: usize = 64;

/// The assumed time of a hash until one was measured.
const ASSUMED_TIME: Duration = Duration::from_millis(50);

/// The queue in which a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The passwords of users.
    Users,
    /// The secrets of clients.
    Clients,
}

/// The queue for hashing is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// How long a refused caller should wait before the next attempt.
    pub retry_after: Duration,
}

/// A job of a hashing thread. It returns `false` if it did nothing because its caller had gone.
type Job = Box<dyn FnOnce(&Argon2<'static>) -> bool + Send>;

/// Hashes passwords and secrets, and checks them. Clones share the threads.
#[derive(Clone)]
pub struct Hasher {
    shared: Arc<Shared>,
}

struct Shared {
    users: Arc<AdmissionQueue>,
    clients: Arc<AdmissionQueue>,
    /// The jobs for the threads; `None` after [`Hasher::stop`]. The channel holds all turns of both queues, so it is never full.
    jobs: Mutex<Option<SyncSender<Job>>>,
    argon: Argon2<'static>,
    /// The hash that passwords of unknown users are checked against, so that they take as long as those of known ones.
    unknown_user: String,
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

    /// Returns a hasher and the jobs for its threads.
    fn without_threads(config: HashingConfig) -> (Self, Receiver<Job>) {
        let params = Params::new(config.memory_kib, config.passes, 1, None).unwrap_or_default();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let (sender, jobs) = sync_channel(config.threads * 2);
        let shared = Shared {
            users: AdmissionQueue::new(config.threads, config.queue),
            clients: AdmissionQueue::new(config.threads, config.queue.min(CLIENTS_WAITING)),
            jobs: Mutex::new(Some(sender)),
            unknown_user: hash(&argon, secrets::random_token::<32>().as_bytes()),
            argon,
            threads: config.threads,
            mean: Arc::new(AtomicU64::new(micros(ASSUMED_TIME))),
        };
        let hasher = Self {
            shared: Arc::new(shared),
        };
        (hasher, jobs)
    }

    /// Hashes a user's password with a new salt.
    pub async fn hash(&self, password: &str) -> Result<String, Busy> {
        self.hash_for(Class::Users, password).await
    }

    /// Whether `password` is the password of `hash`. Without a hash the answer is `false` after the time of a hash, so that the
    /// time does not tell whether a user exists.
    pub async fn verify(&self, hash: Option<&str>, password: &str) -> Result<bool, Busy> {
        self.verify_for(Class::Users, hash, password).await
    }

    /// Hashes a client's secret with a new salt.
    pub async fn hash_secret(&self, secret: &str) -> Result<String, Busy> {
        self.hash_for(Class::Clients, secret).await
    }

    /// Whether `secret` is the secret of `hash`. Without a hash the answer is `false` after the time of a hash.
    pub async fn verify_secret(&self, hash: Option<&str>, secret: &str) -> Result<bool, Busy> {
        self.verify_for(Class::Clients, hash, secret).await
    }

    async fn hash_for(&self, class: Class, password: &str) -> Result<String, Busy> {
        let password = password.as_bytes().to_vec();
        self.run(class, move |argon| hash(argon, &password)).await
    }

    async fn verify_for(&self, class: Class, known: Option<&str>, password: &str) -> Result<bool, Busy> {
        let (exists, password) = (known.is_some(), password.as_bytes().to_vec());
        let known = known.unwrap_or(&self.shared.unknown_user).to_owned();
        let verify = move |argon: &Argon2<'static>| {
            PasswordHash::new(&known).is_ok_and(|known| argon.verify_password(&password, &known).is_ok())
        };
        Ok(self.run(class, verify).await? && exists)
    }

    /// Runs `work` on a hashing thread when the class has a turn.
    async fn run<T, F>(&self, class: Class, work: F) -> Result<T, Busy>
    where
        T: Send + 'static,
        F: FnOnce(&Argon2<'static>) -> T + Send + 'static,
    {
        let turn = self.queue(class).take().await.ok_or_else(|| self.busy(class))?;
        let (reply, answer) = oneshot::channel();
        // The job owns the turn: a caller that goes away leaves its job in the channel, which must stay counted until a thread
        // has taken it.
        let job: Job = Box::new(move |argon| {
            if reply.is_closed() {
                return false;
            }
            let outcome = work(argon);
            drop(turn);
            if reply.send(outcome).is_err() {
                tracing::debug!("the caller of a hash has gone");
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

    /// Whether a hash was made with other parameters than those of the configuration.
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

    /// Returns the number of hashes that wait or are being computed.
    pub fn waiting(&self) -> usize {
        self.shared.users.entered() + self.shared.clients.entered()
    }

    fn queue(&self, class: Class) -> &Arc<AdmissionQueue> {
        match class {
            Class::Users => &self.shared.users,
            Class::Clients => &self.shared.clients,
        }
    }

    /// Refuses further work. The threads end when they have done the jobs that are in the channel.
    pub fn stop(&self) {
        self.shared.users.close();
        self.shared.clients.close();
        self.shared.jobs.lock().take();
    }

    /// Returns the refusal of a full queue. The caller should try again when half of the waiting jobs are done.
    fn busy(&self, class: Class) -> Busy {
        let mean = Duration::from_micros(self.shared.mean.load(Ordering::Relaxed));
        let waiting = u32::try_from(self.queue(class).entered()).unwrap_or(u32::MAX);
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
        lower_priority();
        loop {
            // A statement of its own: in the `let else`, the lock would be held while the job runs.
            let job = self.jobs.lock().recv();
            let Ok(job) = job else { return };
            let start = clock::instant();
            if job(&self.argon) {
                // A moving average over about 8 hashes. A lost update between two threads does no harm.
                let mean = self.mean.load(Ordering::Relaxed);
                self.mean
                    .store((mean * 7 + micros(start.elapsed())) / 8, Ordering::Relaxed);
            }
        }
    }
}

/// Lowers the priority of this thread. Only Linux has priorities of threads.
fn lower_priority() {
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

    /// A hash is salted, has the PHC form, and matches its own password only. Without a hash no password matches.
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
            !hasher.is_outdated(&hasher.shared.unknown_user),
            "an unknown name costs as much as a known one"
        );
        assert!(!hasher.is_outdated(&one));
        assert!(hasher.is_outdated(&one.replace("m=64", "m=32")) && hasher.is_outdated("no hash"));
        hasher.stop();
        assert!(hasher.hash("late").await.is_err());
        context.finish(Duration::from_secs(10)).await.unwrap();
    }

    /// A full queue refuses at once with a time for the next attempt, and has room again when its hashes are done.
    #[tokio::test]
    async fn a_full_queue_refuses() {
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

    /// Each class has its own places, and both are served alternately when both wait.
    #[tokio::test]
    async fn classes_are_served_alternately() {
        let (hasher, jobs) = Hasher::without_threads(config(2));
        let mut users: Vec<_> = (0..3).map(|_| hasher.hash("secret").boxed_local()).collect();
        for attempt in &mut users {
            assert!(attempt.now_or_never().is_none());
        }
        assert!(hasher.hash("secret").await.is_err(), "the queue of users is full");
        let mut clients: Vec<_> = (0..2).map(|_| hasher.hash_secret("secret").boxed_local()).collect();
        for attempt in &mut clients {
            assert!(attempt.now_or_never().is_none());
        }
        let mut order = String::new();
        while let Ok(job) = jobs.try_recv() {
            assert!(job(&hasher.shared.argon));
            // A finished attempt leaves its queue, and the next of its class is admitted.
            for (attempts, letter) in [(&mut users, 'u'), (&mut clients, 'c')] {
                let before = attempts.len();
                attempts.retain_mut(|attempt| attempt.now_or_never().is_none());
                order.extend(std::iter::repeat_n(letter, before - attempts.len()));
            }
        }
        assert_eq!(order, "ucucu");
        assert_eq!(hasher.waiting(), 0);
        let (wide, _jobs) = Hasher::without_threads(config(10_000));
        let mut attempts: Vec<_> = (0..CLIENTS_WAITING + 10)
            .map(|_| Box::pin(wide.hash_secret("secret")))
            .collect();
        let refused = attempts.iter_mut().filter_map(|attempt| attempt.now_or_never()).count();
        assert_eq!((refused, wide.waiting()), (9, CLIENTS_WAITING + 1));
    }
}
