//! The disk side of a drain's task: one job at a time, on a blocking thread.
//!
//! The [`Spill`] itself goes with the job and comes back with its result. What becomes settled meanwhile is noted and
//! applied then.

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

/// The cursor is written this often while things are settled.
const TIDY_EVERY: Duration = Duration::from_millis(250);

/// Where the disk failed, it is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// A part of the backlog that cannot be read for so many times is given up.
const READ_ATTEMPTS: u32 = 3;

/// How much is read at once.
const READ: usize = 512 << 10;

/// Something on its way to the disk, in the order of the entries; it is there again if it could not be written.
#[derive(Debug)]
pub(super) enum Moved {
    /// A copy of a shipment that is under way.
    Flying(u64, u32),
    Load(Load),
    Parcels(Vec<Waiting>),
}

impl Moved {
    fn envelopes(&self) -> u64 {
        match self {
            Self::Flying(..) => 0,
            Self::Load(load) => load.envelopes(),
            Self::Parcels(parcels) => parcels.iter().map(|waiting| waiting.envelopes() as u64).sum(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Flying(..) => 0,
            Self::Load(load) => load.bytes(),
            Self::Parcels(parcels) => parcels.iter().map(|waiting| waiting.bytes() as u64).sum(),
        }
    }
}

/// What a job did.
#[derive(Debug)]
enum Did {
    /// Nothing else.
    Opened,
    Appended(Appended),
    Read(io::Result<(Vec<Stored>, Losses)>),
    Tidied(io::Result<()>),
    GaveUp(Losses),
    Destroyed(Vec<Loss>, io::Result<()>),
}

/// What comes back from a job: the spill, unless it is gone; how many envelopes were found when it was opened, if it was;
/// and what was done.
type Returned = (Option<Box<Spill>>, Found, io::Result<Did>);

/// What was found when a spill was opened.
#[derive(Debug, Default)]
struct Found {
    /// Envelopes, with those that are missing.
    envelopes: u64,
    /// Those whose segments are gone.
    missing: Vec<Loss>,
}

#[derive(Debug)]
struct Job {
    handle: JoinHandle<Returned>,
    moving: Vec<Moved>,
}

#[derive(Debug)]
enum Slot {
    /// There is nothing on disk.
    None,
    Here(Box<Spill>),
    /// With the job.
    Away,
}

/// What the task has to do when a job is done.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// The backlog of before the start is there: so many envelopes.
    pub(super) recovered: u64,
    /// These shipments have copies on disk now: number, envelopes, end.
    pub(super) placed: Vec<(u64, u32, Place)>,
    /// These could not be written, in order.
    pub(super) returned: Vec<Moved>,
    pub(super) read: Vec<Stored>,
    pub(super) losses: Losses,
    /// All of it is gone.
    pub(super) destroyed: bool,
}

/// How much is on disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) unread: u64,
    pub(super) unsettled: u64,
    pub(super) bytes: u64,
    pub(super) oldest: Option<i64>,
    /// What lies before this segment is not on disk any more.
    pub(super) first_segment: u64,
}

#[derive(Debug)]
struct Trouble {
    text: Arc<str>,
    retry_at: Instant,
}

