//! The writer: turns a batch of records into frames, and frames into one write; syncs when told to.
//!
//! Only the leader of a commit uses it. It runs a little ahead of itself with zeros, because a sync of
//! a file that does not change its length is markedly cheaper, and because zeros tell an interrupted
//! write from damage.

use std::io;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use bucket_vfs::{Vfs, VfsFile};

use crate::draft::Draft;
use crate::entropy::Entropy;
use crate::error::{WalError, is_no_space};
use crate::format::Features;
use crate::frame::{self, Entry, FrameKind, GROUP_LEN, MAX_COUNT};
use crate::medium::{BLOCK, Medium};
use crate::options::WalOptions;
use crate::planted::{Bug, Planted};
use crate::scan::FrameRef;
use crate::seal::Seal;
use crate::segment::{self, Ending, HEADER_LEN, Header, ROOM};
use crate::spares::Spares;
use crate::sync::Arc;
use crate::sync_method::SyncMethod;

/// Zeros are written ahead by as much as the segment already holds, within these bounds.
const AHEAD_MIN: u64 = 64 << 10;
const AHEAD_MAX: u64 = 4 << 20;
/// A group of at least this many bytes has space allocated instead of zeros written, if the file system can:
/// it fills whole blocks, so that zeros would double what the disk has to take, for a sync that is cheaper
/// by less than that. Measured, both cost the same at 32 to 64 KiB, and zeros twice as much at 512 KiB.
const ALLOCATE_FROM: u64 = 32 << 10;
/// Files of zeros are made in pieces of this size.
pub(crate) const PREFILL_PIECE: usize = 1 << 20;

/// Where a log continues.
#[derive(Debug)]
pub(crate) struct Writer {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    segment_bytes: u64,
    /// The method that is wanted, or the one in its place once it is known that there is none.
    method: SyncMethod,
    log_id: u128,
    epoch: u64,
    /// Those that every header says.
    features: Features,
    /// Where the newest segment ends.
    last: Ending,
    active: Option<Active>,
    /// Begun, and not announced yet, because the zeros that were to follow did not fit.
    begun: Option<NewSegment>,
    buf: Vec<u8>,
    spares: Arc<Spares>,
    entropy: Entropy,
    planted: Planted,
}

#[derive(Debug)]
struct Active {
    header: Header,
    medium: Medium,
    seed: Hasher,
    end: u64,
    /// Up to here everything is durable.
    synced: u64,
    /// Up to here the file has its place on the disk, with zeros in it or, in a file that is used again,
    /// with old frames.
    zeroed: u64,
    seal: Seal,
}

/// The records of one group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) entries: Vec<Entry>,
    pub(crate) payloads: Vec<u8>,
    /// How the entries are cut into units, each of which is in one frame: it survives whole or not.
    pub(crate) units: Vec<Unit>,
    /// Every record of the group may use the reserve.
    pub(crate) reserved: bool,
}

impl Group {
    /// The group without its records, and without its memory if that is much.
    pub(crate) fn cleared(mut self) -> Self {
        if self.payloads.capacity() + self.entries.capacity() * size_of::<Entry>() > 4 * GROUP_LEN {
            return Self::default();
        }
        self.entries.clear();
        self.payloads.clear();
        self.units.clear();
        self.reserved = false;
        self
    }
}

/// Records that were appended together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) count: u32,
    pub(crate) bytes: u32,
}

/// A segment that was begun.
pub(crate) type NewSegment = (Header, Arc<dyn VfsFile>);

/// What a commit did.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The segment that was begun for it, if one was.
    pub(crate) new_segment: Option<NewSegment>,
    pub(crate) frames: Vec<FrameRef>,
    /// Where the segment ends now.
    pub(crate) end: u64,
}

/// Why a commit did not happen.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Nothing of the group was written; the log goes on.
    NotWritten(WalError),
    /// The group may be on disk in part; the log must not go on.
    Poisoned(Arc<io::Error>),
}

