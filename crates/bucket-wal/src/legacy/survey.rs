//! [`Survey`]: every operation of the old log, in order, and what is wrong with it.
//!
//! Segments are read in the order of their names, which is the order of their creation. Operations are
//! put into the order of their numbers. Where a later segment uses numbers of an earlier one, the
//! original had begun to count again; what it wrote then comes later, whatever its numbers.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use bucket_vfs::{EntryKind, OpenMode, Vfs, VfsFile};
use sha2::{Digest, Sha256};

use super::LegacyError;
use super::findings::{Finding, FindingKind};
use super::line::{LineError, MAX_LINE_LEN, number, parse_line, parse_object};
use super::segment::{Lines, Place};
use crate::error::WalError;
use crate::options::WalOptions;

/// What an old log holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey {
    /// The directory.
    pub dir: PathBuf,
    /// The segments, in the order of their creation.
    pub segments: Vec<LegacySegment>,
    /// Checkpoints that could be read.
    pub checkpoints: u64,
    /// Operations that the original's own recovery would have returned.
    pub original_would_recover: u64,
    /// Findings that mean a loss: see [`FindingKind::is_loss`].
    pub losses: u64,
    /// All findings.
    pub findings: u64,
    pub(crate) operations: Vec<Operation>,
}

/// A segment of the old log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegacySegment {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Lines, of every kind.
    pub lines: u64,
    /// Lines that hold an operation.
    pub operations: u64,
    /// Whether the original would have dropped it: it has a checkpoint, and grew or changed after it.
    pub is_dropped_by_original: bool,
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) sequence_number: u64,
    pub(crate) offset: u64,
    pub(crate) line: u64,
    pub(crate) len: u32,
    /// Which segment.
    pub(crate) segment: u32,
}

impl WalOptions {
    /// Reads the old log in `dir`, through the files of these options, and changes nothing. Every finding
    /// goes to `on_finding` at once, for there may be many; `on_progress` hears the bytes read and the
    /// bytes in all.
    ///
    /// Remembers 32 bytes for each operation, and one line.
    ///
    /// # Errors
    ///
    /// [`LegacyError::NotALog`], and [`LegacyError::Log`] when a file cannot be read. What is wrong with
    /// the content is a finding.
    pub fn survey_legacy(
        &self,
        dir: impl AsRef<Path>,
        on_finding: &mut dyn FnMut(&Finding),
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Survey, LegacyError> {
        survey(&*self.vfs, dir.as_ref(), on_finding, on_progress)
    }
}

impl Survey {
    /// Operations that can be brought over.
    pub fn operations(&self) -> u64 {
        self.operations.len() as u64
    }
}

fn survey(
    vfs: &dyn Vfs,
    dir: &Path,
    on_finding: &mut dyn FnMut(&Finding),
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Survey, LegacyError> {
    let mut found = Survey {
        dir: dir.to_owned(),
        segments: Vec::new(),
        checkpoints: 0,
        original_would_recover: 0,
        losses: 0,
        findings: 0,
        operations: Vec::new(),
    };
    let (mut losses, mut findings) = (0, 0);
    let mut say = |path: &Path, line: Option<u64>, kind: FindingKind| {
        findings += 1;
        losses += u64::from(kind.is_loss());
        on_finding(&Finding { path: path.to_owned(), line, kind });
    };

    let (names, total) = segment_names(vfs, dir, &mut say)?;
    if names.is_empty() {
        return Err(LegacyError::NotALog { path: dir.to_owned() });
    }
    let checkpoints = load_checkpoints(vfs, dir, &mut say)?;
    found.checkpoints = checkpoints.len() as u64;
    for checkpoint in &checkpoints {
        if !names.contains(&checkpoint.segment) {
            let name = checkpoint.segment.clone();
            say(&checkpoint.path, None, FindingKind::SegmentGone { name });
        }
    }

    let mut done = 0;
    // The numbers of the segments since the original last began to count, and where that was.
    let (mut ranges, mut lives) = (Vec::<(u64, u64)>::new(), vec![0]);
    for (n, name) in names.iter().enumerate() {
        let path = dir.join("segments").join(name);
        let start = found.operations.len();
        let mut progress = |bytes| on_progress(done + bytes, total);
        let own = checkpoints.iter().filter(|checkpoint| checkpoint.segment == *name).collect();
        let segment =
            read_segment(vfs, &path, n, own, &mut found.operations, &mut say, &mut progress)?;
        done += segment.bytes;
        let numbers = || found.operations[start..].iter().map(|op| op.sequence_number);
        if let (Some(first), Some(last)) = (numbers().min(), numbers().max()) {
            if ranges.iter().any(|range| first <= range.1 && range.0 <= last)
                && !repeats(vfs, &found.operations, start, &names, dir)?
            {
                say(&path, None, FindingKind::Restarted);
                lives.push(start);
                ranges.clear();
            }
            ranges.push((first, last));
        }
        found.segments.push(segment);
    }

    order(vfs, &mut found, &lives, &mut say)?;
    (found.losses, found.findings) = (losses, findings);

    // The original starts behind its newest checkpoint, and leaves out what it takes for damaged.
    let newest = checkpoints.iter().max_by(|a, b| a.timestamp.total_cmp(&b.timestamp));
    let from = newest.map_or(0, |checkpoint| checkpoint.sequence_number);
    found.original_would_recover = found
        .operations
        .iter()
        .filter(|op| op.sequence_number > from)
        .filter(|op| !found.segments[op.segment as usize].is_dropped_by_original)
        .count() as u64;
    Ok(found)
}

type Say<'a> = dyn FnMut(&Path, Option<u64>, FindingKind) + 'a;

/// The names of the segments in order, and their bytes in all.
fn segment_names(
    vfs: &dyn Vfs,
    dir: &Path,
    say: &mut Say<'_>,
) -> Result<(Vec<String>, u64), LegacyError> {
    let segments = dir.join("segments");
    let mut entries = match vfs.read_dir(&segments) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(WalError::io("list", &segments, error).into()),
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut names, mut total) = (Vec::new(), 0_u64);
    for entry in entries {
        let name = entry.name.to_str().filter(|name| is_named(name, "wal_", ".log"));
        match (name, entry.kind) {
            (Some(name), EntryKind::File) => {
                names.push(name.to_owned());
                total = total.saturating_add(entry.len);
            }
            (Some(_), _) => say(&segments.join(&entry.name), None, FindingKind::Skipped),
            (None, _) => say(&segments.join(&entry.name), None, FindingKind::Unknown),
        }
    }
    Ok((names, total))
}

fn is_named(name: &str, prefix: &str, suffix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(suffix))
}

