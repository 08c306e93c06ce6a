//! [`Inspection`]: what is in the directory of a log, without opening it.
//!
//! Takes no lock, changes nothing and works beside a living owner and on damaged logs. Every frame and
//! every record is checked, by the rules that opening follows. It holds one window of a file at a time
//! and remembers no frame; only the list of damage grows with what is found.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use bucket_vfs::{EntryKind, OpenMode, Vfs, VfsFile};

use crate::error::WalError;
use crate::format::{Features, Format};
use crate::frame::FrameKind;
use crate::lsn::Lsn;
use crate::manifest;
use crate::options::WalOptions;
use crate::reader::{Place, Record, load};
use crate::recovery::survey::{Survey, open_segment};
use crate::recovery::{Damage, TailState, segments};
use crate::reserve;
use crate::scan::{Known, Seen, SegmentScan, scan_with};
use crate::segment::{self, Header};
use crate::sync::Arc;
use crate::tuning;

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
    /// Damage is no error: it is listed. [`WalError::Io`] when the directory or a file cannot be read;
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
        if !self.damage.is_empty() || self.checkpoints.iter().any(is_unreadable) {
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

/// Takes a frame of records: its place, and how many it holds.
type Visit<'a> = dyn FnMut(&Place, u64) -> Result<(), WalError> + 'a;

/// How often a log that moves is looked at again.
const ATTEMPTS: usize = 4;

fn inspect_all(
    options: &WalOptions,
    dir: &Path,
    visit: &mut Visit<'_>,
) -> Result<Inspection, WalError> {
    let vfs = &*options.vfs;
    let mut attempt = 1;
    loop {
        let before = list(vfs, dir)?;
        let result = inspect_once(options, dir, &before, visit);
        let suspicious = match &result {
            Ok(found) => found.verdict() == Verdict::Damaged,
            Err(_) => true,
        };
        // A segment that was trimmed away under our eyes looks like a missing one. When nothing in the
        // directory has changed since, it is what it looks like.
        let moved = suspicious && list(vfs, dir)? != before;
        if !moved || attempt == ATTEMPTS {
            return result.map(|found| Inspection { is_moving: moved, ..found });
        }
        attempt += 1;
    }
}

#[derive(Default, PartialEq, Eq)]
struct Listing {
    segments: BTreeSet<u64>,
    checkpoints: BTreeSet<u64>,
    spare: BTreeSet<PathBuf>,
    other: BTreeSet<PathBuf>,
}

fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Listing, WalError> {
    let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
    let mut found = Listing::default();
    for entry in entries {
        let name = entry.name.to_str().unwrap_or_default();
        if let Some(id) = segment::number_in(name, "seg-", ".wal") {
            found.segments.insert(id);
        } else if let Some(generation) = segment::number_in(name, "ckpt-", ".man") {
            found.checkpoints.insert(generation);
        } else if segment::is_spare_name(name) && entry.kind == EntryKind::File {
            found.spare.insert(dir.join(name));
        } else if !is_ours(name) || entry.kind != EntryKind::File {
            found.other.insert(dir.join(&entry.name));
        }
    }
    Ok(found)
}

/// Whether a log has a file of this name that holds none of its records.
fn is_ours(name: &str) -> bool {
    [LOCK, tuning::FILE].contains(&name) || reserve::is_name(name)
}

fn inspect_once(
    options: &WalOptions,
    dir: &Path,
    listing: &Listing,
    visit: &mut Visit<'_>,
) -> Result<Inspection, WalError> {
    let (vfs, known) = (&*options.vfs, options.known);
    let mut found = Inspection {
        dir: dir.to_owned(),
        log_id: None,
        format: Format::new(Features::NONE),
        owner: owner(vfs, dir),
        segments: Vec::new(),
        checkpoints: Vec::new(),
        damage: Vec::new(),
        spare_files: listing.spare.iter().cloned().collect(),
        other_files: listing.other.iter().cloned().collect(),
        is_moving: false,
    };
    for &generation in listing.checkpoints.iter().rev() {
        found.checkpoints.push(checkpoint(vfs, dir, generation, known)?);
    }
    let survey = Survey::of(vfs, dir, known)?;
    found.log_id = survey.log_id;
    found.format = Format::new(survey.features);
    for checkpoint in &mut found.checkpoints {
        // One that its successor does not name is as good as damaged.
        let mut readable = survey.manifests.readable.iter();
        checkpoint.is_readable &= readable.any(|found| found.generation == checkpoint.generation);
    }
    let mut scans = Vec::new();
    for &id in &listing.segments {
        let path = dir.join(segment::file_name(id));
        let (file, header) = open_segment(vfs, &path, id, known)?;
        let file_bytes = file.len().map_err(|error| WalError::io("read", &path, error))?;
        let mut segment = SegmentFile::new(id, path, file_bytes, header.as_ref());
        if let Some(nth) = survey.chain.iter().position(|header| header.segment_id == id) {
            let known = segments::known(&survey, nth, &segment.path);
            let (counted, scan) = scan_segment(&file, &survey.chain[nth], known, visit)?;
            segment = counted;
            scans.push(scan);
        } else if survey.void.iter().any(|void| void.segment_id == id) {
            segment.end = SegmentEnd::Void;
        }
        found.segments.push(segment);
    }
    if scans.len() < survey.chain.len() {
        // A segment came between the listing and the survey: the log moves, and is looked at again.
        found.damage = survey.findings.into_iter().map(|finding| finding.damage).collect();
        return Ok(found);
    }
    let findings = segments::findings(dir, &survey, &scans);
    found.damage = findings.into_iter().map(|finding| finding.damage).collect();
    Ok(found)
}

impl SegmentFile {
    fn new(id: u64, path: PathBuf, file_bytes: u64, header: Option<&Header>) -> Self {
        Self {
            id,
            path,
            file_bytes,
            header: header.map(|header| SegmentHeader {
                log_id: header.log_id,
                first_lsn: Lsn::new(header.first_lsn),
                prev_segment_id: header.prev_segment_id,
                epoch: header.epoch,
                prev_data_len: header.prev_data_len,
                durable_len: header.durable_len,
            }),
            first_lsn: None,
            last_lsn: None,
            frames: 0,
            records: 0,
            damaged_records: 0,
            payload_bytes: 0,
            end_offset: 0,
            end: SegmentEnd::Unreadable,
        }
    }

    /// Takes in the records of a frame.
    fn count(&mut self, seen: &Seen<'_>) {
        for (n, entry) in (0..).zip(seen.entries()) {
            if seen.bad.binary_search(&n).is_ok() {
                self.damaged_records += 1;
                continue;
            }
            let lsn = Lsn::new(seen.frame.first_lsn.saturating_add(n));
            self.first_lsn.get_or_insert(lsn);
            self.last_lsn = Some(lsn);
            self.records += 1;
            self.payload_bytes += u64::from(entry.len);
        }
    }
}

/// Scans one segment, again and again while its owner writes to it: a frame that is half there while it
/// is read looks damaged, and a second look finds it whole.
fn scan_segment(
    file: &Arc<dyn VfsFile>,
    header: &Header,
    known: Known<'_>,
    visit: &mut Visit<'_>,
) -> Result<(SegmentFile, SegmentScan), WalError> {
    let (path, id) = (known.path, header.segment_id);
    let mut last: Option<(SegmentFile, SegmentScan)> = None;
    for attempt in 1.. {
        let file_bytes = file.len().map_err(|error| WalError::io("read", path, error))?;
        let mut counted = SegmentFile::new(id, path.to_owned(), file_bytes, Some(header));
        let mut failed = None;
        let found = scan_with(&**file, header, known, &mut |seen| {
            let frame = seen.frame;
            counted.frames += 1;
            if frame.kind != FrameKind::Data || failed.is_some() {
                return;
            }
            counted.count(seen);
            let place = Place {
                header: header.clone(),
                file: Arc::clone(file),
                path: path.to_owned(),
                first_lsn: frame.first_lsn,
                offset: seen.offset,
            };
            failed = visit(&place, frame.count as u64).err();
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        counted.end_offset = found.end;
        counted.end = match found.tail {
            TailState::Damaged => SegmentEnd::Damaged,
            TailState::Torn => SegmentEnd::Torn,
            TailState::Clean if known.data_len.is_some() || found.is_sealed => SegmentEnd::Sealed,
            // The scan gave up at a place that something vouches for.
            TailState::Clean
                if found.damage.last().is_some_and(|damage| damage.offset == found.end) =>
            {
                SegmentEnd::Damaged
            }
            TailState::Clean => SegmentEnd::Clean,
        };
        let settled = last.as_ref().is_some_and(|(_, last)| {
            (last.end, last.tail, &last.damage) == (found.end, found.tail, &found.damage)
        });
        let is_whole = found.damage.is_empty() && found.tail == TailState::Clean;
        if settled || is_whole || attempt == ATTEMPTS {
            return Ok((counted, found));
        }
        last = Some((counted, found));
    }
    unreachable!("the last attempt returns")
}

fn owner(vfs: &dyn Vfs, dir: &Path) -> Option<String> {
    let file = vfs.open(&dir.join(LOCK), OpenMode::Read).ok()?;
    let mut bytes = [0; 256];
    let len = file.read_at(&mut bytes, 0).ok()?;
    let text = String::from_utf8_lossy(&bytes[..len]).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn checkpoint(
    vfs: &dyn Vfs,
    dir: &Path,
    generation: u64,
    known: Features,
) -> Result<CheckpointFile, WalError> {
    let path = manifest::path_of(dir, generation);
    let manifest = manifest::read(vfs, dir, generation, known)?;
    Ok(CheckpointFile {
        generation,
        path,
        is_readable: manifest.is_some(),
        durable_lsn: Lsn::new(manifest.as_ref().map_or(0, |manifest| manifest.durable_lsn)),
        replay_from: Lsn::new(manifest.as_ref().map_or(0, |manifest| manifest.replay_from)),
        state_bytes: manifest.as_ref().map_or(0, |manifest| manifest.state.bytes().len() as u64),
    })
}

const LOCK: &str = "LOCK";