impl CommitError {
    /// What the log is poisoned with.
    pub(crate) fn source(&self) -> Arc<io::Error> {
        match self {
            Self::Poisoned(source) => Arc::clone(source),
            // What was accepted has no other way to fail.
            Self::NotWritten(error) => Arc::new(io::Error::other(error.clone())),
        }
    }

    /// As an error of whoever is not committing.
    pub(crate) fn at(self, dir: &Path) -> WalError {
        match self {
            Self::NotWritten(error) => error,
            Self::Poisoned(source) => WalError::Io { op: "sync", path: dir.to_owned(), source },
        }
    }
}

impl Writer {
    pub(crate) fn new(
        dir: PathBuf,
        options: &WalOptions,
        log_id: u128,
        epoch: u64,
        last: Ending,
        spares: Arc<Spares>,
    ) -> Self {
        Self {
            vfs: Arc::clone(&options.vfs),
            dir,
            segment_bytes: options.segment_bytes,
            method: options.method_in_use(),
            log_id,
            epoch,
            features: Features::NONE,
            last,
            active: None,
            begun: None,
            buf: Vec::new(),
            spares,
            entropy: options.entropy.clone(),
            planted: options.planted,
        }
    }

    /// Writes the group as frames. `gap` says that numbers before `first_lsn` were given up, so that the
    /// numbering may jump; `keep_room` that the reserve stays, unless the group may use it.
    pub(crate) fn write(
        &mut self,
        first_lsn: u64,
        gap: bool,
        group: &Group,
        keep_room: bool,
    ) -> Result<Committed, CommitError> {
        let keep = if keep_room && !group.reserved { ROOM } else { 0 };
        let new_segment = self.make_room(first_lsn, encoded_bound(group), keep)?;
        let active = match &mut self.active {
            Some(active) => active,
            // `make_room` leaves an active segment behind.
            None => return Err(CommitError::NotWritten(WalError::Closed)),
        };

        let mut frames = Vec::new();
        let mut chain = self.last.chain;
        self.buf.clear();
        let (start, synced) = (active.end, active.synced);
        if gap && first_lsn != active.header.first_lsn {
            let (kind, at) = (FrameKind::Gap, start);
            frame::encode(&mut self.buf, &active.seed, at, kind, first_lsn, synced, &[], &[]);
        }
        let (mut lsn, mut units, mut entries, mut payloads) = (
            first_lsn,
            group.units.as_slice(),
            group.entries.as_slice(),
            group.payloads.as_slice(),
        );
        while !units.is_empty() {
            let (n, count, bytes) = one_frame(units);
            units = &units[n..];
            let offset = start + self.buf.len() as u64;
            frames.push(FrameRef { first_lsn: lsn, offset });
            let (kind, seed) = (FrameKind::Data, &active.seed);
            let (now, later) = entries.split_at(count);
            let (body, rest) = payloads.split_at(bytes);
            let buf = &mut self.buf;
            let rows = frame::encode(buf, seed, offset, kind, lsn, synced, now, body);
            chain = segment::extend_chain(chain, &buf[rows]);
            lsn += count as u64;
            (entries, payloads) = (later, rest);
        }

        active.medium.write(&self.buf, start).map_err(poisoned)?;
        active.end = start + self.buf.len() as u64;
        active.seal.records += group.entries.len() as u64;
        active.remember(&frames, Seal::stretch(self.segment_bytes));
        let segment_id = active.header.segment_id;
        self.last = Ending { segment_id, data_len: active.end, next_lsn: lsn, chain };
        if self.buf.capacity() > 4 * GROUP_LEN {
            self.buf = Vec::new();
        }
        Ok(Committed { new_segment, frames, end: active.end })
    }

    /// Makes everything that was written durable. An error is final: what the sync should have covered
    /// may be lost although a second one would succeed.
    pub(crate) fn sync(&mut self) -> Result<(), CommitError> {
        if let Some(active) = &mut self.active
            && active.synced < active.end
        {
            let mut synced = active.medium.sync();
            if synced.is_err() && self.planted.has(Bug::RetrySync) {
                synced = active.medium.sync();
            }
            if !self.planted.has(Bug::IgnoreFailedSync) {
                synced.map_err(poisoned)?;
            }
            active.synced = active.end;
        }
        Ok(())
    }

