//! The disk side of a drain's task. It runs one job at a time on a blocking thread.
//!
//! The [`Spill`] moves into the job and comes back with its result. Places that become settled in the meantime are
//! remembered and settled then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use weir_flow::Loss;
use weir_service::Tasks;

use super::packing::Load;
use super::queue::Waiting;
use crate::spill::{Appended, Budget, Entry, Limits, Losses, Owed, Place, Spill, Stored};

/// How often the cursor is written while envelopes are being settled.
const TIDY_EVERY: Duration = Duration::from_millis(250);

/// How long a disk that failed is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// How many failed attempts to read a part of the backlog are made before that part is given up.
const READ_ATTEMPTS: u32 = 3;

/// The number of bytes that one job reads.
const READ: usize = 512 << 10;

/// Something that is being written to disk, in the order of the entries. It is returned if it could not be written.
#[derive(Debug)]
pub(super) enum Moved {
    /// A copy of the shipment with this sequence number and this many envelopes. The shipment itself is in flight.
    InFlight(u64, u32),
    Load(Load),
    Parcels(Vec<Waiting>),
}

impl Moved {
    fn envelopes(&self) -> u64 {
        match self {
            Self::InFlight(..) => 0,
            Self::Load(load) => load.envelopes(),
            Self::Parcels(parcels) => parcels.iter().map(|waiting| waiting.envelopes() as u64).sum(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::InFlight(..) => 0,
            Self::Load(load) => load.bytes(),
            Self::Parcels(parcels) => parcels.iter().map(|waiting| waiting.bytes() as u64).sum(),
        }
    }
}

/// The result of a job.
#[derive(Debug)]
enum Completed {
    /// The spill was opened and nothing else was done.
    Opened,
    Appended(Appended),
    Read(io::Result<(Vec<Stored>, Losses)>),
    Tidied(io::Result<()>),
    GaveUp(Losses),
    Destroyed(Vec<Loss>, io::Result<()>),
}

/// The result of a job, with the spill (unless it was removed) and what was found in it (if it was opened).
type Returned = (Option<Box<Spill>>, Found, io::Result<Completed>);

/// The contents of a spill that was opened.
#[derive(Debug, Default)]
struct Found {
    /// The number of envelopes in it, including those that are missing.
    envelopes: u64,
    /// Envelopes whose segments are gone.
    missing: Vec<Loss>,
}

#[derive(Debug)]
struct Job {
    handle: JoinHandle<Returned>,
    moving: Vec<Moved>,
}

/// The present owner of the spill.
#[derive(Debug)]
enum Slot {
    /// Nothing is on disk.
    None,
    Here(Box<Spill>),
    /// The running job owns the spill.
    Away,
}

/// The results of a finished job of the disk, for the task of the drain.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// The number of envelopes in a backlog that a previous run of the agent left and that is now open.
    pub(super) recovered: u64,
    /// Shipments that now have a copy on disk: sequence number, envelopes, and the place where the copy ends.
    pub(super) placed: Vec<(u64, u32, Place)>,
    /// Envelopes and shipments that could not be written, in their order.
    pub(super) returned: Vec<Moved>,
    pub(super) read: Vec<Stored>,
    pub(super) losses: Losses,
    /// Whether the whole backlog was removed.
    pub(super) destroyed: bool,
}

/// The amounts on disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) unread: u64,
    pub(super) unsettled: u64,
    pub(super) bytes: u64,
    pub(super) oldest: Option<i64>,
    /// The number of the first segment on disk. Everything in earlier segments was given up or delivered.
    pub(super) first_segment: u64,
}

/// Why writing failed, and when it is tried again.
#[derive(Debug)]
struct Trouble {
    text: Arc<str>,
    retry_at: Instant,
}

