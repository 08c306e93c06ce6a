//! [`Replay`]: the durable records of a log, read and checked by several threads, handed over in order.
//!
//! Pieces of about half a MiB are read ahead by whoever has nothing better to do, at most a few for each
//! thread, and consumed in the order of the log. The records are borrowed from what was read.

mod crew;
mod piece;

use std::error::Error;
use std::fmt;

use crate::commit::Shared;
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::reader::RecordRef;
use crate::sync::Arc;

use self::crew::{Crew, Role};
use self::piece::{Memory, Planner};

/// How the records of a log are to be replayed. Made by [`Wal::replay`](crate::Wal::replay).
///
/// It reads from its first record to the newest that was durable when it was made.
///
/// # Examples
///
/// ```
/// use bucket_wal::{Lsn, Wal};
///
/// # let dir = tempfile::tempdir()?;
/// let (wal, recovery) = Wal::open(dir.path().join("log"))?;
/// wal.append(b"one")?;
/// wal.append(b"three")?;
/// let mut bytes = 0;
/// let replayed = wal.replay(recovery.replay_from()).threads(2).ordered(|record| {
///     bytes += record.payload.len();
///     Ok::<_, std::convert::Infallible>(())
/// })?;
/// assert_eq!((replayed.records, bytes), (2, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is read before `ordered` or `partitioned` is called"]
pub struct Replay<'a> {
    shared: Arc<Shared>,
    from: u64,
    until: u64,
    threads: usize,
    on_progress: Option<OnProgress<'a>>,
    on_damage: Option<OnDamage<'a>>,
}

type OnProgress<'a> = Box<dyn FnMut(ReplayProgress) + 'a>;
type OnDamage<'a> = Box<dyn FnMut(WalError) + 'a>;

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayProgress {
    /// Bytes of the log that were gone through.
    pub bytes: u64,
    /// Bytes of the log that there were to go through at the start.
    pub total_bytes: u64,
}

/// What a replay that came to its end has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Records that were handed over.
    pub records: u64,
    /// The bytes of their contents.
    pub payload_bytes: u64,
    /// Places that could not be read, each told to [`Replay::on_damage`].
    pub damaged: u64,
}

/// Why a replay stopped before its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReplayError<E> {
    /// The function that was given failed.
    Apply {
        /// At which record.
        lsn: Lsn,
        /// How.
        error: E,
    },
    /// The log cannot be read.
    Wal(WalError),
}

impl<'a> Replay<'a> {
    pub(crate) fn new(shared: Arc<Shared>, from: Lsn) -> Self {
        let until = shared.durable();
        let (threads, on_progress, on_damage) = (0, None, None);
        Self { shared, from: from.get(), until, threads, on_progress, on_damage }
    }

    /// How many threads read and check, the calling one among them. 0, the default, stands for as many as
    /// the machine runs at once; 1 starts none.
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The last record to replay, when it is not the newest durable one.
    pub fn until(mut self, lsn: Lsn) -> Self {
        self.until = self.until.min(lsn.get());
        self
    }

    /// Is called now and then by the calling thread, and at the end.
    pub fn on_progress(mut self, on_progress: impl FnMut(ReplayProgress) + 'a) -> Self {
        self.on_progress = Some(Box::new(on_progress));
        self
    }

    /// Is told of each place that cannot be read, by the calling thread, and the replay goes on behind it.
    /// Without this the first such place ends the replay with [`ReplayError::Wal`].
    pub fn on_damage(mut self, on_damage: impl FnMut(WalError) + 'a) -> Self {
        self.on_damage = Some(Box::new(on_damage));
        self
    }

