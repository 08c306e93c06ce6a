//! The survey: which files are in the directory of a log, which segments count, and which are missing.
//!
//! The newest segment decides. From its header the segments lead back from one to the one before; what
//! lies between two that follow one another is void: taken back, or replaced after damage. Nothing is
//! changed here, and no record is read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{EntryKind, OpenMode, Vfs, VfsFile};

use super::report::{Damage, DamageKind};
use crate::error::WalError;
use crate::format::Features;
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest, Manifests};
use crate::reserve;
use crate::segment::{self, HEADER_LEN, Header, HeaderError, MAX_ID, number_in};
use crate::spares::Spare;
use crate::sync::Arc;

/// What is in the directory.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The identity, when any file has one.
    pub(crate) log_id: Option<u128>,
    /// The features that are turned on, in whatever file of the log it is said.
    pub(crate) features: Features,
    /// The segments that count, from the oldest to the newest.
    pub(crate) chain: Vec<Header>,
    /// Segments that a later header has made void.
    pub(crate) void: Vec<Void>,
    /// Segments whose header cannot be read, or which belong to another log.
    pub(crate) unusable: Vec<u64>,
    pub(crate) manifests: Manifests,
    /// The files of all checkpoints.
    pub(crate) checkpoints: Vec<PathBuf>,
    /// What an interrupted creation has left behind.
    pub(crate) temporary: Vec<PathBuf>,
    /// Files that are kept to become segments.
    pub(crate) spares: Vec<Spare>,
    /// The numbers of the files in reserve.
    pub(crate) reserve: Vec<usize>,
    /// No file of the log has a higher number.
    pub(crate) max_id: u64,
    /// What the newest checkpoint vouches for.
    pub(crate) durable_lsn: u64,
    pub(crate) findings: Vec<Finding>,
}

/// A segment that does not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Void {
    pub(crate) segment_id: u64,
    /// It was replaced after damage, and is to be kept.
    pub(crate) is_evidence: bool,
}

/// Damage, and between which segments it lies.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) segment_id: u64,
    /// It stands apart from the segments that count: nothing of theirs is lost.
    pub(crate) is_apart: bool,
    pub(crate) damage: Damage,
}

/// What the directory has, by name alone.
#[derive(Debug, Default)]
struct Names {
    segments: Vec<u64>,
    checkpoints: Vec<PathBuf>,
    temporary: Vec<PathBuf>,
    spares: Vec<Spare>,
    reserve: Vec<usize>,
}

impl Survey {
    pub(crate) fn of(vfs: &dyn Vfs, dir: &Path, known: Features) -> Result<Self, WalError> {
        let names = Names::read(vfs, dir)?;
        let manifests = manifest::load(vfs, dir, known)?;
        let mut headers = BTreeMap::new();
        for &id in &names.segments {
            let path = dir.join(segment::file_name(id));
            headers.insert(id, open_segment(vfs, &path, id, known)?.1);
        }
        let newest = manifests.readable.first();
        let first = || headers.values().flatten().next();
        let log_id =
            newest.map(|manifest| manifest.log_id).or_else(|| first().map(|header| header.log_id));
        let ours = headers.values().flatten().filter(|header| Some(header.log_id) == log_id);
        let features = ours.map(|header| header.features);
        let features = features.chain(manifests.readable.iter().map(|manifest| manifest.features));
        let features = features.fold(Features::NONE, Features::and);
        let mut survey = Self {
            log_id,
            features,
            chain: Vec::new(),
            void: Vec::new(),
            unusable: Vec::new(),
            max_id: names.segments.last().copied().unwrap_or(0),
            durable_lsn: newest.map_or(0, Manifest::vouched_lsn),
            temporary: names.temporary,
            spares: names.spares,
            reserve: names.reserve,
            checkpoints: names.checkpoints,
            manifests,
            findings: Vec::new(),
        };
        survey.follow(dir, &headers);
        if survey.manifests.readable.is_empty() && survey.manifests.unreadable > 0 {
            let is_apart = !survey.chain.is_empty();
            survey.find(0, is_apart, dir.to_owned(), DamageKind::Checkpoint, 1);
        }
        survey.findings.sort_by_key(|finding| finding.segment_id);
        Ok(survey)
    }