struct Checkpoint {
    path: PathBuf,
    sequence_number: u64,
    timestamp: f64,
    /// The file name of the segment; the directory may have moved since.
    segment: String,
    checksum: String,
}

/// The readable checkpoints, in the order in which the original loads them.
fn load_checkpoints(
    vfs: &dyn Vfs,
    dir: &Path,
    say: &mut Say<'_>,
) -> Result<Vec<Checkpoint>, LegacyError> {
    let checkpoints = dir.join("checkpoints");
    let mut entries = match vfs.read_dir(&checkpoints) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(WalError::io("list", &checkpoints, error).into()),
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut found = Vec::new();
    for entry in entries {
        let path = checkpoints.join(&entry.name);
        if !entry.name.to_str().is_some_and(|name| is_named(name, "checkpoint_", ".json")) {
            continue;
        }
        let mut bad = |reason: &str| {
            say(&path, None, FindingKind::BadCheckpoint { reason: reason.to_owned() });
        };
        if entry.kind != EntryKind::File || entry.len > MAX_CHECKPOINT_LEN {
            bad("it is no regular file of at most 64 KiB");
            continue;
        }
        let io = |error| WalError::io("read", &path, error);
        let file = vfs.open(&path, OpenMode::Read).map_err(io)?;
        let mut bytes = vec![0; file.len().map_err(io)?.min(MAX_CHECKPOINT_LEN) as usize];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        match parse_checkpoint(&bytes, &path) {
            Ok(Some(checkpoint)) => found.push(checkpoint),
            Ok(None) => bad("a field is missing"),
            Err(error) => bad(&error.to_string()),
        }
    }
    Ok(found)
}

fn parse_checkpoint(bytes: &[u8], path: &Path) -> Result<Option<Checkpoint>, LineError> {
    let object = parse_object(bytes)?;
    Ok((|| {
        let timestamp = std::str::from_utf8(object.field("timestamp")?).ok()?;
        // The directory is of no interest; in what is left of an escape there is no separator.
        let segment = object.text("file_path")?.rsplit(['/', '\\']).next()?.to_owned();
        Some(Checkpoint {
            path: path.to_owned(),
            sequence_number: object.field("sequence_number").and_then(number)?,
            timestamp: timestamp.parse().ok()?,
            segment,
            checksum: object.text("checksum")?.to_owned(),
        })
    })())
}

