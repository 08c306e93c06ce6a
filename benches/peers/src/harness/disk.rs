//! Work that waits for the disk: both sides write for the same time, and the disk itself is looked at before
//! and after.
//!
//! A shared disk changes its pace from one second to the next. Where raw `pwrite` + `fdatasync` before and
//! after a round differ by more than 15 %, the round compared two different disks and is discarded.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::goal::Goal;
use crate::harness::{Failure, Plan, Round, now, stats, wants_more};

/// Something that makes bytes durable: once `write` has returned, they survive a power loss.
pub(crate) trait DurableWrite: Sync {
    /// Writes `payload`, the `n`-th of `thread`.
    fn write(&self, thread: usize, n: u64, payload: &[u8]) -> Result<(), Failure>;
}

/// The work: how many threads write records of how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) threads: usize,
    pub(crate) payload: usize,
}

impl Shape {
    /// More bytes than any side writes in a round, for those who prepare their files in advance.
    pub(crate) const fn room(self) -> u64 {
        match (self.payload, self.threads) {
            (..0x2000, ..=8) => 64 << 20,
            (..0x2000, _) => 192 << 20,
            (_, 1) => 320 << 20,
            _ => 768 << 20,
        }
    }
}

/// Opens a side in an empty directory, with whatever it prepares in advance.
pub(crate) type Open = fn(&Path, Shape) -> Result<Box<dyn DurableWrite>, Failure>;

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Writes a second, all threads together.
    pub(crate) rate: f64,
    /// Microseconds that half of the writes did not exceed.
    pub(crate) p50: f64,
    /// Microseconds that 99 of 100 writes did not exceed.
    pub(crate) p99: f64,
}

/// One figure of a sample and what it has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) pick: fn(&Sample) -> f64,
    pub(crate) goal: Goal,
    /// The goal bounds our own figure, whatever the peer's is.
    pub(crate) alone: bool,
}

/// The rounds of each metric, and how many were discarded.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) rounds: Vec<Vec<Round>>,
    pub(crate) discarded: usize,
}

/// Measures two sides until every metric can be judged, or the plan is at its end.
pub(crate) fn measure(
    plan: &Plan,
    scratch: &Scratch,
    (ours, theirs): (Open, Open),
    shape: Shape,
    metrics: &[Metric],
) -> Result<Measured, Failure> {
    let payloads = payloads(shape.payload);
    let mut measured = Measured { rounds: vec![Vec::new(); metrics.len()], discarded: 0 };
    for tried in 0.. {
        let undecided = metrics
            .iter()
            .zip(&measured.rounds)
            .any(|(metric, rounds)| wants_more(plan, &metric.goal, rounds, tried));
        if !undecided {
            break;
        }
        let (our_dir, their_dir) = (scratch.fresh()?, scratch.fresh()?);
        let our_side = ours(our_dir.path(), shape)?;
        let their_side = theirs(their_dir.path(), shape)?;
        let run = |side: &dyn DurableWrite, time| drive(side, shape, &payloads, time);
        // What opening left in the page cache must not be written during the round.
        let warm_up = plan.disk / 10;
        run(&*our_side, warm_up)?;
        run(&*their_side, warm_up)?;
        scratch.settle()?;

        let before = scratch.probe(plan.probe)?;
        let (our_sample, their_sample);
        if tried.is_multiple_of(2) {
            our_sample = run(&*our_side, plan.disk)?;
            their_sample = run(&*their_side, plan.disk)?;
        } else {
            their_sample = run(&*their_side, plan.disk)?;
            our_sample = run(&*our_side, plan.disk)?;
        }
        let after = scratch.probe(plan.probe)?;
        if is_steady(before, after) {
            for (metric, rounds) in metrics.iter().zip(&mut measured.rounds) {
                let theirs = (!metric.alone).then(|| (metric.pick)(&their_sample));
                rounds.push(Round { ours: (metric.pick)(&our_sample), theirs });
            }
        } else {
            measured.discarded += 1;
        }
    }
    Ok(measured)
}

/// True when the disk was about as fast after a round as before it.
pub(crate) fn is_steady(before: f64, after: f64) -> bool {
    // Not by `f64::min`, which prefers a number to what is none; a comparison with that is false.
    let within = |fast: f64, slow: f64| fast > 0.0 && slow <= fast * (1.0 + MAX_DRIFT);
    within(before, after) && within(after, before)
}