    /// Hands every record to `apply`, on the calling thread, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// The first error in the order of the log: that of `apply`, or of a place that cannot be read when
    /// there is no [`Replay::on_damage`]. Nothing after it is handed over.
    pub fn ordered<E: Send>(
        self,
        mut apply: impl FnMut(RecordRef<'_>) -> Result<(), E>,
    ) -> Result<Replayed, ReplayError<E>> {
        let threads = self.thread_count();
        if threads == 1 {
            return self.alone(&mut apply);
        }
        let (from, until) = (self.from, self.until);
        let (planner, total) = self.plan();
        let mut reporter = Reporter::new(self.on_progress, self.on_damage, total);
        let crew = Crew::new(self.shared, planner, from..=until, threads, 1, None);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| crew.work(None));
            }
            crew.work(Some((0, &mut |_, record| apply(record), Some(&mut reporter))));
        });
        let replayed = crew.into_result()?;
        reporter.end();
        Ok(replayed)
    }

    /// Hands every record to `apply` with the number of its part, which follows from its key: all records
    /// with the same key are in the same part. Within a part the order is that of the log; parts go on at
    /// the same time, on as many threads as there are. `key` is called once for each record, in any order.
    ///
    /// # Errors
    ///
    /// Of all errors that come up, the one with the lowest number. Every record before it was handed over,
    /// and so may have been some after it, in other parts.
    ///
    /// # Panics
    ///
    /// When `parts` is 0, and when `key` or `apply` do.
    pub fn partitioned<E: Send>(
        self,
        parts: usize,
        key: impl Fn(&RecordRef<'_>) -> u64 + Sync,
        apply: impl Fn(usize, RecordRef<'_>) -> Result<(), E> + Sync,
    ) -> Result<Replayed, ReplayError<E>> {
        assert!(parts > 0, "there has to be a part for the records");
        let threads = self.thread_count();
        let consumers = threads.min(parts);
        let (from, until) = (self.from, self.until);
        let (planner, total) = self.plan();
        let mut reporter = Reporter::new(self.on_progress, self.on_damage, total);
        let part_of = move |record: &RecordRef<'_>| part_of(key(record), parts);
        let crew =
            Crew::new(self.shared, planner, from..=until, threads, consumers, Some(&part_of));
        std::thread::scope(|scope| {
            for n in 1..threads {
                let (crew, apply) = (&crew, &apply);
                scope.spawn(move || {
                    let mut apply = apply;
                    let role: Option<Role<'_, '_, E>> = Some((n, &mut apply, None));
                    crew.work(role.filter(|_| n < consumers));
                });
            }
            let mut apply = &apply;
            crew.work(Some((0, &mut apply, Some(&mut reporter))));
        });
        let replayed = crew.into_result()?;
        reporter.end();
        Ok(replayed)
    }

    /// Without any other thread, nothing has to be remembered.
    fn alone<E>(
        self,
        apply: &mut dyn FnMut(RecordRef<'_>) -> Result<(), E>,
    ) -> Result<Replayed, ReplayError<E>> {
        let (mut planner, total) = self.plan();
        let mut reporter = Reporter::new(self.on_progress, self.on_damage, total);
        let (mut done, mut memory) = (Replayed::default(), Memory::default());
        while let Some(piece) = planner.next_piece() {
            let piece = match piece {
                Ok(piece) => piece,
                Err((_, error)) => {
                    done.damaged += 1;
                    reporter.damage(error).map_err(ReplayError::Wal)?;
                    continue;
                }
            };
            memory =
                piece.each(
                    &self.shared,
                    memory,
                    self.from,
                    self.until,
                    &mut |record| match record {
                        Ok(record) => {
                            done.records += 1;
                            done.payload_bytes += record.payload.len() as u64;
                            let lsn = record.lsn;
                            apply(record).map_err(|error| ReplayError::Apply { lsn, error })
                        }
                        Err((_, error)) => {
                            done.damaged += 1;
                            reporter.damage(error).map_err(ReplayError::Wal)
                        }
                    },
                )?;
            reporter.progress(piece.len());
        }
        reporter.end();
        Ok(done)
    }

    fn plan(&self) -> (Planner, u64) {
        let planner = Planner::new(Arc::clone(&self.shared), self.from, self.until);
        let total = planner.total();
        (planner, total)
    }

    fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Replay");
        debug.field("from", &self.from).field("until", &self.until);
        debug.field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { lsn, .. } => write!(f, "record {lsn} could not be replayed"),
            Self::Wal(_) => f.write_str("the log cannot be replayed"),
        }
    }
}

impl<E: Error + 'static> Error for ReplayError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Apply { error, .. } => Some(error),
            Self::Wal(error) => Some(error),
        }
    }
}

/// Tells the caller how it goes. Stays on the calling thread.
struct Reporter<'a> {
    on_progress: Option<OnProgress<'a>>,
    on_damage: Option<OnDamage<'a>>,
    bytes: u64,
    total_bytes: u64,
}

impl<'a> Reporter<'a> {
    fn new(
        on_progress: Option<OnProgress<'a>>,
        on_damage: Option<OnDamage<'a>>,
        total_bytes: u64,
    ) -> Self {
        Self { on_progress, on_damage, bytes: 0, total_bytes }
    }

    fn progress(&mut self, bytes: u64) {
        self.bytes = (self.bytes + bytes).min(self.total_bytes);
        if let Some(on_progress) = &mut self.on_progress {
            on_progress(ReplayProgress { bytes: self.bytes, total_bytes: self.total_bytes });
        }
    }

    /// Gives the error back when nobody wants to go on behind it.
    fn damage(&mut self, error: WalError) -> Result<(), WalError> {
        match &mut self.on_damage {
            Some(on_damage) => {
                on_damage(error);
                Ok(())
            }
            None => Err(error),
        }
    }

    /// What was trimmed meanwhile is done with as well.
    fn end(&mut self) {
        if self.bytes < self.total_bytes {
            self.progress(self.total_bytes);
        }
    }
}

/// Mixes the bits of the key, so that keys with a common factor do not all meet in a few parts.
const fn part_of(key: u64, parts: usize) -> usize {
    let mixed = (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) % parts as u64) as usize
}
