//! Opening what is on disk: which segments and records there are, what is damaged, and what may be
//! trusted.
//!
//! After an unclean end only what a sync promise or a checkpoint vouches for is known to be on disk:
//! the page cache can show bytes whose sync failed. So whatever lies behind the newest promise is
//! copied into a fresh segment, synced, and made visible by rename, before anybody may read it.

use std::fmt;
use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs};

use crate::error::WalError;
use crate::frame::{self, Entry, FrameKind};
use crate::index::{Index, Segment};
use crate::lsn::Lsn;
use crate::manifest::{self, Manifest};
use crate::options::{RecoveryPolicy, WalOptions};
use crate::planted::Bug;
use crate::reader::{Place, load};
use crate::scan::{FrameRef, Known, scan};
use crate::segment::{self, HEADER_LEN, Header, HeaderError};
use crate::sync::Arc;
use crate::writer::{self, Writer};

/// What opening found: a report for people, and the newest checkpoint for the application.
#[derive(Clone, Debug)]
pub struct Recovery {
    report: RecoveryReport,
    checkpoint: Option<Checkpoint>,
}

/// A checkpoint that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Replay starts at this record.
    pub replay_from: Lsn,
    /// The newest record that was durable when the checkpoint was taken.
    pub durable_lsn: Lsn,
    /// What the application stored with it.
    pub state: Vec<u8>,
}

/// What recovery found, for a person to read: print it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Segments that were read.
    pub segments: usize,
    /// The first record that is there, if any.
    pub first_lsn: Option<Lsn>,
    /// The newest record that is there; [`Lsn::ZERO`] for an empty log.
    pub last_lsn: Lsn,
    /// How the newest segment ended.
    pub tail: TailState,
    /// Records that nothing vouched for, and that were copied and synced before they were exposed.
    pub copied_records: u64,
    /// Checkpoints that could not be read; an older one was used.
    pub unreadable_checkpoints: usize,
    /// What is damaged. Empty unless the policy was [`RecoveryPolicy::Salvage`].
    pub damage: Vec<Damage>,
}

/// How the newest segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailState {
    /// At a record.
    Clean,
    /// In damage that an interrupted write does not explain.
    Damaged,
    /// In an interrupted write, of which nothing was acknowledged.
    Torn,
}

/// A place that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What does not hold.
    pub kind: DamageKind,
    /// The first record that is affected.
    pub first_lsn: Lsn,
    /// How many records are known to be lost; 0 when nobody can tell.
    pub records: u64,
}

/// What does not hold at a damaged place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// No checkpoint can be read.
    Checkpoint,
    /// No valid frame where one was durable.
    Frame,
    /// The header of the segment.
    Header,
    /// The segment belongs to another log, or names another predecessor.
    Identity,
    /// The segment is gone.
    Missing,
    /// A frame with the wrong record number.
    Order,
    /// The content of single records.
    Record,
    /// The newest record.
    Tail,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "no checkpoint can be read",
            Self::Frame => "no valid frame where one was durable",
            Self::Header => "the header does not validate",
            Self::Identity => "it belongs to another log",
            Self::Missing => "the file is gone",
            Self::Order => "a record number is out of order",
            Self::Record => "the content of a record does not validate",
            Self::Tail => "the newest record does not validate",
        })
    }
}

impl Recovery {
    /// What was found.
    pub const fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The newest checkpoint, if one was ever taken.
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Where the application starts to replay: at the checkpoint, or at the first record.
    pub fn replay_from(&self) -> Lsn {
        self.checkpoint.as_ref().map_or(Lsn::new(1), |checkpoint| checkpoint.replay_from)
    }
}

