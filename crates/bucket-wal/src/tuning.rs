//! [`Tuning`]: which sync method a disk likes best, measured once and kept beside the log.
//!
//! Measuring writes through [`Medium`], as the log does, and takes turns between the methods, because a
//! shared disk changes its pace. What is kept is a small text with a check. Opening reads it and measures
//! nothing; what it cannot read it ignores.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_core::{ByteCount, Clock, SystemClock};
use bucket_vfs::{OpenMode, Vfs, VfsFile, write_atomic};

use crate::error::WalError;
use crate::medium::{Medium, ZEROS_PIECE};
use crate::options::WalOptions;
use crate::segment;
use crate::sync::Arc;
use crate::sync_method::SyncMethod;
use crate::wal::claim;

/// What [`WalOptions::tune`] has measured and stored. Print it for people.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// The method that the log will use.
    pub sync_method: SyncMethod,
    /// A figure for each method and size.
    pub figures: Vec<TuningFigure>,
}

/// How long a method takes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TuningFigure {
    /// The method.
    pub sync_method: SyncMethod,
    /// The size of the records, one a group.
    pub record_size: ByteCount,
    /// How long a durable record took, as the median of the turns. `None` where the method is not
    /// offered, or when the disk was too slow for enough turns.
    pub time: Option<Duration>,
}

impl WalOptions {
    /// Measures by which [`SyncMethod`] the disk under `dir` is fastest, and stores the answer in `dir`
    /// for every later [`WalOptions::open`] that does not set a method itself.
    ///
    /// Writes records of 512 B, 4 KiB and 64 KiB into temporary files of 2 MiB in `dir`, which it creates
    /// if its parent exists; takes about 1.5 s, on a slow disk a little more. Another method than
    /// [`SyncMethod::Fdatasync`] is stored only if it is at least 5 % faster on average and slower by more
    /// than 3 % at no size: below that the difference is noise. Measure on an idle machine.
    ///
    /// Holds the lock of the log meanwhile, as an open log would disturb the figures and they the log.
    ///
    /// # Errors
    ///
    /// [`WalError::Locked`] while the log is open; [`WalError::NoSpace`] and [`WalError::Io`] from the
    /// file system. What was stored before is unchanged then.
    pub fn tune(&self, dir: impl AsRef<Path>) -> Result<Tuning, WalError> {
        tune(self, dir.as_ref(), &SystemClock::new())
    }
}

pub(crate) fn tune(
    options: &WalOptions,
    dir: &Path,
    clock: &dyn Clock,
) -> Result<Tuning, WalError> {
    let _lock = claim(dir, options)?;
    let vfs = &*options.vfs;
    let mut files = Vec::new();
    let result = SyncMethod::ALL.into_iter().try_for_each(|method| {
        let path = temporary(dir, method);
        files.push(Measured::create(vfs, &path, method)?);
        Ok(())
    });
    let result = result.and_then(|()| measure(&mut files, clock));
    drop(files);
    for method in SyncMethod::ALL {
        // Best effort: a left-over is removed by the next attempt or the next opening.
        let _ = vfs.remove_file(&temporary(dir, method));
    }
    let figures = result.map_err(|error| WalError::io("measure", dir, error))?;
    let tuning = Tuning { sync_method: best(&figures), figures };
    let path = dir.join(FILE);
    write_atomic(vfs, &path, tuning.encode().as_bytes())
        .map_err(|error| WalError::io("write", &path, error))?;
    Ok(tuning)
}

/// The method that tuning has stored in the directory, if it can be read.
pub(crate) fn stored(vfs: &dyn Vfs, dir: &Path) -> Option<SyncMethod> {
    let file = vfs.open(&dir.join(FILE), OpenMode::Read).ok()?;
    let len = file.len().ok().filter(|len| *len <= MAX_LEN)?;
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    decode(&bytes)
}

/// A file that one method writes to.
struct Measured {
    method: SyncMethod,
    medium: Medium,
    /// Where the next record goes.
    at: u64,
    /// The turns so far, by size: the time of one write in each.
    turns: [Vec<Duration>; SIZES.len()],
}

