//! Copying records into a fresh segment, durable before it is visible: those that nothing vouches for, and
//! what is readable behind damage. The header of that segment makes void what they came from.

use std::path::Path;

use bucket_vfs::{OpenMode, Vfs};

use crate::draft::Draft;
use crate::error::WalError;
use crate::format::Features;
use crate::frame::{self, Entry, FrameKind};
use crate::planted::Planted;
use crate::reader::{Place, load};
use crate::scan::FrameRef;
use crate::segment::{self, Ending, HEADER_LEN, Header};
use crate::writer::{Begun, CommitError};

/// What is copied, and into which segment.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) dir: &'a Path,
    pub(crate) planted: Planted,
    pub(crate) log_id: u128,
    pub(crate) segment_id: u64,
    pub(crate) epoch: u64,
    pub(crate) features: Features,
    pub(crate) salt: u32,
    /// What counts before it.
    pub(crate) ending: Ending,
    /// What it makes void is evidence of damage, and records that cannot be read are left out.
    pub(crate) is_damage: bool,
    /// The frames to copy, each in the segment with a header at this place.
    pub(crate) headers: &'a [Header],
    pub(crate) frames: &'a [(usize, FrameRef)],
    /// Records from this number on are not copied.
    pub(crate) until: u64,
    /// The next record gets this number.
    pub(crate) next_lsn: u64,
}

/// Frames are written in pieces of about this size.
const PIECE: usize = 1 << 20;

/// Writes the segment and returns it, durable and with its name.
pub(crate) fn carry(job: &Job<'_>) -> Result<Begun, CommitError> {
    let first = job.frames.first().map_or(job.next_lsn, |(_, frame)| frame.first_lsn);
    let mut header = Header {
        log_id: job.log_id,
        segment_id: job.segment_id,
        first_lsn: first,
        epoch: job.epoch,
        prev_segment_id: job.ending.segment_id,
        prev_data_len: job.ending.data_len,
        prev_next_lsn: job.ending.next_lsn,
        prev_chain: job.ending.chain,
        salt: job.salt,
        durable_len: HEADER_LEN,
        keeps_evidence: job.is_damage,
        is_reused: false,
        features: job.features,
    };
    let draft = Draft::begin(job.vfs, job.dir, header.segment_id);
    let draft = draft.map_err(CommitError::NotWritten)?;
    let mut copy = Copy {
        draft: &draft,
        seed: header.seed(),
        buf: Vec::new(),
        written: HEADER_LEN,
        frames: Vec::new(),
        records: 0,
        next_lsn: first,
        chain: job.ending.chain,
    };
    copy.all(job).map_err(CommitError::NotWritten)?;
    let (next_lsn, chain) = (copy.next_lsn, copy.chain);
    let (frames, records, end) = (copy.frames, copy.records, copy.written);
    header.durable_len = end;
    let ending = Ending { segment_id: header.segment_id, data_len: end, next_lsn, chain };
    let file = draft.publish(&header, job.planted)?;
    Ok(Begun { header, file, frames, records, ending })
}

fn place(job: &Job<'_>, header: &Header) -> Result<Place, WalError> {
    let path = job.dir.join(segment::file_name(header.segment_id));
    let opened = job.vfs.open(&path, OpenMode::Read);
    let file = opened.map_err(|error| WalError::io("open", &path, error))?;
    let header = header.clone();
    Ok(Place { header, file, path, first_lsn: 0, offset: 0 })
}

/// The new segment while it is written.
struct Copy<'a> {
    draft: &'a Draft<'a>,
    seed: crc32fast::Hasher,
    buf: Vec<u8>,
    /// Where the buffer goes.
    written: u64,
    frames: Vec<FrameRef>,
    records: u64,
    next_lsn: u64,
    chain: u32,
}

impl Copy<'_> {
    fn all(&mut self, job: &Job<'_>) -> Result<(), WalError> {
        let mut source: Option<(usize, Place)> = None;
        for &(nth, frame) in job.frames {
            if source.as_ref().is_none_or(|(at, _)| *at != nth) {
                source = Some((nth, place(job, &job.headers[nth])?));
            }
            let Some((_, place)) = &mut source else { continue };
            (place.first_lsn, place.offset) = (frame.first_lsn, frame.offset);
            let mut run = Vec::new();
            for record in load(place)? {
                match record {
                    Ok(record) if record.lsn.get() < job.until => run.push(record),
                    Ok(_) => break,
                    Err(error) if !job.is_damage || !error.is_damage() => return Err(error),
                    Err(_) => self.frame(std::mem::take(&mut run))?,
                }
            }
            self.frame(run)?;
        }
        self.skip_to(job.next_lsn);
        self.flush()
    }

    /// Appends records with consecutive numbers as a frame.
    fn frame(&mut self, records: Vec<crate::Record>) -> Result<(), WalError> {
        let Some(first) = records.first().map(|record| record.lsn.get()) else { return Ok(()) };
        if first < self.next_lsn {
            // Seen before: two places claim the number, and the first one has it.
            return Ok(());
        }
        self.skip_to(first);
        let entries: Vec<_> =
            records.iter().map(|record| Entry::new(record.kind, &record.payload)).collect();
        let payloads = records.iter().map(|record| record.payload.as_slice()).collect::<Vec<_>>();
        let (offset, payloads) = (self.end(), payloads.concat());
        let (kind, seed) = (FrameKind::Data, &self.seed);
        let buf = &mut self.buf;
        let rows = frame::encode(buf, seed, offset, kind, first, HEADER_LEN, &entries, &payloads);
        self.chain = segment::extend_chain(self.chain, &buf[rows]);
        self.frames.push(FrameRef { first_lsn: first, offset });
        self.records += entries.len() as u64;
        self.next_lsn = first + entries.len() as u64;
        if self.buf.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Leaves out the numbers before this one.
    fn skip_to(&mut self, lsn: u64) {
        if lsn > self.next_lsn {
            let (kind, offset) = (FrameKind::Gap, self.end());
            frame::encode(&mut self.buf, &self.seed, offset, kind, lsn, HEADER_LEN, &[], &[]);
            self.next_lsn = lsn;
        }
    }

    fn end(&self) -> u64 {
        self.written + self.buf.len() as u64
    }

    fn flush(&mut self) -> Result<(), WalError> {
        self.draft.write(&self.buf, self.written)?;
        self.written = self.end();
        self.buf.clear();
        Ok(())
    }
}