/// Has every thread write until `time` is over. Each looks at the clock itself: a thread that the one before
/// it kept from starting is not counted as slow.
pub(crate) fn drive(
    side: &dyn DurableWrite,
    shape: Shape,
    payloads: &[Vec<u8>],
    time: Duration,
) -> Result<Sample, Failure> {
    let barrier = Barrier::new(shape.threads);
    let work = |thread| worker(side, thread, payloads, time, &barrier);
    let logs: Vec<Log> = if shape.threads == 1 {
        vec![work(0)?]
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..shape.threads).map(|thread| scope.spawn(move || work(thread))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".into())))
                .collect::<Result<_, _>>()
        })?
    };
    sample(&logs).ok_or_else(|| "nothing was written in the time of a round".into())
}

/// What one thread did.
#[derive(Debug)]
struct Log {
    start: Instant,
    end: Instant,
    nanos: Vec<u64>,
}

fn worker(
    side: &dyn DurableWrite,
    thread: usize,
    payloads: &[Vec<u8>],
    time: Duration,
    barrier: &Barrier,
) -> Result<Log, Failure> {
    let mut nanos = Vec::with_capacity(1 << 16);
    barrier.wait();
    let start = now();
    let mut last = start;
    for n in 0.. {
        // Threads begin at different places, so that no two write the same bytes at once.
        let payload = &payloads[(thread * 7 + n) % payloads.len()];
        side.write(thread, n as u64, payload)?;
        let end = now();
        nanos.push(u64::try_from(end.duration_since(last).as_nanos()).unwrap_or(u64::MAX));
        last = end;
        if end.duration_since(start) >= time {
            break;
        }
    }
    Ok(Log { start, end: last, nanos })
}

fn sample(logs: &[Log]) -> Option<Sample> {
    let start = logs.iter().map(|log| log.start).min()?;
    let end = logs.iter().map(|log| log.end).max()?;
    let mut nanos: Vec<u64> = logs.iter().flat_map(|log| log.nanos.iter().copied()).collect();
    nanos.sort_unstable();
    let micros = |share| stats::quantile(&nanos, share).map(|nanos| nanos as f64 / 1e3);
    let rate = nanos.len() as f64 / end.duration_since(start).as_secs_f64();
    Some(Sample { rate, p50: micros(0.5)?, p99: micros(0.99)? })
}

/// Bytes that do not compress, the same in every run.
pub(crate) fn payloads(len: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..64).map(|_| (0..len).map(|_| byte()).collect()).collect()
}

/// A directory on the disk that is measured, removed when dropped, and the raw file beside it.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: PathBuf,
    raw: RawFile,
    n_dirs: Cell<u64>,
}

impl Scratch {
    /// Makes the directory anew. It must not be in memory: a file system that has no disk would have the
    /// fastest sync of all.
    pub(crate) fn new(dir: &Path) -> Result<Self, Failure> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        if rustix::fs::statfs(dir)?.f_type == TMPFS_MAGIC {
            return Err(
                format!("{} is in memory: a sync costs nothing there", dir.display()).into()
            );
        }
        let raw =
            RawFile::create(&dir.join("probe"), 8 << 20, Shape { threads: 1, payload: 1 << 10 })?;
        Ok(Self { dir: dir.to_owned(), raw, n_dirs: Cell::new(0) })
    }

    /// An empty directory of its own, removed when dropped.
    pub(crate) fn fresh(&self) -> Result<FreshDir, Failure> {
        self.n_dirs.set(self.n_dirs.get() + 1);
        let dir = self.dir.join(self.n_dirs.get().to_string());
        fs::create_dir(&dir)?;
        Ok(FreshDir(dir))
    }

    /// Has the disk write all that it still owes.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        Ok(rustix::fs::syncfs(File::open(&self.dir)?)?)
    }

    /// The median time of a raw write of 1 KiB, in microseconds.
    pub(crate) fn probe(&self, time: Duration) -> Result<f64, Failure> {
        let shape = Shape { threads: 1, payload: 1 << 10 };
        Ok(drive(&self.raw, shape, &payloads(shape.payload), time)?.p50)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is found and removed by the next run.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct FreshDir(PathBuf);

impl FreshDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for FreshDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The bare minimum: `pwrite` and `fdatasync` into a file whose blocks were all written before, so that a
/// sync has no metadata to write. Each thread has a stretch of the file to itself.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: File,
    stretch: u64,
}