    /// How many bytes can be written without asking the file system for space, and the same with the
    /// reserve.
    pub(crate) fn room(&self) -> (u64, u64) {
        let Some(active) = &self.active else { return (0, 0) };
        let zeroed = active.zeroed - active.end;
        let left = if active.end == HEADER_LEN {
            u64::MAX // A single group may be longer than a segment should be.
        } else {
            self.segment_bytes.saturating_sub(active.end)
        };
        (zeroed.saturating_sub(ROOM).min(left), zeroed.min(left))
    }

    /// Writes a frame that promises that everything so far is durable, and syncs it, so that the next
    /// opening can trust the newest record without copying it. `gap` says that the numbers before
    /// `next_lsn` were given up, and nothing was written since.
    pub(crate) fn promise(&mut self, next_lsn: u64, gap: bool) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        self.buf.clear();
        let end = active.end;
        if gap {
            let kind = FrameKind::Gap;
            frame::encode(&mut self.buf, &active.seed, end, kind, next_lsn, end, &[], &[]);
        }
        let (kind, at) = (FrameKind::Sync, end + self.buf.len() as u64);
        frame::encode(&mut self.buf, &active.seed, at, kind, next_lsn, end, &[], &[]);
        active.medium.write(&self.buf, end)?;
        active.medium.sync()?;
        active.end += self.buf.len() as u64;
        active.synced = active.end;
        self.last.data_len = active.end;
        let needed = (active.end + ROOM).next_multiple_of(BLOCK);
        if active.header.is_reused && needed < active.zeroed {
            // So that the next opening need not look through what was there before. Best effort.
            if active.medium.shorten(needed).is_ok() {
                active.zeroed = needed;
            }
        }
        Ok(())
    }

    /// Ends the newest segment with a seal, durable, so that the next record begins a new one. Nothing
    /// happens to a segment without a record.
    pub(crate) fn seal(&mut self) -> Result<(), CommitError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.end == HEADER_LEN {
            return Ok(());
        }
        let (next_lsn, chain) = (self.last.next_lsn, self.last.chain);
        let seal = Seal { next_lsn, chain, ..std::mem::take(&mut active.seal) };
        self.buf.clear();
        seal.encode(&mut self.buf, &active.header, active.end, active.synced);
        // Only what the seal itself needs may be missing.
        active.medium.settle().map_err(poisoned)?;
        match active.medium.write(&self.buf, active.end) {
            Ok(()) => active.end += self.buf.len() as u64,
            // A segment without a seal is as good; what was written of it is void by the next header.
            Err(error) if is_no_space(&error) => {}
            Err(error) => return Err(poisoned(error)),
        }
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.last.data_len = active.end;
        }
        Ok(())
    }

    /// Begins a segment for a new epoch, at once, so that the epoch is durable.
    pub(crate) fn begin_epoch(
        &mut self,
        epoch: u64,
        first_lsn: u64,
    ) -> Result<NewSegment, CommitError> {
        let before = std::mem::replace(&mut self.epoch, epoch);
        self.begin_segment(first_lsn).inspect_err(|_| self.epoch = before)
    }

    /// Begins a segment that says that these features are on, at once, so that it is durable.
    pub(crate) fn begin_features(
        &mut self,
        features: Features,
        first_lsn: u64,
    ) -> Result<NewSegment, CommitError> {
        let before = std::mem::replace(&mut self.features, features);
        self.begin_segment(first_lsn).inspect_err(|_| self.features = before)
    }

    /// The log has turned these on before.
    pub(crate) const fn use_features(&mut self, features: Features) {
        self.features = features;
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) const fn features(&self) -> Features {
        self.features
    }

    /// Where the newest segment ends.
    pub(crate) const fn ending(&self) -> Ending {
        self.last
    }

    /// A salt for another segment.
    pub(crate) fn salt(&self) -> Result<u32, WalError> {
        Ok(u32::from_le_bytes(self.entropy.bytes()?))
    }

    /// Makes sure that `need` bytes fit: begins a segment if needed, which syncs the one before, and has
    /// zeros where they will go and for `keep` more.
    pub(crate) fn make_room(
        &mut self,
        first_lsn: u64,
        need: u64,
        keep: u64,
    ) -> Result<Option<NewSegment>, CommitError> {
        let full = self
            .active
            .as_ref()
            .is_none_or(|active| active.end > HEADER_LEN && active.end + need > self.segment_bytes);
        if full {
            match self.begin_segment(first_lsn) {
                Ok(segment) => self.begun = Some(segment),
                // What frees space may go on in the zeros behind a segment that is long enough already.
                Err(CommitError::NotWritten(WalError::NoSpace { .. }))
                    if keep == 0 && self.reaches(need) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(active) = &mut self.active else { return Ok(None) };

        let not_written = |active: &Active, op, error| {
            let path = self.dir.join(segment::file_name(active.header.segment_id));
            CommitError::NotWritten(WalError::io(op, &path, error))
        };
        if let Err(error) = active.medium.open(&*self.vfs) {
            return Err(not_written(active, "open", error));
        }
        self.method = active.medium.method();
        let end = active.end + need;
        if end + keep > active.zeroed {
            let ahead = active.end.clamp(AHEAD_MIN, AHEAD_MAX);
            // Zeros end at whole blocks, so that writing a block whole never makes the file longer.
            let until = (end + ahead).next_multiple_of(BLOCK);
            // Where it fails, for whatever reason, zeros are tried, and say how much room there is.
            if need >= ALLOCATE_FROM
                && active.medium.allocate(active.zeroed, until - active.zeroed).is_ok()
            {
                active.zeroed = until;
            }
            let zeros = vec![0; 64 << 10];
            while active.zeroed < until {
                let step = active.zeroed / BLOCK * BLOCK + zeros.len() as u64;
                let n = (step.min(until) - active.zeroed) as usize;
                match active.medium.fill(&zeros[..n], active.zeroed) {
                    Ok(()) => active.zeroed += n as u64,
                    // Less room ahead than wished for is enough.
                    Err(_) if end + keep <= active.zeroed => break,
                    Err(error) if is_no_space(&error) && self.spares.release(&*self.vfs) => {}
                    Err(error) => return Err(not_written(active, "extend", error)),
                }
            }
        }
        Ok(self.begun.take())
    }

    /// Whether this many bytes fit behind the end without asking the file system for space.
    fn reaches(&self, need: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.end + need <= active.zeroed)
    }

    /// Ends the newest segment and starts the next.
    ///
    /// The header says how much of the segment before counts, so all of that is durable before the header
    /// can be. The new file has its place on the disk before the old one is sealed, which nothing may
    /// follow: on a full disk the old one still takes what frees space.
    fn begin_segment(&mut self, first_lsn: u64) -> Result<NewSegment, CommitError> {
        let (vfs, dir) = (Arc::clone(&self.vfs), self.dir.clone());
        let segment_id = self.last.segment_id + 1;
        let salt = self.entropy.bytes().map_err(CommitError::NotWritten)?;
        let spare = self.spares.take();
        let reused = spare.as_ref().and_then(|spare| Draft::reuse(&*vfs, &dir, segment_id, spare));
        let spare = spare.filter(|_| reused.is_some());
        let draft = match reused {
            Some(draft) => draft,
            None => Draft::begin(&*vfs, &dir, segment_id).map_err(CommitError::NotWritten)?,
        };
        // What is unsynced still, when the bug is planted that the sync comes too late.
        let late = self.planted.has(Bug::HeaderBeforeData).then(|| self.active.take()).flatten();
        self.seal()?;
        self.sync()?;
        let header = Header {
            log_id: self.log_id,
            segment_id,
            first_lsn,
            epoch: self.epoch,
            prev_segment_id: self.last.segment_id,
            prev_data_len: self.last.data_len,
            prev_next_lsn: self.last.next_lsn,
            prev_chain: self.last.chain,
            salt: u32::from_le_bytes(salt),
            durable_len: HEADER_LEN,
            keeps_evidence: false,
            is_reused: spare.as_ref().is_some_and(|spare| spare.is_used),
            features: self.features,
        };
        let file = draft.publish(&header, self.planted)?;
        if spare.is_some() {
            self.spares.was_used();
        }
        if let Some(mut late) = late {
            late.medium.sync().map_err(poisoned)?;
        }
        self.active = Some(Active {
            seed: header.seed(),
            medium: self.medium(&header, &file),
            header: header.clone(),
            end: HEADER_LEN,
            synced: HEADER_LEN,
            zeroed: spare.map_or(HEADER_LEN, |spare| spare.len),
            seal: Seal::default(),
        });
        let (segment_id, data_len) = (header.segment_id, HEADER_LEN);
        self.last = Ending { segment_id, data_len, next_lsn: first_lsn, ..self.last };
        Ok((header, file))
    }

    /// Continues in a segment that recovery has just written.
    pub(crate) fn adopt(&mut self, begun: Begun) {
        let Begun { header, file, frames, records, ending } = begun;
        let epoch = header.epoch;
        let end = ending.data_len;
        let (seed, seal) = (header.seed(), Seal { records, ..Seal::default() });
        let medium = self.medium(&header, &file);
        let mut zeroed = end;
        if self.planted.has(Bug::AppendAfterTail) {
            zeroed = file.len().unwrap_or(end);
        }
        let mut active = Active { seed, header, medium, end, synced: end, zeroed, seal };
        active.remember(&frames, Seal::stretch(self.segment_bytes));
        (self.active, self.last, self.epoch) = (Some(active), ending, epoch);
    }

    fn medium(&self, header: &Header, file: &Arc<dyn VfsFile>) -> Medium {
        let path = self.dir.join(segment::file_name(header.segment_id));
        Medium::new(Arc::clone(file), path, self.method)
    }

    /// By which method groups become durable, as far as it is known what there is.
    pub(crate) const fn method(&self) -> SyncMethod {
        self.method
    }
}