    /// Walks back from the newest segment and sorts the others out.
    fn follow(&mut self, dir: &Path, headers: &BTreeMap<u64, Option<Header>>) {
        let path = |id| dir.join(segment::file_name(id));
        let log_id = self.log_id;
        let is_ours = |header: &&Header| Some(header.log_id) == log_id;
        let usable = |id: u64| headers.get(&id)?.as_ref().filter(is_ours);
        let below =
            |id: u64| headers.range(..id).rev().find_map(|(_, h)| h.as_ref().filter(is_ours));
        // The log is kept for the oldest checkpoint: nothing that one needs is removed before it is gone
        // for good.
        let needed_from = self.manifests.readable.iter().map(Manifest::keep_from).min();

        let mut chain: Vec<Header> = Vec::new();
        let mut missing = Vec::new();
        let mut begins_well = chain.is_empty();
        let mut at = below(MAX_ID);
        while let Some(header) = at {
            let (id, prev) = (header.segment_id, header.prev_segment_id);
            chain.push(header.clone());
            if let Some(header) = usable(prev).filter(|_| prev < id) {
                at = Some(header);
                continue;
            }
            let is_beginning =
                prev == 0 || needed_from.is_some_and(|from| header.first_lsn <= from);
            begins_well = is_beginning;
            if is_beginning {
                break;
            }
            at = below(prev.min(id));
            if prev >= id || !headers.contains_key(&prev) {
                let before = at.map_or(needed_from.unwrap_or(1), |header| header.first_lsn);
                missing.push((prev, before));
            }
        }
        chain.reverse();

        let (oldest, newest) = (chain.first().map(|h| h.segment_id), chain.last());
        let newest_id = newest.map(|header| header.segment_id);
        let epoch = self.manifests.readable.first().map_or(0, |manifest| manifest.epoch);
        for header in chain.iter().filter(|header| header.epoch > epoch) {
            // What was durable then and was taken back since.
            self.durable_lsn = self.durable_lsn.min(header.first_lsn.saturating_sub(1));
        }
        match (newest, self.manifests.readable.first()) {
            // The newest segment is never removed, and there was one when a record was durable.
            (None, Some(manifest)) if manifest.durable_lsn > 0 => {
                missing.push((1, manifest.keep_from()));
            }
            _ => {}
        }
        for (&id, header) in headers {
            if chain.iter().any(|header| header.segment_id == id) {
                continue;
            }
            let by = chain.iter().find(|h| h.prev_segment_id < id && id < h.segment_id);
            if let Some(by) = by {
                self.void.push(Void { segment_id: id, is_evidence: by.keeps_evidence });
                continue;
            }
            let is_ours = header.as_ref().is_some_and(|h| is_ours(&h));
            let is_before = oldest.is_some_and(|oldest| id < oldest);
            if is_ours && is_before {
                // Trimmed away, and not yet gone; or no longer needed, and cut off by damage.
                let is_evidence = headers.values().any(Option::is_none);
                self.void.push(Void { segment_id: id, is_evidence });
                continue;
            }
            self.unusable.push(id);
            let kind = if header.is_some() { DamageKind::Identity } else { DamageKind::Header };
            let first_lsn = header.as_ref().map_or(0, |header| header.first_lsn);
            let is_apart = is_before && begins_well
                || newest_id.is_some_and(|newest| id > newest && header.is_some());
            self.find(id, is_apart, path(id), kind, first_lsn);
        }
        for (id, first_lsn) in missing {
            self.find(id, false, path(id), DamageKind::Missing, first_lsn);
        }
        self.chain = chain;
    }

    /// The epoch of the newest segment.
    pub(crate) fn epoch(&self) -> u64 {
        self.chain.last().map_or(0, |header| header.epoch)
    }

    /// How the segment at this place in the chain ends, when the one behind it says so.
    pub(crate) fn ending(&self, nth: usize) -> Option<segment::Ending> {
        let ending = self.chain.get(nth + 1)?.prev();
        (ending.segment_id == self.chain[nth].segment_id).then_some(ending)
    }

    fn find(&mut self, id: u64, is_apart: bool, path: PathBuf, kind: DamageKind, first_lsn: u64) {
        let first_lsn = Lsn::new(first_lsn);
        let damage = Damage { path, offset: 0, kind, first_lsn, records: 0 };
        self.findings.push(Finding { segment_id: id, is_apart, damage });
    }
}

impl Names {
    fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Self, WalError> {
        let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
        let mut names = Self::default();
        for entry in entries {
            let Some(name) = entry.name.to_str() else { continue };
            match number_in(name, "seg-", ".wal") {
                Some(id) if id < MAX_ID => names.segments.push(id),
                _ if number_in(name, "ckpt-", ".man").is_some() => {
                    names.checkpoints.push(dir.join(name));
                }
                _ if number_in(name, "seg-", ".tmp").is_some()
                    || number_in(name, "ckpt-", ".man.tmp").is_some() =>
                {
                    names.temporary.push(dir.join(name));
                }
                _ if segment::is_spare_name(name) && entry.kind == EntryKind::File => {
                    let (path, len) = (dir.join(name), entry.len);
                    names.spares.push(Spare { path, len, is_used: true });
                }
                _ => names.reserve.extend(reserve::number_of(name)),
            }
        }
        names.segments.sort_unstable();
        Ok(names)
    }
}

/// The file of a segment, its length, and its header when that validates.
pub(crate) fn open_segment(
    vfs: &dyn Vfs,
    path: &Path,
    id: u64,
    known: Features,
) -> Result<(Arc<dyn VfsFile>, Option<Header>), WalError> {
    let io = |error: io::Error| WalError::io("read", path, error);
    let file = vfs.open(path, OpenMode::Read).map_err(io)?;
    if file.len().map_err(io)? < HEADER_LEN {
        return Ok((file, None));
    }
    let mut bytes = vec![0; HEADER_LEN as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    match Header::decode(&bytes, known) {
        Ok(header) if header.segment_id == id => Ok((file, Some(header))),
        Ok(_) | Err(HeaderError::Damaged) => Ok((file, None)),
        Err(HeaderError::Unsupported { major, flags }) => {
            Err(WalError::UnsupportedFormat { path: path.to_owned(), major, flags })
        }
    }
}