impl RawFile {
    /// Fills a file with `len` zeros, for so many threads that write so much at a time.
    pub(crate) fn create(path: &Path, len: u64, shape: Shape) -> Result<Self, Failure> {
        // Page by page: what is written in one piece may be cached in one piece, and then every small sync has
        // more to look through, which made this file up to a tenth slower. A large write is the faster for it.
        let piece = if shape.payload < 32 << 10 { 4 << 10 } else { 1 << 20 };
        let file = zeroed(path, len, piece)?;
        Ok(Self { file, stretch: len / shape.threads as u64 })
    }
}

/// A new file of so many zeros at least, written in pieces of `piece` bytes, and durable.
pub(crate) fn zeroed(path: &Path, len: u64, piece: usize) -> Result<File, Failure> {
    let file = OpenOptions::new().create_new(true).write(true).read(true).mode(0o600).open(path)?;
    let zeros = vec![0; piece];
    for offset in (0..len).step_by(piece) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

impl DurableWrite for RawFile {
    fn write(&self, thread: usize, n: u64, payload: &[u8]) -> Result<(), Failure> {
        // At the end of its stretch it starts over: the blocks are as written as before.
        let slots = self.stretch / payload.len() as u64;
        let offset = thread as u64 * self.stretch + n % slots * payload.len() as u64;
        self.file.write_all_at(payload, offset)?;
        Ok(self.file.sync_data()?)
    }
}

/// By how much raw writes may differ around a round.
const MAX_DRIFT: f64 = 0.15;

const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::harness::since;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Takes the time that it is given, by spinning.
    struct Spins(Duration, AtomicU64);

    impl DurableWrite for Spins {
        fn write(&self, _thread: usize, _n: u64, _payload: &[u8]) -> Result<(), Failure> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let start = now();
            while since(start) < self.0 {}
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_changed_its_pace_discards_the_round() {
        assert!(is_steady(100.0, 114.0));
        assert!(is_steady(114.0, 100.0));
        assert!(!is_steady(100.0, 116.0));
        assert!(!is_steady(116.0, 100.0));
        for broken in [0.0, -1.0, f64::NAN] {
            assert!(!is_steady(broken, 100.0), "{broken}");
            assert!(!is_steady(100.0, broken), "{broken}");
        }
    }

    #[test]
    fn every_write_of_every_thread_is_counted() {
        let side = Spins(Duration::from_micros(50), AtomicU64::new(0));
        let shape = Shape { threads: 3, payload: 16 };
        let sample = drive(&side, shape, &payloads(16), Duration::from_millis(5)).unwrap();
        assert!(sample.p50 >= 50.0 && sample.p99 >= sample.p50, "{sample:?}");
        let written = side.1.load(Ordering::Relaxed) as f64;
        // Three threads that each take 50 µs a write make at most 60 000 a second.
        assert!(written >= 3.0 && sample.rate <= 60_000.0, "{written} {sample:?}");
    }

    #[test]
    fn a_rate_spans_the_first_start_and_the_last_end() {
        let start = now();
        let log = |from: u64, to: u64, nanos: &[u64]| Log {
            start: start + Duration::from_millis(from),
            end: start + Duration::from_millis(to),
            nanos: nanos.to_vec(),
        };
        let sample = sample(&[log(0, 50, &[1_000; 5]), log(50, 100, &[3_000; 5])]).unwrap();
        assert!((sample.rate - 100.0).abs() < 1e-6, "{sample:?}");
        assert_eq!((sample.p50, sample.p99), (1.0, 3.0));
        assert!(super::sample(&[]).is_none());
        assert!(super::sample(&[log(0, 1, &[])]).is_none());
    }

    #[test]
    fn a_writer_that_fails_ends_the_measurement() {
        struct Fails;
        impl DurableWrite for Fails {
            fn write(&self, thread: usize, n: u64, _payload: &[u8]) -> Result<(), Failure> {
                if thread == 1 && n == 2 { Err("disk full".into()) } else { Ok(()) }
            }
        }
        let shape = Shape { threads: 2, payload: 16 };
        assert!(drive(&Fails, shape, &payloads(16), Duration::from_millis(1)).is_err());
    }

    #[test]
    fn payloads_differ_and_repeat_from_run_to_run() {
        let first = payloads(128);
        assert_eq!(first, payloads(128));
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(first.iter().all(|payload| payload.len() == 128));
    }
}
