//! Looking at the files of a log, again where its owner moves it under our eyes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bucket_vfs::{EntryKind, OpenMode, Vfs, VfsFile};

use super::{CheckpointFile, Inspection, SegmentEnd, SegmentFile, SegmentHeader, Verdict};
use crate::error::WalError;
use crate::format::{Features, Format};
use crate::frame::FrameKind;
use crate::lenient::{Lenient, Lost};
use crate::lsn::Lsn;
use crate::manifest;
use crate::options::WalOptions;
use crate::reader::Place;
use crate::recovery::survey::{Survey, open_segment};
use crate::recovery::{TailState, segments};
use crate::reserve;
use crate::scan::{Known, Seen, SegmentScan, scan_with};
use crate::segment::{self, Header};
use crate::sync::Arc;
use crate::tuning;

/// Takes a frame of records: its place, and how many it holds.
pub(super) type Visit<'a> = dyn FnMut(&Place, u64) -> Result<(), WalError> + 'a;

/// How often a log that moves is looked at again.
const ATTEMPTS: usize = 4;

pub(super) fn inspect_all(
    options: &WalOptions,
    dir: &Path,
    visit: &mut Visit<'_>,
) -> Result<Inspection, WalError> {
    let vfs = &*options.vfs;
    let mut attempt = 1;
    loop {
        let before = list(vfs, dir)?;
        let lost = Arc::new(Lost::new());
        let lenient = Lenient::new(Arc::clone(&options.vfs), Arc::clone(&lost));
        let result = inspect_once(&lenient, options.known, dir, &before, visit)
            .map(|found| Inspection { unreadable_bytes: lost.bytes(), ..found });
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
    vfs: &dyn Vfs,
    known: Features,
    dir: &Path,
    listing: &Listing,
    visit: &mut Visit<'_>,
) -> Result<Inspection, WalError> {
    let mut found = Inspection {
        dir: dir.to_owned(),
        log_id: None,
        format: Format::new(Features::NONE),
        owner: owner(vfs, dir),
        segments: Vec::new(),
        checkpoints: Vec::new(),
        damage: Vec::new(),
        unreadable_bytes: 0,
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