impl RecoveryReport {
    /// True when nothing is damaged. An interrupted write at the end is not damage.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.unreadable_checkpoints == 0
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segments", self.segments)?;
        if let Some(first) = self.first_lsn {
            write!(f, ", records {first} to {}", self.last_lsn)?;
        }
        match self.tail {
            TailState::Clean => {}
            TailState::Damaged => f.write_str(", damaged tail")?,
            TailState::Torn => f.write_str(", torn tail (nothing in it was acknowledged)")?,
        }
        if self.copied_records > 0 {
            write!(f, ", {} newest records copied and synced", self.copied_records)?;
        }
        if self.unreadable_checkpoints > 0 {
            write!(f, ", {} unreadable checkpoints", self.unreadable_checkpoints)?;
        }
        for damage in &self.damage {
            let (path, at, kind) = (damage.path.display(), damage.offset, damage.kind);
            write!(f, "\n{path}: byte {at}: {kind}: from record {}", damage.first_lsn)?;
            if damage.records > 0 {
                write!(f, ", {} records", damage.records)?;
            }
        }
        Ok(())
    }
}

/// Everything that an open log starts from.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) index: Index,
    pub(crate) writer: Writer,
    pub(crate) log_id: u128,
    pub(crate) next_lsn: u64,
    pub(crate) generation: u64,
    /// Where replay starts for the oldest checkpoint that is kept.
    pub(crate) oldest_replay_from: u64,
}

/// Reads the log in `dir`, which exists and is locked.
pub(crate) fn recover(dir: &Path, options: &WalOptions) -> Result<Recovered, WalError> {
    let vfs = &*options.vfs;
    let mut damage = Vec::new();
    let ids = segment_ids(vfs, dir)?;
    let (manifests, unreadable) = manifest::load(vfs, dir)?;
    if manifests.is_empty() && unreadable > 0 {
        note(&mut damage, options, dir, DamageKind::Checkpoint, 1)?;
    }
    let newest = manifests.first();
    let durable_lsn = newest.map_or(0, |manifest| manifest.durable_lsn);

    let mut headers = Vec::new();
    for &segment_id in &ids {
        let path = dir.join(segment::file_name(segment_id));
        match read_header(vfs, &path, segment_id)? {
            Some(header) => headers.push(header),
            None => note(&mut damage, options, &path, DamageKind::Header, 0)?,
        }
    }
    let log_id = match (newest, headers.first()) {
        (Some(manifest), _) => manifest.log_id,
        (None, Some(header)) => header.log_id,
        (None, None) => u128::from_le_bytes(options.entropy.bytes()?),
    };
    headers.retain_mut(|header| {
        let foreign = header.log_id != log_id;
        if foreign {
            header.log_id = log_id;
        }
        !foreign || {
            damage.push(Damage {
                path: dir.join(segment::file_name(header.segment_id)),
                offset: 0,
                kind: DamageKind::Identity,
                first_lsn: Lsn::new(header.first_lsn),
                records: 0,
            });
            false
        }
    });
    if let (RecoveryPolicy::Strict, Some(first)) = (options.recovery, damage.first()) {
        return Err(WalError::Corrupt {
            path: first.path.clone(),
            offset: 0,
            kind: first.kind,
            first_lsn: first.first_lsn,
        });
    }
    check_continuity(dir, options, &headers, newest, &mut damage)?;

    let mut index = Index::default();
    let mut next_lsn = durable_lsn.saturating_add(1);
    let mut last = (ids.last().copied().unwrap_or(0), HEADER_LEN);
    let mut tail = TailState::Clean;
    let mut unproven = None;
    for (n, header) in headers.iter().enumerate() {
        let path = dir.join(segment::file_name(header.segment_id));
        let file =
            vfs.open(&path, OpenMode::Read).map_err(|error| WalError::io("open", &path, error))?;
        let successor = headers.get(n + 1);
        let follows = successor.filter(|next| next.prev_segment_id == header.segment_id);
        let known = Known {
            path: &path,
            data_len: follows.map(|next| next.prev_data_len),
            durable_lsn: if successor.is_some() { 0 } else { durable_lsn },
            policy: options.recovery,
        };
        let mut found = scan(&*file, header, known)?;
        damage.append(&mut found.damage);
        if successor.is_none() {
            tail = found.tail;
            next_lsn = next_lsn.max(found.next_lsn);
            last = (header.segment_id, found.end);
            let split = found.frames.partition_point(|frame| {
                frame.offset < found.proven || frame.first_lsn <= durable_lsn
            });
            if split < found.frames.len() {
                unproven = Some(found.frames.split_off(split));
            }
        }
        // What nobody vouches for does not count where it is.
        let end = unproven.as_ref().and_then(|frames| frames.first()).map_or(found.end, |f| f.offset);
        index.insert(Segment {
            header: header.clone(),
            path,
            file: None,
            frames: found.frames,
            end,
        });
    }

    let mut copied = 0;
    let mut writer = Writer::new(dir.to_owned(), options, log_id, last);
    if let Some(frames) = unproven
        && !options.planted.has(Bug::SkipReplay)
    {
        let (segment, count) = copy_forward(dir, options, log_id, &mut index, last.0, &frames)?;
        copied = count;
        if let Some(file) = segment.file.clone() {
            writer.adopt(segment.header.clone(), file, segment.end);
        }
        index.insert(segment);
    }

    let checkpoint = newest.map(|manifest| Checkpoint {
        replay_from: Lsn::new(manifest.replay_from),
        durable_lsn: Lsn::new(manifest.durable_lsn),
        state: manifest.state.clone(),
    });
    let report = RecoveryReport {
        segments: index.len(),
        first_lsn: index.first_lsn().map(Lsn::new),
        last_lsn: Lsn::new(next_lsn - 1),
        tail,
        copied_records: copied,
        unreadable_checkpoints: unreadable,
        damage,
    };
    Ok(Recovered {
        recovery: Recovery { report, checkpoint },
        index,
        writer,
        log_id,
        next_lsn,
        generation: newest.map_or(0, |manifest| manifest.generation),
        oldest_replay_from: manifests.last().map_or(0, |manifest| manifest.replay_from),
    })
}