impl Measured {
    /// A file of zeros, as a segment has them ahead of its end.
    fn create(vfs: &dyn Vfs, path: &Path, method: SyncMethod) -> io::Result<Self> {
        match vfs.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file: Arc<dyn VfsFile> = vfs.open(path, OpenMode::CreateNew)?;
        let mut medium = Medium::new(file, path.to_owned(), method);
        let zeros = vec![0; ZEROS_PIECE];
        for offset in (0..FILE_LEN).step_by(zeros.len()) {
            medium.fill(&zeros, offset)?;
        }
        medium.sync()?;
        medium.open(vfs)?;
        Ok(Self { method, medium, at: 0, turns: Default::default() })
    }

    fn is_offered(&self) -> bool {
        self.medium.method() == self.method
    }

    /// Writes some records of the size one after the other.
    fn turn(&mut self, size: usize, record: &[u8], clock: &dyn Clock) -> io::Result<()> {
        let writes = if record.len() > 32 << 10 { 4 } else { 8 };
        let start = clock.now();
        for _ in 0..writes {
            if self.at + record.len() as u64 > FILE_LEN {
                self.at = 0;
            }
            self.medium.write(record, self.at)?;
            self.medium.sync()?;
            self.at += record.len() as u64;
        }
        self.turns[size].push(clock.now().since(start) / writes);
        Ok(())
    }
}

fn measure(files: &mut [Measured], clock: &dyn Clock) -> io::Result<Vec<TuningFigure>> {
    // Not all equal, for disks and file systems that would notice.
    let bytes: Vec<u8> = (0..SIZES[2] + FRAME).map(|n| (n % 251) as u8).collect();
    let start = clock.now();
    'rounds: for round in 0..MAX_ROUNDS {
        for (size, len) in SIZES.into_iter().enumerate() {
            for turn in 0..files.len() {
                // Nobody is always the first, or always behind the same other.
                let n = files.len();
                let file = &mut files[(round + turn * (1 + round % 2)) % n];
                if clock.now().since(start) >= BUDGET {
                    break 'rounds;
                }
                if file.is_offered() {
                    file.turn(size, &bytes[..len + FRAME], clock)?;
                }
            }
        }
    }
    let mut figures = Vec::new();
    for file in files {
        for (size, turns) in file.turns.iter_mut().enumerate() {
            turns.sort_unstable();
            let enough = turns.len() >= MIN_TURNS;
            figures.push(TuningFigure {
                sync_method: file.method,
                record_size: ByteCount::new(SIZES[size] as u64),
                time: turns.get(turns.len() / 2).copied().filter(|_| enough),
            });
        }
    }
    Ok(figures)
}

/// The method that is clearly the fastest, or the default.
fn best(figures: &[TuningFigure]) -> SyncMethod {
    let times = |method| {
        let figures = figures.iter().filter(move |figure| figure.sync_method == method);
        figures.map(|figure| figure.time.map(|time| time.as_secs_f64()).filter(|time| *time > 0.0))
    };
    let (mut best, mut gain) = (SyncMethod::Fdatasync, MIN_GAIN);
    for method in SyncMethod::ALL {
        let pairs = times(SyncMethod::Fdatasync).zip(times(method));
        let ratios = pairs.map(|(base, time)| Some(base? / time?)).collect::<Option<Vec<_>>>();
        let Some(ratios) = ratios.filter(|ratios| !ratios.is_empty()) else { continue };
        let mean = ratios.iter().product::<f64>().powf(1.0 / ratios.len() as f64);
        if mean >= gain && ratios.iter().all(|ratio| *ratio >= MAX_LOSS) {
            (best, gain) = (method, mean);
        }
    }
    best
}

impl Tuning {
    /// The figures are for people; only the method is read again.
    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\nsync_method {}\n", self.sync_method);
        for figure in &self.figures {
            text.push_str(&format!("figure {figure}\n"));
        }
        let check = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("check {check:08x}\n"));
        text
    }
}

fn decode(bytes: &[u8]) -> Option<SyncMethod> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (checked, check) = text.strip_suffix('\n')?.rsplit_once("check ")?;
    if check != format!("{:08x}", crc32fast::hash(checked.as_bytes())) {
        return None;
    }
    let mut lines = checked.lines();
    if lines.next()? != TITLE {
        return None;
    }
    SyncMethod::from_name(lines.next()?.strip_prefix("sync_method ")?)
}

/// Opening takes such a file for a segment that was never finished, and removes it.
fn temporary(dir: &Path, method: SyncMethod) -> PathBuf {
    let nth = SyncMethod::ALL.iter().position(|other| *other == method).unwrap_or_default();
    dir.join(segment::file_name(u64::MAX - nth as u64)).with_extension("tmp")
}

