//! [`Inspection`]: what is in the directory of a log, without opening it.
//!
//! Takes no lock, changes nothing and works beside a living owner and on damaged logs. Every frame and
//! every record is checked, by the rules that opening follows. It holds one window of a file at a time
//! and remembers no frame; only the list of damage grows with what is found.

mod look;

use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use self::look::inspect_all;
use crate::error::WalError;
use crate::format::Format;
use crate::lsn::Lsn;
use crate::options::WalOptions;
use crate::reader::{Record, load};
use crate::recovery::Damage;

/// What is in the directory of a log. Print it for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The directory.
    pub dir: PathBuf,
    /// The identity of the log, when any file that can be read has one.
    pub log_id: Option<u128>,
    /// The format that the log is written in.
    pub format: Format,
    /// What the newest owner wrote of itself into `LOCK`. It may have gone: only taking the lock would
    /// tell.
    pub owner: Option<String>,
    /// The segments, by number.
    pub segments: Vec<SegmentFile>,
    /// The checkpoints, newest first.
    pub checkpoints: Vec<CheckpointFile>,
    /// What is damaged, in the order of the log.
    pub damage: Vec<Damage>,
    /// Bytes that the disk did not give back, in whole blocks; what they damage is among the damage.
    pub unreadable_bytes: u64,
    /// Files of segments that nobody needs any more, which become new ones.
    pub spare_files: Vec<PathBuf>,
    /// Files that opening would remove, and files that are none of the log's.
    pub other_files: Vec<PathBuf>,
    /// True when the log changed faster than it could be read. What is said of its end is not to be
    /// relied on then.
    pub is_moving: bool,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentFile {
    /// The number in its name.
    pub id: u64,
    /// The file.
    pub path: PathBuf,
    /// Its length, with the zeros that are written ahead of the end.
    pub file_bytes: u64,
    /// What its header says; `None` when that does not validate.
    pub header: Option<SegmentHeader>,
    /// The first record that can be read.
    pub first_lsn: Option<Lsn>,
    /// The last record that can be read.
    pub last_lsn: Option<Lsn>,
    /// Valid frames.
    pub frames: u64,
    /// Records that can be read.
    pub records: u64,
    /// Records in valid frames whose own content does not validate.
    pub damaged_records: u64,
    /// The bytes of the records that can be read.
    pub payload_bytes: u64,
    /// Where the last valid frame ends.
    pub end_offset: u64,
    /// What stands there.
    pub end: SegmentEnd,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentHeader {
    /// The identity of the log.
    pub log_id: u128,
    /// The number of the first record, whether or not one was written.
    pub first_lsn: Lsn,
    /// The segment before; 0 for the first of the log.
    pub prev_segment_id: u64,
    /// Grows when records are taken back or another writer takes over.
    pub epoch: u64,
    /// How many bytes of the segment before count.
    pub prev_data_len: u64,
    /// How many bytes were durable before the file got its name.
    pub durable_len: u64,
}

/// What stands where the valid frames of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentEnd {
    /// Nothing was written there.
    Clean,
    /// Damage that an interrupted write does not explain.
    Damaged,
    /// The end that a seal or a later segment states.
    Sealed,
    /// An interrupted write, of which nothing was acknowledged.
    Torn,
    /// The file has no valid header, or belongs to another log.
    Unreadable,
    /// It does not count any more, and opening removes it or moves it to `quarantine/`.
    Void,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointFile {
    /// The number in its name.
    pub generation: u64,
    /// The file.
    pub path: PathBuf,
    /// Whether it validates; the fields below are 0 when not.
    pub is_readable: bool,
    /// The newest record that was durable when it was taken.
    pub durable_lsn: Lsn,
    /// Where replay starts.
    pub replay_from: Lsn,
    /// The length of the application's state in bytes.
    pub state_bytes: u64,
}

/// The judgement on a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every record that became durable is there.
    Whole,
    /// The same; the newest write was interrupted, and nothing in it was acknowledged.
    Torn,
    /// Something that was durable cannot be read.
    Damaged,
}