/// Reads the lines of one segment and judges it by its checkpoints.
fn read_segment(
    vfs: &dyn Vfs,
    path: &Path,
    segment: usize,
    checkpoints: Vec<&Checkpoint>,
    operations: &mut Vec<Operation>,
    say: &mut Say<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<LegacySegment, LegacyError> {
    let io = |error| WalError::io("read", path, error);
    let file = vfs.open(path, OpenMode::Read).map_err(io)?;
    let mut lines = Lines::new(&*file).map_err(io)?;
    let (start, mut count) = (operations.len(), 0);
    let mut vouched: HashSet<&str> = HashSet::new();
    while let Some(place) = lines.read().map_err(io)? {
        count += 1;
        match read_line(&lines, place) {
            Ok(line) => {
                if !place.has_end {
                    say(path, Some(count), FindingKind::NoLineEnd);
                }
                if !line.is_strict {
                    say(path, Some(count), FindingKind::NotStrict);
                }
                let sequence_number = line.sequence_number;
                operations.push(Operation {
                    sequence_number,
                    offset: place.offset,
                    line: count,
                    len: place.len as u32,
                    segment: segment as u32,
                });
                // What the segment was when the checkpoint was taken, right behind this operation.
                if checkpoints.iter().any(|c| c.sequence_number == sequence_number) {
                    let checksum = lines.checksum();
                    vouched.extend(
                        checkpoints.iter().map(|c| &*c.checksum).filter(|sum| **sum == *checksum),
                    );
                }
            }
            Err(error) if !place.has_end => say(path, Some(count), FindingKind::Torn(error)),
            Err(error) => say(path, Some(count), FindingKind::BadLine(error)),
        }
        progress(lines.offset());
    }
    let whole = lines.checksum();
    let found = (operations.len() - start) as u64;
    // The original compares the whole file with the first checkpoint of the segment that it loaded.
    let is_dropped = checkpoints.first().is_some_and(|first| first.checksum != whole);
    let is_vouched = |c: &&&Checkpoint| c.checksum == whole || vouched.contains(&*c.checksum);
    if checkpoints.iter().filter(is_vouched).count() < checkpoints.len() {
        say(path, None, FindingKind::Changed);
    } else if is_dropped {
        say(path, None, FindingKind::Grown { operations: found });
    }
    Ok(LegacySegment {
        path: path.to_owned(),
        bytes: lines.offset(),
        lines: count,
        operations: found,
        is_dropped_by_original: is_dropped,
    })
}

fn read_line(lines: &Lines<'_>, place: Place) -> Result<super::Line, LineError> {
    if place.len > MAX_LINE_LEN as u64 {
        return Err(LineError::TooLong);
    }
    parse_line(lines.line())
}

/// Whether the operations from `start` on are all there before, byte for byte: a copied segment, and no
/// new beginning.
fn repeats(
    vfs: &dyn Vfs,
    operations: &[Operation],
    start: usize,
    names: &[String],
    dir: &Path,
) -> Result<bool, LegacyError> {
    let path = |op: &Operation| dir.join("segments").join(&names[op.segment as usize]);
    let mut before: BTreeMap<u64, &Operation> = BTreeMap::new();
    for op in &operations[..start] {
        before.insert(op.sequence_number, op);
    }
    let mut reader = Reader::new(vfs);
    for op in &operations[start..] {
        let Some(other) = before.get(&op.sequence_number).filter(|other| other.len == op.len)
        else {
            return Ok(false);
        };
        let line = reader.read(&path(op), op)?;
        if reader.read(&path(other), other)? != line {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sorts the operations within each life of the original, and drops what is there twice.
fn order(
    vfs: &dyn Vfs,
    found: &mut Survey,
    lives: &[usize],
    say: &mut Say<'_>,
) -> Result<(), LegacyError> {
    let mut reader = Reader::new(vfs);
    let path = |op: &Operation| &found.segments[op.segment as usize].path;
    let mut kept: Vec<Operation> = Vec::with_capacity(found.operations.len());
    for (n, &start) in lives.iter().enumerate() {
        let end = lives.get(n + 1).copied().unwrap_or(found.operations.len());
        let life = &mut found.operations[start..end];
        // Stable: of one number, what was written first comes first.
        life.sort_by_key(|op| op.sequence_number);
        let life = &found.operations[start..end];
        let mut next = if n == 0 { 1 } else { life.first().map_or(1, |op| op.sequence_number) };
        for group in life.chunk_by(|a, b| a.sequence_number == b.sequence_number) {
            let (first, number) = (&group[0], group[0].sequence_number);
            if number > next {
                let missing = FindingKind::Missing { first: next, last: number - 1 };
                say(path(first), Some(first.line), missing);
            }
            next = number.saturating_add(1);
            kept.push(*first);
            if group.len() == 1 {
                continue;
            }
            let mut seen = HashSet::new();
            seen.insert(Sha256::digest(reader.read(path(first), first)?));
            for op in &group[1..] {
                let sequence_number = number;
                if seen.insert(Sha256::digest(reader.read(path(op), op)?)) {
                    say(path(op), Some(op.line), FindingKind::Conflict { sequence_number });
                    kept.push(*op);
                } else {
                    say(path(op), Some(op.line), FindingKind::Duplicate { sequence_number });
                }
            }
        }
    }
    found.operations = kept;
    Ok(())
}

/// Reads single lines again; keeps the file that was read last open.
pub(crate) struct Reader<'a> {
    vfs: &'a dyn Vfs,
    open: Option<(PathBuf, std::sync::Arc<dyn VfsFile>)>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(vfs: &'a dyn Vfs) -> Self {
        Self { vfs, open: None }
    }

    pub(crate) fn read(&mut self, path: &Path, op: &Operation) -> Result<Vec<u8>, LegacyError> {
        let io = |error| WalError::io("read", path, error);
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            let file = self.vfs.open(path, OpenMode::Read).map_err(io)?;
            self.open = Some((path.to_owned(), file));
        }
        let mut bytes = vec![0; op.len as usize];
        if let Some((_, file)) = &self.open {
            file.read_exact_at(&mut bytes, op.offset).map_err(io)?;
        }
        Ok(bytes)
    }
}

const MAX_CHECKPOINT_LEN: u64 = 64 << 10;