impl fmt::Display for TuningFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.record_size.to_string();
        write!(f, "{:<18}{size:>8}", self.sync_method)?;
        match self.time {
            Some(time) => write!(f, "{:>12.1} µs", time.as_secs_f64() * 1e6),
            None => write!(f, "{:>15}", "-"),
        }
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the time of one durable record:")?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))?;
        write!(f, "sync method: {}", self.sync_method)
    }
}

/// The name of the file in the log's directory.
pub(crate) const FILE: &str = "TUNING";
const TITLE: &str = "bucket-wal tuning 1";
/// No tuning is longer.
const MAX_LEN: u64 = 4 << 10;

/// The records that are written.
const SIZES: [usize; 3] = [512, 4 << 10, 64 << 10];
/// What a frame adds to a lone record, so that records lie across blocks as they do in a log.
const FRAME: usize = 32;
const FILE_LEN: u64 = 2 << 20;
/// How long writing may take, and how often it is done on a disk that costs nothing.
const BUDGET: Duration = Duration::from_millis(1_500);
const MAX_ROUNDS: usize = 200;
/// With fewer turns a figure says nothing.
const MIN_TURNS: usize = 3;
/// How much faster than the default on average, and how much slower at any one size.
const MIN_GAIN: f64 = 1.05;
const MAX_LOSS: f64 = 0.97;

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(micros: [[u64; 3]; 3]) -> Vec<TuningFigure> {
        let figure = |(method, times): (SyncMethod, [u64; 3])| {
            times.into_iter().zip(SIZES).map(move |(micros, size)| TuningFigure {
                sync_method: method,
                record_size: ByteCount::new(size as u64),
                time: (micros > 0).then(|| Duration::from_micros(micros)),
            })
        };
        SyncMethod::ALL.into_iter().zip(micros).flat_map(figure).collect()
    }

    #[test]
    fn another_method_is_chosen_only_when_it_is_clearly_faster() {
        let base = [100, 110, 300];
        let choose = |dsync, direct| best(&figures([base, dsync, direct]));
        assert_eq!(choose(base, base), SyncMethod::Fdatasync);
        assert_eq!(choose([98, 107, 296], [97, 106, 292]), SyncMethod::Fdatasync);
        assert_eq!(choose([90, 100, 280], [99, 109, 299]), SyncMethod::ODsync);
        assert_eq!(choose([90, 100, 280], [90, 100, 200]), SyncMethod::ODirectODsync);
        // Much faster for large records does not pay for being slower for small ones.
        assert_eq!(choose(base, [120, 110, 150]), SyncMethod::Fdatasync);
        assert_eq!(choose([0, 0, 0], [50, 50, 50]), SyncMethod::ODirectODsync);
        assert_eq!(choose([50, 50, 0], [0, 0, 0]), SyncMethod::Fdatasync);
        assert_eq!(best(&figures([[0; 3], [50; 3], [50; 3]])), SyncMethod::Fdatasync);
        assert_eq!(best(&[]), SyncMethod::Fdatasync);
    }

    #[test]
    fn a_tuning_is_read_again_and_any_damage_makes_it_nothing() {
        for sync_method in SyncMethod::ALL {
            let tuning = Tuning { sync_method, figures: figures([[1; 3], [0; 3], [99_999; 3]]) };
            let text = tuning.encode();
            assert!(text.len() as u64 <= MAX_LEN);
            assert_eq!(decode(text.as_bytes()), Some(sync_method));
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                assert_eq!(decode(&bytes), None, "byte {at} of\n{text}");
                assert_eq!(decode(&text.as_bytes()[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_version_or_a_method_that_is_not_known_is_nothing() {
        let text = |title: &str, method: &str| {
            let text = format!("{title}\nsync_method {method}\n");
            format!("{text}check {:08x}\n", crc32fast::hash(text.as_bytes()))
        };
        assert_eq!(decode(text(TITLE, "o_dsync").as_bytes()), Some(SyncMethod::ODsync));
        assert_eq!(decode(text("bucket-wal tuning 2", "o_dsync").as_bytes()), None);
        assert_eq!(decode(text(TITLE, "io_uring").as_bytes()), None);
    }
}
