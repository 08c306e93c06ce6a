//! [`Inspection`]: what is in the directory of a log, without opening it.
//!
//! Takes no lock, changes nothing and works beside a living owner and on damaged logs. Every frame and
//! every record is checked, by the rules that opening follows. It holds one window of a file at a time
//! and remembers no frame; only the list of damage grows with what is found.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use bucket_vfs::{EntryKind, OpenMode, Vfs};

use crate::error::WalError;
use crate::frame::FrameKind;
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest};
use crate::options::{RecoveryPolicy, WalOptions};
use crate::reader::{Place, Record, load};
use crate::recovery::{Damage, DamageKind, TailState};
use crate::scan::{Known, SegmentScan, scan_with};
use crate::segment::{self, HEADER_LEN, Header, HeaderError};
use crate::sync::Arc;

/// What is in the directory of a log. Print it for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The directory.
    pub dir: PathBuf,
    /// The identity of the log, when any file that can be read has one.
    pub log_id: Option<u128>,
    /// What the newest owner wrote of itself into `LOCK`. It may have gone: only taking the lock would
    /// tell.
    pub owner: Option<String>,
    /// The segments, by number.
    pub segments: Vec<SegmentFile>,
    /// The checkpoints, newest first.
    pub checkpoints: Vec<CheckpointFile>,
    /// What is damaged, in the order of the log.
    pub damage: Vec<Damage>,
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
    /// The end that a later segment states.
    Sealed,
    /// An interrupted write, of which nothing was acknowledged.
    Torn,
    /// The file has no valid header, or belongs to another log.
    Unreadable,
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
        inspect_all(&*self.vfs, dir.as_ref(), &mut |_, _| Ok(()))
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
        inspect_all(&*self.vfs, dir.as_ref(), &mut |place, count| {
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
        write!(f, "\n{} segments, {} records", self.segments.len(), self.records())?;
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

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, kind, first) = (self.path.display(), self.kind, self.first_lsn);
        write!(f, "{path}: byte {}: {kind}", self.offset)?;
        if first > Lsn::ZERO {
            write!(f, ", from record {first}")?;
        }
        if self.records > 0 {
            write!(f, ", {} lost", self.records)?;
        }
        Ok(())
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

fn inspect_all(vfs: &dyn Vfs, dir: &Path, visit: &mut Visit<'_>) -> Result<Inspection, WalError> {
    let mut attempt = 1;
    loop {
        let before = list(vfs, dir)?;
        let result = inspect_once(vfs, dir, &before, visit);
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

#[derive(PartialEq, Eq)]
struct Listing {
    segments: BTreeSet<u64>,
    checkpoints: BTreeSet<u64>,
    other: BTreeSet<PathBuf>,
}

fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Listing, WalError> {
    let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
    let mut found =
        Listing { segments: BTreeSet::new(), checkpoints: BTreeSet::new(), other: BTreeSet::new() };
    for entry in entries {
        let name = entry.name.to_str().unwrap_or_default();
        if let Some(id) = segment::number_in(name, "seg-", ".wal") {
            found.segments.insert(id);
        } else if let Some(generation) = segment::number_in(name, "ckpt-", ".man") {
            found.checkpoints.insert(generation);
        } else if name != LOCK || entry.kind != EntryKind::File {
            found.other.insert(dir.join(&entry.name));
        }
    }
    Ok(found)
}

fn inspect_once(
    vfs: &dyn Vfs,
    dir: &Path,
    listing: &Listing,
    visit: &mut Visit<'_>,
) -> Result<Inspection, WalError> {
    let mut found = Inspection {
        dir: dir.to_owned(),
        log_id: None,
        owner: owner(vfs, dir),
        segments: Vec::new(),
        checkpoints: Vec::new(),
        damage: Vec::new(),
        other_files: listing.other.iter().cloned().collect(),
        is_moving: false,
    };
    let mut newest = None;
    for &generation in listing.checkpoints.iter().rev() {
        let (file, manifest) = checkpoint(vfs, dir, generation)?;
        found.checkpoints.push(file);
        newest = newest.or(manifest);
    }
    if newest.is_none() && !found.checkpoints.is_empty() {
        found.note(dir.to_owned(), DamageKind::Checkpoint, 1);
    }

    for &id in &listing.segments {
        let path = dir.join(segment::file_name(id));
        let (file_bytes, header) = header(vfs, &path, id)?;
        if header.is_none() {
            found.note(path.clone(), DamageKind::Header, 0);
        }
        found.segments.push(SegmentFile::new(id, path, file_bytes, header.as_ref()));
    }
    let headers = |found: &Inspection| found.segments.iter().find_map(|segment| segment.header);
    found.log_id = newest
        .as_ref()
        .map(|manifest| manifest.log_id)
        .or_else(|| headers(&found).map(|header| header.log_id));
    let usable: Vec<usize> = (0..found.segments.len())
        .filter(|&n| found.segments[n].header.is_some_and(|h| Some(h.log_id) == found.log_id))
        .collect();
    for n in 0..found.segments.len() {
        if let (Some(header), false) = (found.segments[n].header, usable.contains(&n)) {
            let path = found.segments[n].path.clone();
            found.note(path, DamageKind::Identity, header.first_lsn.get());
        }
    }
    found.check_continuity(&usable, newest.as_ref());

    for (nth, &n) in usable.iter().enumerate() {
        let successor = usable.get(nth + 1).and_then(|&n| found.segments[n].header);
        let is_newest = successor.is_none();
        let durable_lsn = newest.as_ref().filter(|_| is_newest).map_or(0, |m| m.durable_lsn);
        let segment = &mut found.segments[n];
        let data_len = successor
            .filter(|next| next.prev_segment_id == segment.id)
            .map(|next| next.prev_data_len);
        let damage = scan_segment(vfs, segment, data_len, durable_lsn, visit)?;
        found.damage.extend(damage);
    }
    Ok(found)
}

impl Inspection {
    fn note(&mut self, path: PathBuf, kind: DamageKind, first_lsn: u64) {
        let first_lsn = Lsn::new(first_lsn);
        self.damage.push(Damage { path, offset: 0, kind, first_lsn, records: 0 });
    }

    /// Every segment names its predecessor; a checkpoint says how far back segments must reach.
    fn check_continuity(&mut self, usable: &[usize], newest: Option<&Manifest>) {
        let headers: Vec<_> = usable
            .iter()
            .filter_map(|&n| Some((self.segments[n].id, self.segments[n].header?)))
            .collect();
        let mut missing = Vec::new();
        for pair in headers.windows(2) {
            let ((id, before), (_, after)) = (pair[0], pair[1]);
            if after.prev_segment_id != id {
                missing.push((after.prev_segment_id, before.first_lsn.get()));
            }
        }
        match (headers.first(), newest) {
            (Some((_, first)), Some(manifest)) if first.first_lsn.get() > manifest.replay_from => {
                missing.push((first.prev_segment_id, manifest.replay_from));
            }
            (Some((_, first)), None) if first.prev_segment_id != 0 => {
                missing.push((first.prev_segment_id, 1));
            }
            (None, Some(manifest)) if manifest.replay_from <= manifest.durable_lsn => {
                missing.push((0, manifest.replay_from));
            }
            _ => {}
        }
        for (id, first_lsn) in missing {
            let path = self.dir.join(segment::file_name(id));
            self.note(path, DamageKind::Missing, first_lsn);
        }
    }
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
}

/// Scans one segment into `segment`, again and again while its owner writes to it: a frame that is half
/// there while it is read looks damaged, and a second look finds it whole.
fn scan_segment(
    vfs: &dyn Vfs,
    segment: &mut SegmentFile,
    data_len: Option<u64>,
    durable_lsn: u64,
    visit: &mut Visit<'_>,
) -> Result<Vec<Damage>, WalError> {
    let path = segment.path.clone();
    let io = |error| WalError::io("read", &path, error);
    let file = vfs.open(&path, OpenMode::Read).map_err(io)?;
    // Read again, for the frames need it whole.
    let (_, Some(header)) = header(vfs, &path, segment.id)? else { return Ok(Vec::new()) };
    let known = Known { path: &path, data_len, durable_lsn, policy: RecoveryPolicy::Salvage };
    let mut last: Option<SegmentScan> = None;
    for _ in 0..ATTEMPTS {
        let mut counted = SegmentFile {
            file_bytes: file.len().map_err(io)?,
            ..SegmentFile::new(segment.id, path.clone(), 0, Some(&header))
        };
        let mut failed = None;
        let found = scan_with(&*file, &header, known, &mut |frame, offset, bad| {
            counted.frames += 1;
            if frame.kind != FrameKind::Data || failed.is_some() {
                return;
            }
            let count = frame.entries.len() as u64;
            for (n, entry) in (0..count).zip(&frame.entries) {
                if bad.binary_search(&n).is_ok() {
                    counted.damaged_records += 1;
                    continue;
                }
                let lsn = Lsn::new(frame.first_lsn.saturating_add(n));
                counted.first_lsn.get_or_insert(lsn);
                counted.last_lsn = Some(lsn);
                counted.records += 1;
                counted.payload_bytes += u64::from(entry.len);
            }
            let place = Place {
                header: header.clone(),
                file: Arc::clone(&file),
                path: path.clone(),
                first_lsn: frame.first_lsn,
                offset,
            };
            failed = visit(&place, count).err();
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        counted.end_offset = found.end;
        counted.end = match found.tail {
            TailState::Damaged => SegmentEnd::Damaged,
            TailState::Torn => SegmentEnd::Torn,
            TailState::Clean if data_len.is_some() => SegmentEnd::Sealed,
            // The scan gave up at a place that something vouches for.
            TailState::Clean
                if found.damage.last().is_some_and(|damage| damage.offset == found.end) =>
            {
                SegmentEnd::Damaged
            }
            TailState::Clean => SegmentEnd::Clean,
        };
        *segment = counted;
        let settled = last.as_ref().is_some_and(|last| {
            (last.end, last.tail, &last.damage) == (found.end, found.tail, &found.damage)
        });
        if settled || (found.damage.is_empty() && found.tail == TailState::Clean) {
            return Ok(found.damage);
        }
        last = Some(found);
    }
    Ok(last.map(|found| found.damage).unwrap_or_default())
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
) -> Result<(CheckpointFile, Option<Manifest>), WalError> {
    let path = dir.join(format!("ckpt-{generation:016x}.man"));
    let io = |error| WalError::io("read", &path, error);
    let file = vfs.open(&path, OpenMode::Read).map_err(io)?;
    let len = file.len().map_err(io)?;
    let mut bytes = Vec::new();
    if len <= manifest::MAX_LEN {
        bytes.resize(len as usize, 0);
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
    }
    let manifest = Manifest::decode(&bytes).filter(|manifest| manifest.generation == generation);
    let found = CheckpointFile {
        generation,
        path: path.clone(),
        is_readable: manifest.is_some(),
        durable_lsn: Lsn::new(manifest.as_ref().map_or(0, |manifest| manifest.durable_lsn)),
        replay_from: Lsn::new(manifest.as_ref().map_or(0, |manifest| manifest.replay_from)),
        state_bytes: manifest.as_ref().map_or(0, |manifest| manifest.state.len() as u64),
    };
    Ok((found, manifest))
}

/// The length of a segment, and its header when that validates.
fn header(vfs: &dyn Vfs, path: &Path, id: u64) -> Result<(u64, Option<Header>), WalError> {
    let io = |error: io::Error| WalError::io("read", path, error);
    let file = vfs.open(path, OpenMode::Read).map_err(io)?;
    let len = file.len().map_err(io)?;
    if len < HEADER_LEN {
        return Ok((len, None));
    }
    let mut bytes = vec![0; HEADER_LEN as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    match Header::decode(&bytes) {
        Ok(header) if header.segment_id == id => Ok((len, Some(header))),
        Ok(_) | Err(HeaderError::Damaged) => Ok((len, None)),
        Err(HeaderError::Unsupported { major, flags }) => {
            Err(WalError::UnsupportedFormat { path: path.to_owned(), major, flags })
        }
    }
}

const LOCK: &str = "LOCK";