/// A drain's disk.
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

    /// Whether a job may be begun.
    pub(super) const fn is_free(&self) -> bool {
        self.job.is_none()
    }

    /// Whether there is anything on disk, settled or not.
    pub(super) const fn exists(&self) -> bool {
        !matches!(self.slot, Slot::None)
    }

    pub(super) const fn facts(&self) -> Facts {
        self.facts
    }

    /// Envelopes and bytes on their way to the disk.
    pub(super) fn moving(&self) -> (u64, u64) {
        let moving = self.job.iter().flat_map(|job| &job.moving);
        moving.fold((0, 0), |(envelopes, bytes), moved| {
            (envelopes + moved.envelopes(), bytes + moved.bytes())
        })
    }

    /// Why the disk cannot be written to.
    pub(super) fn trouble(&self) -> Option<&Arc<str>> {
        self.trouble.as_ref().map(|trouble| &trouble.text)
    }

    /// Whether something may be appended: always, but for a while after the disk failed.
    pub(super) fn may_append(&self, now: Instant) -> bool {
        self.is_free() && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= now)
    }

    /// When something may be appended again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.retry_at)
    }

    /// Whether something can be read now.
    pub(super) fn may_read(&self, now: Instant) -> bool {
        matches!(self.slot, Slot::Here(_)) && self.facts.unread > 0 && self.read_again_at.is_none_or(|at| at <= now)
    }

    pub(super) const fn read_again_at(&self) -> Option<Instant> {
        self.read_again_at
    }

    /// When the cursor should be written, if it should.
    pub(super) fn tidy_at(&self) -> Option<Instant> {
        match &self.slot {
            Slot::Here(spill) if spill.is_untidy() => Some(self.tidied + TIDY_EVERY),
            _ => None,
        }
    }

    /// Opens what a former agent left.
    pub(super) fn open(&mut self) {
        self.begin(Vec::new(), |spill| (Some(spill), Did::Opened));
    }

    /// Appends; `moving` are the things that the entries were made of, one for each.
    pub(super) fn append(&mut self, entries: Vec<Entry>, moving: Vec<Moved>) {
        self.begin(moving, move |mut spill| {
            let appended = spill.append(entries);
            (Some(spill), Did::Appended(appended))
        });
    }

    /// Reads on.
    pub(super) fn read(&mut self) {
        if self.read_failures >= READ_ATTEMPTS {
            self.read_failures = 0;
            return self.begin(Vec::new(), |mut spill| {
                let unreadable = spill.give_up(1).full;
                let losses = Losses {
                    unreadable,
                    ..Losses::default()
                };
                (Some(spill), Did::GaveUp(losses))
            });
        }
        self.begin(Vec::new(), |mut spill| {
            let read = spill.read(READ);
            (Some(spill), Did::Read(read))
        });
    }

    /// Writes the cursor and removes what is settled.
    pub(super) fn tidy(&mut self) {
        self.begin(Vec::new(), |mut spill| {
            let tidied = spill.tidy();
            (Some(spill), Did::Tidied(tidied))
        });
    }

    /// Gives up at least so many bytes, the oldest first.
    pub(super) fn give_up(&mut self, bytes: u64) {
        self.begin(Vec::new(), move |mut spill| {
            let losses = spill.give_up(bytes);
            (Some(spill), Did::GaveUp(losses))
        });
    }

    /// Removes all of it.
    pub(super) fn destroy(&mut self) {
        self.begin(Vec::new(), |spill| {
            let (losses, removed) = spill.destroy();
            (None, Did::Destroyed(losses, removed))
        });
    }

    fn begin(
        &mut self,
        moving: Vec<Moved>,
        work: impl FnOnce(Box<Spill>) -> (Option<Box<Spill>>, Did) + Send + 'static,
    ) {
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

    /// Waits until the job is done, if there is one; else for ever. Cancel safe.
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

    /// Waits until the job is done, if there is one.
    pub(super) async fn settle_down(&mut self, now: impl Fn() -> Instant) -> Option<Finished> {
        if self.is_free() {
            return None;
        }
        Some(self.done(now).await)
    }

    fn note(&mut self, did: Result<Did, io::Error>, moving: Vec<Moved>, now: Instant) -> Finished {
        let mut finished = Finished::default();
        match did {
            Ok(Did::Opened) => {}
            Ok(Did::Appended(appended)) => {
                finished.losses = appended.losses;
                let written = appended.ends.len();
                let mut moving = moving.into_iter();
                for (end, moved) in appended.ends.into_iter().zip(moving.by_ref()) {
                    if let Moved::Flying(sequence, envelopes) = moved {
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
            Ok(Did::Read(Ok((read, losses)))) => {
                self.read_failures = 0;
                self.read_again_at = None;
                finished.read = read;
                finished.losses = losses;
            }
            Ok(Did::Read(Err(error))) => {
                tracing::warn!(%error, "a drain's backlog cannot be read");
                self.read_failures += 1;
                self.read_again_at = Some(now + Duration::from_secs(1));
            }
            Ok(Did::Tidied(tidied)) => {
                self.tidied = now;
                if let Err(error) = tidied {
                    tracing::debug!(%error, "a drain's backlog cannot be tidied up");
                }
            }
            Ok(Did::GaveUp(losses)) => finished.losses = losses,
            Ok(Did::Destroyed(losses, removed)) => {
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

    /// Looks at the numbers again, where they can be seen.
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

    /// Says that these need not be delivered any more, in order.
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

    /// Says that these were handed to the drain already.
    pub(super) fn skip(&mut self, end: Place, envelopes: u32) {
        if let Slot::Here(spill) = &mut self.slot {
            spill.skip(end, envelopes);
            self.refresh();
        }
    }

    /// Reads again what is not settled. No job may be under way.
    pub(super) fn rewind(&mut self) {
        if let Slot::Here(spill) = &mut self.slot {
            spill.rewind();
            self.refresh();
        }
    }

    /// The binding has another id. No job may be under way.
    pub(super) fn rename(&mut self, folder: &Path) {
        folder.clone_into(&mut self.folder);
        if let Slot::Here(spill) = &mut self.slot
            && let Err(error) = spill.rename(folder)
        {
            tracing::error!(%error, "a drain's backlog cannot be renamed; it keeps its old name until the agent is started again");
        }
    }

    /// Waits until another spill wants this one to give up space, and says how much. Cancel safe.
    pub(super) async fn asked_to_give_up(owed: Option<&Owed>) -> u64 {
        match owed {
            Some(owed) => {
                owed.asked().await;
                owed.take()
            }
            None => std::future::pending().await,
        }
    }

    /// What shows when another spill wants this one to give up space.
    pub(super) fn owed(&self) -> Option<Arc<Owed>> {
        self.owed.clone()
    }
}
