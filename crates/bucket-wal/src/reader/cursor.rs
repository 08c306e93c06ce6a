//! [`Cursor`]: the records of a log from one number on, across segments, borrowed from a window.

use crate::commit::Shared;
use crate::error::WalError;
use crate::index::{After, STRETCH, Spot, thin};
use crate::lsn::Lsn;
use crate::reader::walk::{Found, Step, Walk};
use crate::reader::{Record, RecordRef, Source, Window};
use crate::scan::FrameRef;
use crate::segment::HEADER_LEN;
use crate::sync::Arc;

/// How much sequential readers read at a time: little enough to be in the cache when it is checked.
pub(crate) const AHEAD: usize = 256 << 10;

/// The records of a log from one number on.
///
/// It keeps its place and its file, so that going on costs no look-up, and what is trimmed under it can
/// be read to the end of the segment.
#[derive(Debug)]
pub(crate) struct Cursor {
    shared: Arc<Shared>,
    /// The lowest number that is still wanted.
    next: u64,
    walk: Option<Walk>,
    /// Memory that a walk has left behind.
    spare: Option<Window>,
    ahead: usize,
}

impl Cursor {
    pub(crate) const fn new(shared: Arc<Shared>, from: u64) -> Self {
        Self { shared, next: from, walk: None, spare: None, ahead: AHEAD }
    }

    pub(crate) const fn next_lsn(&self) -> u64 {
        self.next
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Everything up to `lsn` is done with.
    pub(crate) fn pass(&mut self, lsn: u64) {
        self.next = self.next.max(lsn.saturating_add(1));
    }

    /// Finds the next record up to `limit`, which the caller may see. `None` when there is none for now;
    /// the same call may find one later.
    pub(crate) fn find(&mut self, limit: u64) -> Option<Result<Found, WalError>> {
        loop {
            if self.next > limit {
                return None;
            }
            let Some(walk) = &mut self.walk else {
                let spot = self.shared.index().lock().seek(self.next)?;
                match self.start(spot) {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            match walk.step(self.next, limit) {
                Step::Record(found) => {
                    self.next = found.lsn.saturating_add(1);
                    return Some(Ok(found));
                }
                Step::Beyond => return None,
                Step::Damaged(error) => {
                    self.shared.found_damage(&error);
                    return Some(Err(error));
                }
                Step::Failed(error) => {
                    let (id, at) = (walk.source().header.segment_id, walk.at());
                    let mark = self.shared.index().lock().mark_after(id, at);
                    match mark {
                        Some(mark) => walk.jump(mark.offset, mark.first_lsn),
                        None => walk.give_up(),
                    }
                    return Some(Err(error));
                }
                Step::End => {
                    let (id, at) = (walk.source().header.segment_id, walk.at());
                    let after = self.shared.index().lock().after(id, at);
                    match after {
                        After::Grown(end) => walk.grow(end),
                        After::Next(spot) => {
                            if let Err(error) = self.start(spot) {
                                return Some(Err(error));
                            }
                        }
                        After::Nothing => return None,
                    }
                }
            }
        }
    }

    /// The record that [`Cursor::find`] has just found.
    pub(crate) fn get(&self, found: &Found) -> RecordRef<'_> {
        // A record was found in a walk.
        let nowhere = RecordRef { lsn: Lsn::new(found.lsn), kind: found.kind, payload: &[] };
        self.walk.as_ref().map_or(nowhere, |walk| walk.record(found))
    }

    /// Goes to another segment. One that was trimmed away meanwhile is passed over.
    fn start(&mut self, spot: Spot) -> Result<(), WalError> {
        let id = spot.source.header.segment_id;
        match open(&self.shared, &spot) {
            Ok(file) => {
                let old = self.walk.take().map(Walk::into_window);
                let map = if spot.is_sealed { spot.source.map(&*file) } else { None };
                let mut window = match old.or_else(|| self.spare.take()) {
                    Some(mut window) => {
                        window.reuse(file);
                        window
                    }
                    None => Window::new(file, self.ahead),
                };
                window.use_map(map);
                let Spot { source, mut at, end, mut first_lsn, is_unmarked, .. } = spot;
                if is_unmarked && self.next > first_lsn {
                    let marks = mark(&self.shared, &source, end)?;
                    let before = marks.partition_point(|mark| mark.first_lsn <= self.next);
                    if let Some(mark) = before.checked_sub(1).and_then(|n| marks.get(n)) {
                        (at, first_lsn) = (mark.offset, mark.first_lsn);
                    }
                }
                self.walk = Some(Walk::new(source, window, at, end, first_lsn));
                Ok(())
            }
            Err(error) => {
                let index = self.shared.index().lock();
                let is_trimmed = !index.contains(id);
                let after = index.after(id, u64::MAX);
                drop(index);
                self.spare = self.walk.take().map(Walk::into_window).or_else(|| self.spare.take());
                self.next = match after {
                    After::Next(spot) => self.next.max(spot.first_lsn),
                    _ => u64::MAX,
                };
                if is_trimmed { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// Reads one record that everybody may see.
pub(crate) fn read_one(shared: &Shared, lsn: u64) -> Result<Record, WalError> {
    let missing = || WalError::NotFound { lsn: Lsn::new(lsn) };
    let seek = || shared.index().lock().seek(lsn).ok_or_else(missing);
    let mut spot = seek()?;
    let id = spot.source.header.segment_id;
    let file = match spot.source.open(shared.index()) {
        Ok(file) => file,
        // Trimmed away since it was looked up.
        Err(_) if !shared.index().lock().contains(id) => return Err(missing()),
        Err(error) => return Err(error),
    };
    if spot.is_unmarked {
        mark(shared, &spot.source, spot.end)?;
        spot = seek()?;
    }
    let window = Window::new(file, STRETCH as usize);
    let mut walk = Walk::new(Arc::clone(&spot.source), window, spot.at, spot.end, spot.first_lsn);
    let mut hopped = walk.hop(lsn).is_ok();
    let mut damage = None;
    loop {
        match walk.step(lsn, lsn) {
            Step::Record(found) => {
                return Ok(walk.record(&found).to_record());
            }
            // What was skipped unverified may have led astray: from the beginning, step by step.
            _ if hopped => {
                walk.jump(spot.at, spot.first_lsn);
                hopped = false;
            }
            Step::Damaged(error) => {
                shared.found_damage(&error);
                damage = Some(error);
            }
            Step::Failed(error) => return Err(error),
            Step::Beyond | Step::End => return Err(damage.unwrap_or_else(missing)),
        }
    }
}

/// Opens a segment that is about to be read.
fn open(shared: &Shared, spot: &Spot) -> Result<Arc<dyn bucket_vfs::VfsFile>, WalError> {
    spot.source.open(shared.index())
}

/// Makes the marks of a segment that has none, by walking through it once.
pub(crate) fn mark(
    shared: &Shared,
    source: &Arc<Source>,
    end: u64,
) -> Result<Vec<FrameRef>, WalError> {
    let window = Window::new(source.open(shared.index())?, AHEAD);
    let first = source.header.first_lsn;
    let mut walk = Walk::new(Arc::clone(source), window, HEADER_LEN, end, first);
    let mut marks = Vec::new();
    loop {
        match walk.next_frame() {
            Ok(Some((first_lsn, offset))) => thin(&mut marks, [FrameRef { first_lsn, offset }]),
            Ok(None) => break,
            Err(error) => return Err(WalError::io("read", &source.path, error)),
        }
    }
    shared.index().lock().learn(source.header.segment_id, marks.clone());
    Ok(marks)
}
