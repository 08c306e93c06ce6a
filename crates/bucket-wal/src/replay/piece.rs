//! [`Piece`]: a part of a segment that is read at once, and [`Planner`], which cuts a log into pieces.

use std::ops::RangeInclusive;

use bucket_vfs::VfsFile;

use crate::commit::Shared;
use crate::error::WalError;
use crate::frame::RecordKind;
use crate::index::{After, Spot};
use crate::lsn::Lsn;
use crate::reader::{Map, RecordRef, Source, Step, Walk, Window, mark};
use crate::sync::Arc;

/// Pieces end at the first mark behind so many bytes.
const PIECE: u64 = 512 << 10;

/// A part of a segment, from one frame to another.
#[derive(Debug)]
pub(super) struct Piece {
    source: Arc<Source>,
    at: u64,
    end: u64,
    first_lsn: u64,
    is_sealed: bool,
}

/// Cuts a log into pieces, in order.
#[derive(Debug)]
pub(super) struct Planner {
    shared: Arc<Shared>,
    next: Option<Spot>,
    until: u64,
}

/// What is wrong with a place, and the number that was expected there.
pub(super) type Damaged = (u64, WalError);

impl Planner {
    pub(super) fn new(shared: Arc<Shared>, from: u64, until: u64) -> Self {
        let next = shared.index().lock().seek(from);
        Self { shared, next: next.filter(|_| from <= until), until }
    }

    /// The bytes that all pieces have together, as far as it is known.
    pub(super) fn total(&self) -> u64 {
        let index = self.shared.index().lock();
        self.next.as_ref().map_or(0, |spot| index.bytes_from(spot, self.until))
    }

    pub(super) fn next_piece(&mut self) -> Option<Result<Piece, Damaged>> {
        loop {
            let mut spot = self.next.take()?;
            if spot.first_lsn > self.until {
                return None;
            }
            let id = spot.source.header.segment_id;
            let index = self.shared.index().lock();
            if spot.at >= spot.end {
                match index.after(id, spot.at) {
                    After::Grown(end) => spot.end = end,
                    After::Next(next) => spot = next,
                    After::Nothing => return None,
                }
                self.next = Some(spot);
                continue;
            }
            let is_long = spot.end - spot.at > 2 * PIECE;
            if index.is_unmarked(id) && is_long {
                drop(index);
                let spot_lsn = spot.first_lsn;
                if let Err(error) = mark(&self.shared, &spot.source, spot.end) {
                    spot.at = spot.end;
                    self.next = Some(spot);
                    return Some(Err((spot_lsn, error)));
                }
                self.next = Some(spot);
                continue;
            }
            let mark = index.mark_after(id, spot.at + PIECE - 1);
            let mark = mark.filter(|mark| mark.offset < spot.end);
            drop(index);
            let (at, first_lsn) = (spot.at, spot.first_lsn);
            (spot.at, spot.first_lsn) =
                mark.map_or((spot.end, first_lsn), |mark| (mark.offset, mark.first_lsn));
            let (source, end, is_sealed) = (Arc::clone(&spot.source), spot.at, spot.is_sealed);
            self.next = Some(spot);
            return Some(Ok(Piece { source, at, end, first_lsn, is_sealed }));
        }
    }
}

impl Piece {
    pub(super) const fn len(&self) -> u64 {
        self.end - self.at
    }

    /// Hands each record out as it is read, and gives the memory back.
    pub(super) fn each<E>(
        &self,
        shared: &Shared,
        memory: Memory,
        from: u64,
        until: u64,
        sink: &mut Sink<'_, E>,
    ) -> Result<Memory, E> {
        let file = match self.source.open(shared.index()) {
            Ok(file) => file,
            // Trimmed away since it was planned.
            Err(_) if !shared.index().lock().contains(self.source.header.segment_id) => {
                return Ok(memory);
            }
            Err(error) => return sink(Err((self.first_lsn, error))).map(|()| memory),
        };
        let map = self.map(&*file);
        let mut window = Window::with_memory(file, READ, memory.buf);
        window.use_map(map.clone());
        let source = Arc::clone(&self.source);
        let mut walk = Walk::new(source, window, self.at, self.end, self.first_lsn);
        while let Some(step) = self.step(shared, &mut walk, from, until) {
            sink(step.map(|found| walk.record(&found)))?;
        }
        Ok(Memory { buf: walk.into_window().into_memory(), map })
    }

    fn map(&self, file: &dyn VfsFile) -> Option<Arc<Map>> {
        if self.is_sealed { self.source.map(file) } else { None }
    }

