//! [`Explorer`]: visits every crash of a recorded run, and every crash of the recovery that follows.

use std::collections::HashSet;
use std::fmt;

use super::{SimDisk, Survivors};

/// Crashes a recorded run at each of its operations, runs the recovery, and crashes that at each of
/// *its* operations as well.
///
/// The run is done before: on a disk that [keeps its history](SimDisk::keep_history), noting what was
/// promised after how many [operations](SimDisk::operations). Disks that are equal, with equal promises,
/// are visited once.
///
/// # Examples
///
/// ```
/// use std::path::Path;
///
/// use bucket_vfs::sim::{Explorer, SimDisk};
/// use bucket_vfs::{OpenMode, write_atomic};
///
/// let disk = SimDisk::new();
/// disk.keep_history();
/// let mut promised = Vec::new();
/// for content in [b"one", b"two"] {
///     write_atomic(&*disk.mount(), Path::new("/state"), content)?;
///     promised.push(disk.operations());
/// }
///
/// let coverage = Explorer::new(&disk)
///     .seeds(40)
///     .run(|disk, crash| {
///         // Your recovery comes here; this one only reads.
///         let safe = promised.iter().any(|&operations| operations < crash.operation());
///         let Ok(file) = disk.mount().open(Path::new("/state"), OpenMode::Read) else {
///             return if safe { Err("the file is gone") } else { Ok(()) };
///         };
///         let mut content = [0; 3];
///         file.read_exact_at(&mut content, 0).map_err(|_| "it is cut")?;
///         [b"one", b"two"].contains(&&content).then_some(()).ok_or("it is mixed")
///     })
///     .map_err(|failure| failure.to_string())?;
/// println!("{coverage}");
/// assert!(coverage.crashes > 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an explorer does nothing until it runs"]
pub struct Explorer<'a> {
    history: &'a SimDisk,
    seeds: u64,
    seeds_in_recovery: u64,
    promises: Box<dyn Fn(u64) -> u64 + 'a>,
}

/// The crash that a recovery follows.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Crash<'a, T> {
    operation: u64,
    survivors: Survivors,
    before: Option<&'a T>,
}

/// What was visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Operations of the run.
    pub operations: u64,
    /// Different disks that a crash in the run left.
    pub crashes: u64,
    /// Pairs of an operation of the run and one of the recovery after it.
    pub pairs: u64,
    /// Different disks that a second crash left, in the recovery or right after it. Most of what a first
    /// crash left is among them, because the recovery may not have written anything yet.
    pub second_crashes: u64,
    /// Recoveries that were run and checked.
    pub recoveries: u64,
    /// Different disks in all: one that both a first and a second crash left counts once.
    pub states: u64,
}

/// A crash after which the recovery failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure<E> {
    /// What the recovery returned.
    pub error: E,
    /// The crash: its number in the run, what it was, and what survived.
    pub first: (u64, String, Survivors),
    /// The crash in the recovery, if it took one.
    pub second: Option<(u64, String, Survivors)>,
}

impl<'a> Explorer<'a> {
    /// Explores the history of `disk` from its first to its last operation.
    pub fn new(disk: &'a SimDisk) -> Self {
        Self { history: disk, seeds: 20, seeds_in_recovery: 2, promises: Box::new(|at| at) }
    }

    /// How many random survivor sets are drawn for each operation, beside all and nothing; default 20.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// The same for each operation of a recovery; default 2.
    pub fn seeds_in_recovery(mut self, seeds: u64) -> Self {
        self.seeds_in_recovery = seeds;
        self
    }

    /// A number for what was promised by the time the given operation was under way: two crashes that
    /// leave equal disks and have equal numbers are one case. By default every operation is its own.
    pub fn promises(mut self, promises: impl Fn(u64) -> u64 + 'a) -> Self {
        self.promises = Box::new(promises);
        self
    }