impl Active {
    /// Takes into the index of the seal what begins a stretch.
    fn remember(&mut self, frames: &[FrameRef], stretch: u64) {
        let index = &mut self.seal.index;
        for &frame in frames {
            if index.last().is_none_or(|last| frame.offset >= last.offset + stretch) {
                index.push(frame);
            }
        }
    }
}

/// A segment that recovery has written, with records in it.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) frames: Vec<FrameRef>,
    pub(crate) records: u64,
    pub(crate) ending: Ending,
}

/// How many of the units go into one frame, and how many records and payload bytes they have.
fn one_frame(units: &[Unit]) -> (usize, usize, usize) {
    let (mut n, mut count, mut bytes) = (0, 0, 0);
    for unit in units {
        let (more, len) = (unit.count as usize, unit.bytes as usize);
        if n > 0 && (bytes + len > GROUP_LEN || count + more > MAX_COUNT) {
            break;
        }
        n += 1;
        count += more;
        bytes += len;
    }
    (n, count, bytes)
}

/// No encoding of the group is longer.
pub(crate) fn encoded_bound(group: &Group) -> u64 {
    bound(group.entries.len(), group.payloads.len())
}

/// No encoding of this many records with this many bytes is longer.
pub(crate) fn bound(records: usize, bytes: usize) -> u64 {
    let frames = bytes / GROUP_LEN * 2 + 3;
    (bytes + records * 9 + frames * (frame::HEADER_LEN + frame::ALIGN)) as u64
}

fn poisoned(error: io::Error) -> CommitError {
    CommitError::Poisoned(Arc::new(error))
}