    fn step(
        &self,
        shared: &Shared,
        walk: &mut Walk,
        from: u64,
        until: u64,
    ) -> Option<Result<crate::reader::Found, Damaged>> {
        let expected = walk.expected();
        match walk.step(from, until) {
            Step::Record(found) => Some(Ok(found)),
            Step::Damaged(error) => {
                shared.found_damage(&error);
                Some(Err((expected, error)))
            }
            Step::Failed(error) => {
                let id = self.source.header.segment_id;
                match shared.index().lock().mark_after(id, walk.at()) {
                    Some(mark) if mark.offset < self.end => walk.jump(mark.offset, mark.first_lsn),
                    _ => walk.give_up(),
                }
                Some(Err((expected, error)))
            }
            Step::Beyond | Step::End => None,
        }
    }
}

/// What takes records, or places that cannot be read.
type Sink<'a, E> = dyn FnMut(Result<RecordRef<'_>, Damaged>) -> Result<(), E> + 'a;

/// What a piece leaves behind for the next one.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buf: Vec<u8>,
    #[expect(
        dead_code,
        reason = "kept so that the next piece of the segment need not map it again"
    )]
    map: Option<Arc<Map>>,
}

/// How much is read at a time when the records are handed out at once.
const READ: usize = 256 << 10;

/// A piece that was read and checked.
#[derive(Debug, Default)]
pub(super) struct Verified {
    bytes: Vec<u8>,
    map: Option<Arc<Map>>,
    items: Vec<Item>,
    damaged: Vec<(usize, Damaged)>,
    pub(super) len: u64,
}

/// A record within the bytes.
#[derive(Clone, Copy, Debug)]
struct Item {
    lsn: u64,
    start: usize,
    len: u32,
    part: u32,
    kind: RecordKind,
}

/// Something to be consumed.
pub(super) enum Delivery<'a> {
    Record(usize, RecordRef<'a>),
    Damaged(&'a Damaged),
}

impl Verified {
    /// Reads and checks a piece, in memory that an earlier one has left behind.
    pub(super) fn read(
        mut self,
        shared: &Shared,
        piece: &Piece,
        lsns: &RangeInclusive<u64>,
        part_of: Option<&(dyn Fn(&RecordRef<'_>) -> usize + Sync)>,
    ) -> Self {
        self.items.clear();
        self.damaged.clear();
        self.len = piece.len();
        let (from, until) = (*lsns.start(), *lsns.end());
        let file = match piece.source.open(shared.index()) {
            Ok(file) => file,
            Err(error) => {
                if shared.index().lock().contains(piece.source.header.segment_id) {
                    self.damaged.push((0, (piece.first_lsn, error)));
                }
                return self;
            }
        };
        self.map = piece.map(&*file);
        let mut window = Window::with_memory(file, piece.len() as usize, self.bytes);
        window.use_map(self.map.clone());
        // When all of it is in memory, records stay where they are.
        let is_whole = window.fill(piece.at, piece.len() as usize, piece.end).is_ok();
        let start = if self.map.is_some() { 0 } else { Window::start_for(piece.at) };
        let mut copies = Vec::new();
        let source = Arc::clone(&piece.source);
        let mut walk = Walk::new(source, window, piece.at, piece.end, piece.first_lsn);
        while let Some(step) = piece.step(shared, &mut walk, from, until) {
            match step {
                Ok(found) => {
                    let record = walk.record(&found);
                    let start =
                        if is_whole { (found.offset - start) as usize } else { copies.len() };
                    if !is_whole {
                        copies.extend_from_slice(record.payload);
                    }
                    self.items.push(Item {
                        lsn: found.lsn,
                        start,
                        len: found.len as u32,
                        part: part_of.map_or(0, |part_of| part_of(&record) as u32),
                        kind: found.kind,
                    });
                }
                Err(damaged) => self.damaged.push((self.items.len(), damaged)),
            }
        }
        self.bytes = if is_whole { walk.into_window().into_memory() } else { copies };
        self.map = self.map.filter(|_| is_whole);
        self
    }

    /// A piece that cannot be read at all.
    pub(super) fn failed(first_lsn: u64, error: WalError) -> Self {
        Self { damaged: vec![(0, (first_lsn, error))], ..Self::default() }
    }

    /// Everything in it, in order.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = Delivery<'_>> {
        let mut damaged = self.damaged.iter().peekable();
        let mut items = self.items.iter().enumerate().peekable();
        std::iter::from_fn(move || {
            let at = items.peek().map_or(usize::MAX, |(at, _)| *at);
            if let Some((_, damaged)) = damaged.next_if(|(before, _)| *before <= at) {
                return Some(Delivery::Damaged(damaged));
            }
            let (_, item) = items.next()?;
            let bytes = self.map.as_ref().map_or(self.bytes.as_slice(), |map| map);
            let payload = &bytes[item.start..item.start + item.len as usize];
            let record = RecordRef { lsn: Lsn::new(item.lsn), kind: item.kind, payload };
            Some(Delivery::Record(item.part as usize, record))
        })
    }
}