/// The numbers of the segments, sorted. Removes what an interrupted creation left behind.
fn segment_ids(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<u64>, WalError> {
    let entries = vfs.read_dir(dir).map_err(|error| WalError::io("list", dir, error))?;
    let mut ids = Vec::new();
    for entry in entries {
        let Some(name) = entry.name.to_str() else { continue };
        if let Some(id) = segment::number_in(name, "seg-", ".wal") {
            ids.push(id);
        } else if segment::number_in(name, "seg-", ".tmp").is_some()
            || segment::number_in(name, "ckpt-", ".man.tmp").is_some()
        {
            let path = dir.join(name);
            vfs.remove_file(&path).map_err(|error| WalError::io("remove", &path, error))?;
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// The header of a segment, or `None` when it is damaged.
fn read_header(vfs: &dyn Vfs, path: &Path, id: u64) -> Result<Option<Header>, WalError> {
    let io = |error| WalError::io("read", path, error);
    let file = vfs.open(path, OpenMode::Read).map_err(io)?;
    if file.len().map_err(io)? < HEADER_LEN {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER_LEN as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    match Header::decode(&bytes) {
        Ok(header) if header.segment_id == id => Ok(Some(header)),
        Ok(_) | Err(HeaderError::Damaged) => Ok(None),
        Err(HeaderError::Unsupported { major, flags }) => {
            Err(WalError::UnsupportedFormat { path: path.to_owned(), major, flags })
        }
    }
}

/// Every segment names its predecessor; a checkpoint says how far back segments must reach.
fn check_continuity(
    dir: &Path,
    options: &WalOptions,
    headers: &[Header],
    newest: Option<&Manifest>,
    damage: &mut Vec<Damage>,
) -> Result<(), WalError> {
    let mut missing = Vec::new();
    for pair in headers.windows(2) {
        if pair[1].prev_segment_id != pair[0].segment_id {
            missing.push((pair[1].prev_segment_id, pair[0].first_lsn));
        }
    }
    match (headers.first(), newest) {
        (Some(first), Some(manifest)) if first.first_lsn > manifest.replay_from => {
            missing.push((first.prev_segment_id, manifest.replay_from));
        }
        (Some(first), None) if first.prev_segment_id != 0 => {
            missing.push((first.prev_segment_id, 1));
        }
        (None, Some(manifest)) if manifest.replay_from <= manifest.durable_lsn => {
            missing.push((0, manifest.replay_from));
        }
        _ => {}
    }
    for (segment_id, first_lsn) in missing {
        if options.recovery == RecoveryPolicy::Strict {
            return Err(WalError::MissingSegment { path: dir.to_owned(), segment_id });
        }
        let path = dir.join(segment::file_name(segment_id));
        note(damage, options, &path, DamageKind::Missing, first_lsn)?;
    }
    Ok(())
}

fn note(
    damage: &mut Vec<Damage>,
    options: &WalOptions,
    path: &Path,
    kind: DamageKind,
    first_lsn: u64,
) -> Result<(), WalError> {
    let (path, first_lsn) = (path.to_owned(), Lsn::new(first_lsn));
    if options.recovery == RecoveryPolicy::Strict {
        return Err(WalError::Corrupt { path, offset: 0, kind, first_lsn });
    }
    damage.push(Damage { path, offset: 0, kind, first_lsn, records: 0 });
    Ok(())
}

/// Copies the records of `frames`, which nothing vouches for, into the segment that follows, durable
/// before it is visible. The bytes they came from are void by the new segment's header.
fn copy_forward(
    dir: &Path,
    options: &WalOptions,
    log_id: u128,
    index: &mut Index,
    last_id: u64,
    frames: &[FrameRef],
) -> Result<(Segment, u64), WalError> {
    let vfs = &*options.vfs;
    let Some((old, first)) = index.get_mut(last_id).zip(frames.first()) else {
        return Err(WalError::Closed);
    };
    let mut header = Header {
        log_id,
        segment_id: last_id + 1,
        first_lsn: first.first_lsn,
        prev_segment_id: last_id,
        prev_data_len: first.offset,
        salt: u32::from_le_bytes(options.entropy.bytes()?),
        durable_len: HEADER_LEN,
    };
    old.end = first.offset;
    let (mut bytes, mut copies, mut count) = (Vec::new(), Vec::new(), 0);
    let seed = header.seed();
    let mut next_lsn = first.first_lsn;
    let file = vfs
        .open(&old.path, OpenMode::Read)
        .map_err(|error| WalError::io("open", &old.path, error))?;
    for frame in frames {
        let place = Place {
            header: old.header.clone(),
            file: Arc::clone(&file),
            path: old.path.clone(),
            first_lsn: frame.first_lsn,
            offset: frame.offset,
        };
        let records = load(&place)?.into_iter().collect::<Result<Vec<_>, _>>()?;
        if frame.first_lsn != next_lsn {
            let (at, lsn) = (HEADER_LEN + bytes.len() as u64, frame.first_lsn);
            frame::encode(&mut bytes, &seed, at, FrameKind::Gap, lsn, HEADER_LEN, &[], &[]);
        }
        let offset = HEADER_LEN + bytes.len() as u64;
        let entries: Vec<_> =
            records.iter().map(|record| Entry::new(record.kind, &record.payload)).collect();
        let payloads = records.iter().map(|record| record.payload.as_slice()).collect::<Vec<_>>();
        let (kind, lsn, payloads) = (FrameKind::Data, frame.first_lsn, payloads.concat());
        frame::encode(&mut bytes, &seed, offset, kind, lsn, HEADER_LEN, &entries, &payloads);
        copies.push(FrameRef { first_lsn: lsn, offset });
        count += records.len() as u64;
        next_lsn = lsn + records.len() as u64;
    }
    let end = HEADER_LEN + bytes.len() as u64;
    header.durable_len = end;
    let file = writer::create(vfs, dir, &header, &bytes, options.planted)?;
    let path = dir.join(segment::file_name(header.segment_id));
    Ok((Segment { header, path, file: Some(file), frames: copies, end }, count))
}