impl WalOptions {
    /// Looks at every file of the log in `dir`, through the files of these options; nothing else in them
    /// matters.
    ///
    /// Nothing is locked, changed or repaired. Beside a living owner the answer is a moment's: what the
    /// log was while it was read.
    ///
    /// # Errors
    ///
    /// Damage is no error: it is listed, and so is what the disk does not give back. [`WalError::Io`] when
    /// the directory cannot be listed or a file not be opened;
    /// [`WalError::UnsupportedFormat`] when a newer version has written the log.
    ///
    /// # Examples
    ///
    /// ```
    /// use bucket_wal::{Verdict, Wal};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let (wal, _) = Wal::open(dir.path().join("log"))?;
    /// wal.append(b"hello")?;
    /// let inspection = Wal::options().inspect(dir.path().join("log"))?;
    /// assert_eq!(inspection.records(), 1);
    /// assert_eq!(inspection.verdict(), Verdict::Whole);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inspect(&self, dir: impl AsRef<Path>) -> Result<Inspection, WalError> {
        inspect_all(self, dir.as_ref(), &mut |_, _| Ok(()))
    }

    /// As [`WalOptions::inspect`], and hands out the records of `range` on the way, each once, in order.
    ///
    /// What cannot be read is left out here and listed there. `on_record` may break off; the inspection
    /// goes on without it.
    ///
    /// # Errors
    ///
    /// As [`WalOptions::inspect`].
    pub fn inspect_records(
        &self,
        dir: impl AsRef<Path>,
        range: RangeInclusive<Lsn>,
        on_record: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<Inspection, WalError> {
        let (mut next, last) = (range.start().get(), range.end().get());
        let mut done = range.is_empty();
        inspect_all(self, dir.as_ref(), &mut |place, count| {
            if done || place.first_lsn > last || place.first_lsn.saturating_add(count) <= next {
                return Ok(());
            }
            let records = match load(place) {
                Ok(records) => records,
                // The scan has just seen it whole: the owner trimmed or replaced it, or the disk fails.
                Err(error) if error.is_damage() => return Ok(()),
                Err(error) => return Err(error),
            };
            for record in records.into_iter().flatten() {
                let lsn = record.lsn.get();
                // A second look at a moving log sees records again.
                if lsn < next || lsn > last || done {
                    continue;
                }
                next = lsn.saturating_add(1);
                done = on_record(record).is_break();
            }
            Ok(())
        })
    }
}

impl Inspection {
    /// Records that can be read.
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum()
    }

    /// The bytes of the records that can be read.
    pub fn payload_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.payload_bytes).sum()
    }

    /// The bytes of all segments on disk.
    pub fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// The first record that can be read.
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.segments.iter().find_map(|segment| segment.first_lsn)
    }

    /// The last record that can be read.
    pub fn last_lsn(&self) -> Option<Lsn> {
        self.segments.iter().rev().find_map(|segment| segment.last_lsn)
    }

    /// The judgement.
    pub fn verdict(&self) -> Verdict {
        let is_unreadable = |checkpoint: &CheckpointFile| !checkpoint.is_readable;
        let is_damaged = !self.damage.is_empty() || self.unreadable_bytes > 0;
        if is_damaged || self.checkpoints.iter().any(is_unreadable) {
            return Verdict::Damaged;
        }
        match self.segments.last() {
            Some(segment) if segment.end == SegmentEnd::Torn => Verdict::Torn,
            _ => Verdict::Whole,
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.dir.display(), self.verdict())?;
        let (segments, records) = (self.segments.len(), self.records());
        write!(f, "\n{}, {segments} segments, {records} records", self.format)?;
        if let (Some(first), Some(last)) = (self.first_lsn(), self.last_lsn()) {
            write!(f, " ({first} to {last})")?;
        }
        write!(f, ", {} B of content", self.payload_bytes())?;
        for segment in &self.segments {
            write!(f, "\n{segment}")?;
        }
        for checkpoint in &self.checkpoints {
            write!(f, "\n{checkpoint}")?;
        }
        for damage in &self.damage {
            write!(f, "\n{damage}")?;
        }
        if self.unreadable_bytes > 0 {
            write!(f, "\n{} bytes could not be read", self.unreadable_bytes)?;
        }
        Ok(())
    }
}

impl fmt::Display for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}: {} records", self.id, self.records)?;
        if let (Some(first), Some(last)) = (self.first_lsn, self.last_lsn) {
            write!(f, " ({first} to {last})")?;
        }
        write!(f, " in {} frames, {} at byte {}", self.frames, self.end, self.end_offset)
    }
}

impl fmt::Display for CheckpointFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_readable {
            return write!(f, "checkpoint {}: not readable", self.generation);
        }
        let (durable, replay) = (self.durable_lsn, self.replay_from);
        let (generation, bytes) = (self.generation, self.state_bytes);
        write!(f, "checkpoint {generation}: replay from {replay}, {durable} durable, {bytes} B")
    }
}

impl fmt::Display for SegmentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Damaged => "damaged",
            Self::Sealed => "sealed",
            Self::Torn => "torn",
            Self::Unreadable => "unreadable",
            Self::Void => "void",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "whole",
            Self::Torn => "whole; the newest write was interrupted, nothing in it was acknowledged",
            Self::Damaged => "damaged",
        })
    }
}