    /// Runs `recover` on every disk that a crash may leave, and again after a second crash during each
    /// operation that it did.
    ///
    /// `recover` gets a disk of its own, restarted. What it returns is what it has shown to the world;
    /// a recovery that follows a crash right after it finds that in [`Crash::before`].
    ///
    /// # Errors
    ///
    /// The first error of a recovery, with the crashes that led to it.
    pub fn run<T, E>(
        self,
        mut recover: impl FnMut(&SimDisk, &Crash<'_, T>) -> Result<T, E>,
    ) -> Result<Coverage, Box<Failure<E>>> {
        let mut coverage = Coverage { operations: self.history.operations(), ..Default::default() };
        let (mut disks, mut second_disks, mut cases) =
            (HashSet::new(), HashSet::new(), HashSet::new());
        for operation in 1..=self.history.operations() + 1 {
            let promised = (self.promises)(operation);
            for survivors in draw(self.seeds, operation) {
                let recovering = crash(self.history, operation, survivors);
                let digest = recovering.digest();
                coverage.crashes += u64::from(disks.insert(digest));
                if !cases.insert((digest, promised, false)) {
                    continue;
                }
                let first = || (operation, self.history.describe(operation), survivors);
                recovering.keep_history();
                coverage.recoveries += 1;
                let shown = recover(&recovering, &Crash { operation, survivors, before: None })
                    .map_err(|error| Box::new(Failure { error, first: first(), second: None }))?;

                for second in 1..=recovering.operations() + 1 {
                    coverage.pairs += 1;
                    // Behind its last operation the recovery has returned, and somebody has seen it.
                    let done = second > recovering.operations();
                    for survivors in draw(self.seeds_in_recovery, operation << 8 ^ second) {
                        let again = crash(&recovering, second, survivors);
                        let digest = again.digest();
                        coverage.second_crashes += u64::from(second_disks.insert(digest));
                        if !cases.insert((digest, promised, true)) && !done {
                            continue;
                        }
                        coverage.recoveries += 1;
                        let before = done.then_some(&shown);
                        recover(&again, &Crash { operation, survivors, before }).map_err(
                            |error| {
                                let what = recovering.describe(second);
                                let second = Some((second, what, survivors));
                                Box::new(Failure { error, first: first(), second })
                            },
                        )?;
                    }
                }
            }
        }
        coverage.states = disks.union(&second_disks).count() as u64;
        Ok(coverage)
    }
}

/// The disk after a crash during the operation; behind the last one, after all of them.
fn crash(history: &SimDisk, operation: u64, survivors: Survivors) -> SimDisk {
    let disk = history.at_operation(operation).unwrap_or_else(|| history.fork());
    disk.crash(survivors);
    disk
}

fn draw(seeds: u64, operation: u64) -> impl Iterator<Item = Survivors> {
    let random = (0..seeds).map(move |seed| Survivors::Random(operation << 16 | seed));
    [Survivors::None, Survivors::All].into_iter().chain(random)
}

impl<T> Crash<'_, T> {
    /// The operation of the run that was under way at the first crash, from 1; one more than there are
    /// for a crash after all of them. What was promised after fewer operations has to hold.
    pub const fn operation(&self) -> u64 {
        self.operation
    }

    /// What survived of what was pending at the last crash.
    pub const fn survivors(&self) -> Survivors {
        self.survivors
    }

    /// What the recovery before the last crash has returned, if it got that far.
    pub const fn before(&self) -> Option<&T> {
        self.before
    }
}

impl fmt::Debug for Explorer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explorer").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, crashes, pairs, second_crashes, recoveries, states } = self;
        write!(
            f,
            "{operations} operations leave {crashes} different disks; {pairs} operations of "
        )?;
        write!(f, "their recoveries leave {second_crashes}; {states} different in all, ")?;
        write!(f, "{recoveries} recoveries checked")
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, what, survivors) = &self.first;
        write!(f, "{}\n  after a crash in operation {operation}", self.error)?;
        write!(f, " ({what}), survivors {survivors:?}")?;
        if let Some((operation, what, survivors)) = &self.second {
            write!(f, "\n  and one in operation {operation} of its recovery")?;
            write!(f, " ({what}), survivors {survivors:?}")?;
        }
        Ok(())
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failure<E> {}