/// The backlog of one drain.
#[derive(Debug)]
pub(super) struct Backlog {
    tasks: Tasks,
    folder: PathBuf,
    limits: Limits,
    budget: Arc<Budget>,
    source: Option<String>,
    slot: Slot,
    job: Option<Job>,
    settled: Vec<(Place, u32)>,
    facts: Facts,
    owed: Option<Arc<Owed>>,
    trouble: Option<Trouble>,
    read_failures: u32,
    read_again_at: Option<Instant>,
    tidied: Instant,
}

impl Backlog {
    pub(super) fn new(
        tasks: &Tasks,
        folder: PathBuf,
        limits: Limits,
        budget: &Arc<Budget>,
        source: Option<&str>,
        now: Instant,
    ) -> Self {
        Self {
            tasks: tasks.clone(),
            folder,
            limits,
            budget: Arc::clone(budget),
            source: source.map(str::to_owned),
            slot: Slot::None,
            job: None,
            settled: Vec::new(),
            facts: Facts {
                first_segment: u64::MAX,
                ..Facts::default()
            },
            owed: None,
            trouble: None,
            read_failures: 0,
            read_again_at: None,
            tidied: now,
        }
    }

    /// Returns whether no job is running, so that one may be started.
    pub(super) const fn is_free(&self) -> bool {
        self.job.is_none()
    }

    /// Returns whether there is anything on disk, settled or not.
    pub(super) const fn exists(&self) -> bool {
        !matches!(self.slot, Slot::None)
    }

    pub(super) const fn facts(&self) -> Facts {
        self.facts
    }

    /// Returns the number of envelopes and bytes that are being written to disk.
    pub(super) fn moving(&self) -> (u64, u64) {
        let moving = self.job.iter().flat_map(|job| &job.moving);
        moving.fold((0, 0), |(envelopes, bytes), moved| {
            (envelopes + moved.envelopes(), bytes + moved.bytes())
        })
    }

    /// Returns why the disk cannot be written to.
    pub(super) fn trouble(&self) -> Option<&Arc<str>> {
        self.trouble.as_ref().map(|trouble| &trouble.text)
    }

    /// Returns whether something may be appended now. This is not the case for some time after the disk failed.
    pub(super) fn may_append(&self, now: Instant) -> bool {
        self.is_free() && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= now)
    }

    /// Returns when something may be appended again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.retry_at)
    }

    /// Returns whether something can be read now.
    pub(super) fn may_read(&self, now: Instant) -> bool {
        matches!(self.slot, Slot::Here(_)) && self.facts.unread > 0 && self.read_again_at.is_none_or(|at| at <= now)
    }

    pub(super) const fn read_again_at(&self) -> Option<Instant> {
        self.read_again_at
    }

    /// Returns when the cursor should be written, if it differs from the one on disk.
    pub(super) fn tidy_at(&self) -> Option<Instant> {
        match &self.slot {
            Slot::Here(spill) if spill.is_untidy() => Some(self.tidied + TIDY_EVERY),
            _ => None,
        }
    }

    /// Opens the backlog that a previous run of the agent left.
    pub(super) fn open(&mut self) {
        self.begin(Vec::new(), |spill| (Some(spill), Completed::Opened));
    }

    /// Appends `entries`. `moving` holds what each of them was made from.
    pub(super) fn append(&mut self, entries: Vec<Entry>, moving: Vec<Moved>) {
        self.begin(moving, move |mut spill| {
            let appended = spill.append(entries);
            (Some(spill), Completed::Appended(appended))
        });
    }

    /// Reads the next part.
    pub(super) fn read(&mut self) {
        if self.read_failures >= READ_ATTEMPTS {
            self.read_failures = 0;
            return self.begin(Vec::new(), |mut spill| {
                let unreadable = spill.give_up(1).full;
                let losses = Losses {
                    unreadable,
                    ..Losses::default()
                };
                (Some(spill), Completed::GaveUp(losses))
            });
        }
        self.begin(Vec::new(), |mut spill| {
            let read = spill.read(READ);
            (Some(spill), Completed::Read(read))
        });
    }

    /// Writes the cursor and removes settled segments.
    pub(super) fn tidy(&mut self) {
        self.begin(Vec::new(), |mut spill| {
            let tidied = spill.tidy();
            (Some(spill), Completed::Tidied(tidied))
        });
    }

    /// Gives up at least `bytes` bytes, oldest first.
    pub(super) fn give_up(&mut self, bytes: u64) {
        self.begin(Vec::new(), move |mut spill| {
            let losses = spill.give_up(bytes);
            (Some(spill), Completed::GaveUp(losses))
        });
    }

    /// Removes the whole backlog.
    pub(super) fn destroy(&mut self) {
        self.begin(Vec::new(), |spill| {
            let (losses, removed) = spill.destroy();
            (None, Completed::Destroyed(losses, removed))
        });
    }

    fn begin(
        &mut self,
        moving: Vec<Moved>,
        work: impl FnOnce(Box<Spill>) -> (Option<Box<Spill>>, Completed) + Send + 'static,
    ) {
        // The job gets the spill itself. A second job cannot start meanwhile, because there is nothing to give it.
        let spill = match std::mem::replace(&mut self.slot, Slot::Away) {
            Slot::Here(spill) => Some(spill),
            Slot::None | Slot::Away => None,
        };
        let (folder, limits, budget) = (self.folder.clone(), self.limits, Arc::clone(&self.budget));
        let source = self.source.clone();
        let handle = self.tasks.spawn_blocking("spill", move || {
            let (spill, found) = match spill {
                Some(spill) => (spill, Found::default()),
                None => match Spill::open(&folder, limits, &budget, source.as_deref()) {
                    Ok(mut spill) => {
                        let missing = spill.take_missing();
                        let lost: u64 = missing.iter().map(|loss| loss.count).sum();
                        let envelopes = spill.unsettled() + lost;
                        (Box::new(spill), Found { envelopes, missing })
                    }
                    Err(error) => return (None, Found::default(), Err(error)),
                },
            };
            let (spill, did) = work(spill);
            (spill, found, Ok(did))
        });
        self.job = Some(Job { handle, moving });
    }

    /// Waits until the running job has finished. Waits for ever if there is none. Cancel safe.
    pub(super) async fn done(&mut self, now: impl Fn() -> Instant) -> Finished {
        let Some(job) = &mut self.job else {
            return std::future::pending().await;
        };
        let returned = (&mut job.handle).await;
        let moving = self.job.take().map(|job| job.moving).unwrap_or_default();
        let (spill, found, did) =
            returned.unwrap_or_else(|error| (None, Found::default(), Err(io::Error::other(error))));
        self.slot = spill.map_or(Slot::None, Slot::Here);
        if let Slot::Here(spill) = &mut self.slot {
            self.owed = Some(spill.owed());
            for (end, envelopes) in self.settled.drain(..) {
                spill.settle(end, envelopes);
            }
        } else {
            self.owed = None;
            self.settled.clear();
        }
        let mut finished = self.note(did, moving, now());
        self.refresh();
        finished.recovered = found.envelopes;
        finished.losses.unreadable.extend(found.missing);
        finished
    }

    /// Waits until the running job has finished, if there is one.
    pub(super) async fn settle_down(&mut self, now: impl Fn() -> Instant) -> Option<Finished> {
        if self.is_free() {
            return None;
        }
        Some(self.done(now).await)
    }

    fn note(&mut self, did: Result<Completed, io::Error>, moving: Vec<Moved>, now: Instant) -> Finished {
        let mut finished = Finished::default();
        match did {
            Ok(Completed::Opened) => {}
            Ok(Completed::Appended(appended)) => {
                finished.losses = appended.losses;
                let written = appended.ends.len();
                let mut moving = moving.into_iter();
                // Entries are written in order, so those that were written come first.
                for (end, moved) in appended.ends.into_iter().zip(moving.by_ref()) {
                    if let Moved::InFlight(sequence, envelopes) = moved {
                        finished.placed.push((sequence, envelopes, end));
                    }
                }
                finished.returned = moving.collect();
                match appended.failed {
                    Some((error, _)) => self.failed(&error, now),
                    None if written > 0 => self.trouble = None,
                    None => {}
                }
            }
            Ok(Completed::Read(Ok((read, losses)))) => {
                self.read_failures = 0;
                self.read_again_at = None;
                finished.read = read;
                finished.losses = losses;
            }
            Ok(Completed::Read(Err(error))) => {
                tracing::warn!(%error, "a drain's backlog cannot be read");
                self.read_failures += 1;
                self.read_again_at = Some(now + Duration::from_secs(1));
            }
            Ok(Completed::Tidied(tidied)) => {
                self.tidied = now;
                if let Err(error) = tidied {
                    tracing::debug!(%error, "a drain's backlog cannot be tidied up");
                }
            }
            Ok(Completed::GaveUp(losses)) => finished.losses = losses,
            Ok(Completed::Destroyed(losses, removed)) => {
                finished.destroyed = true;
                finished.losses.full = losses;
                if let Err(error) = removed {
                    tracing::debug!(%error, "a drain's backlog cannot be removed");
                }
            }
            Err(error) => {
                self.failed(&error, now);
                finished.returned = moving;
            }
        }
        finished
    }

    fn failed(&mut self, error: &io::Error, now: Instant) {
        if self.trouble.is_none() {
            tracing::error!(%error, "a drain's backlog cannot be written");
        }
        self.trouble = Some(Trouble {
            text: error.to_string().into(),
            retry_at: now + RETRY,
        });
    }

    /// Updates the amounts, unless a job has the spill.
    fn refresh(&mut self) {
        match &self.slot {
            Slot::Here(spill) => {
                self.facts = Facts {
                    unread: spill.unread(),
                    unsettled: spill.unsettled(),
                    bytes: spill.bytes(),
                    oldest: spill.oldest(),
                    first_segment: spill.first_segment(),
                };
            }
            Slot::None => {
                self.facts = Facts {
                    first_segment: u64::MAX,
                    ..Facts::default()
                };
            }
            Slot::Away => {}
        }
    }

    /// Marks these places as settled: they need not be delivered any more. They must come in order.
    pub(super) fn settle(&mut self, places: Vec<(Place, u32)>) {
        match &mut self.slot {
            Slot::Here(spill) => {
                for (end, envelopes) in places {
                    spill.settle(end, envelopes);
                }
                self.refresh();
            }
            Slot::Away => self.settled.extend(places),
            Slot::None => {}
        }
    }

    /// Marks envelopes up to `end` as read, because they were handed to the drain already.
    pub(super) fn skip(&mut self, end: Place, envelopes: u32) {
        if let Slot::Here(spill) = &mut self.slot {
            spill.skip(end, envelopes);
            self.refresh();
        }
    }

    /// Reads everything again that is not settled. No job may be running.
    pub(super) fn rewind(&mut self) {
        if let Slot::Here(spill) = &mut self.slot {
            spill.rewind();
            self.refresh();
        }
    }

    /// Renames the directory after the binding has changed its id. No job may be running.
    pub(super) fn rename(&mut self, folder: &Path) {
        folder.clone_into(&mut self.folder);
        if let Slot::Here(spill) = &mut self.slot
            && let Err(error) = spill.rename(folder)
        {
            tracing::error!(%error, "a drain's backlog cannot be renamed; it keeps its old name until the agent is started again");
        }
    }

    /// Waits until another spill needs space from this one, and returns how many bytes. Cancel safe.
    pub(super) async fn asked_to_give_up(owed: Option<&Owed>) -> u64 {
        match owed {
            Some(owed) => {
                owed.asked().await;
                owed.take()
            }
            None => std::future::pending().await,
        }
    }

    /// Returns the handle through which other spills ask this one for space.
    pub(super) fn owed(&self) -> Option<Arc<Owed>> {
        self.owed.clone()
    }
}
