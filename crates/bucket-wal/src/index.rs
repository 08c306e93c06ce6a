//! [`Index`]: which segments there are, and where in them to look for a record.
//!
//! One frame is remembered for about every [`STRETCH`] bytes of a segment, so that the index takes a
//! thousandth of the log; within a stretch readers walk from frame to frame. A segment that was not
//! scanned at opening has no such marks until somebody seeks in it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::path::PathBuf;

use bucket_vfs::{Vfs, VfsFile};

use crate::reader::Source;
use crate::scan::FrameRef;
use crate::segment::{HEADER_LEN, Header};
use crate::sync::Arc;

/// About so many bytes of frames have one mark.
pub(crate) const STRETCH: u64 = 16 << 10;

/// So many files of finished segments stay open for whoever reads single records.
const RECENT: usize = 8;

/// Which segments there are, and where in them to look for a record.
#[derive(Debug, Default)]
pub(crate) struct Index {
    // Invariant: by number, which is also by first record.
    segments: VecDeque<Indexed>,
    recent: VecDeque<Arc<dyn VfsFile>>,
    vfs: Option<Arc<dyn Vfs>>,
}

/// A segment as recovery and the writer make it known.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    /// Open for segments that this process began; older ones are opened when they are read, so that
    /// thousands of small ones cost no descriptors.
    pub(crate) file: Option<Arc<dyn VfsFile>>,
    /// All frames of records; the index keeps some of them.
    pub(crate) frames: Vec<FrameRef>,
    pub(crate) end: u64,
}

/// A segment as the index holds it.
#[derive(Debug)]
pub(crate) struct Indexed {
    source: Arc<Source>,
    /// Held for the newest segment.
    file: Option<Arc<dyn VfsFile>>,
    /// The first frame of each stretch; `None` while nobody knows.
    marks: Option<Vec<FrameRef>>,
    /// Where the frames that count end.
    pub(crate) end: u64,
}

impl Deref for Indexed {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.source
    }
}

/// Where to start reading.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) source: Arc<Source>,
    /// A frame starts here.
    pub(crate) at: u64,
    /// Frames end here, for now.
    pub(crate) end: u64,
    /// No record before the place has this number or a later one.
    pub(crate) first_lsn: u64,
    /// The segment is finished: nothing in its file will change.
    pub(crate) is_sealed: bool,
    /// The segment has no marks, and the record that was asked for may be far from `at`.
    pub(crate) is_unmarked: bool,
}

/// What follows a place that readers have reached.
#[derive(Debug)]
pub(crate) enum After {
    /// More frames in the same segment, which end there.
    Grown(u64),
    /// Another segment.
    Next(Spot),
    /// Nothing so far.
    Nothing,
}

impl Index {
    pub(crate) fn use_vfs(&mut self, vfs: Arc<dyn Vfs>) {
        self.vfs = Some(vfs);
    }

    pub(crate) fn vfs(&self) -> Option<Arc<dyn Vfs>> {
        self.vfs.clone()
    }

    pub(crate) fn insert(&mut self, segment: Segment) {
        let Segment { header, path, file, frames, end } = segment;
        let mut marks = Vec::new();
        thin(&mut marks, frames);
        self.put(header, path, file, Some(marks), end);
    }

    /// A segment that nobody has looked into. Marks are made when somebody seeks in it.
    #[cfg_attr(
        any(not(test), bucket_loom),
        expect(dead_code, reason = "for openings that do not scan everything")
    )]
    pub(crate) fn insert_unscanned(&mut self, header: Header, path: PathBuf, end: u64) {
        self.put(header, path, None, None, end);
    }

    fn put(
        &mut self,
        header: Header,
        path: PathBuf,
        file: Option<Arc<dyn VfsFile>>,
        marks: Option<Vec<FrameRef>>,
        end: u64,
    ) {
        let at = self.segments.partition_point(|held| held.header.segment_id < header.segment_id);
        if let Some(before) = at.checked_sub(1).and_then(|at| self.segments.get_mut(at))
            && let Some(file) = before.file.take()
        {
            self.keep_open(file);
        }
        let source = Arc::new(Source::new(header, path, file.as_ref()));
        self.segments.insert(at, Indexed { source, file, marks, end });
    }

    /// Keeps a file open until so many others were used that it is its turn.
    pub(crate) fn keep_open(&mut self, file: Arc<dyn VfsFile>) {
        self.recent.retain(|held| !Arc::ptr_eq(held, &file));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(file);
    }

    pub(crate) fn get_mut(&mut self, segment_id: u64) -> Option<&mut Indexed> {
        let at = self.position(segment_id)?;
        self.segments.get_mut(at)
    }

    pub(crate) fn newest_mut(&mut self) -> Option<&mut Indexed> {
        self.segments.back_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// How many segments there are, and how many bytes in them.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.len(), self.bytes())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// How many marks are held in memory.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn marks(&self) -> usize {
        self.segments.iter().filter_map(|segment| segment.marks.as_ref()).map(Vec::len).sum()
    }

    /// As if no segment had been scanned.
    #[cfg(all(test, not(bucket_loom)))]
    pub(crate) fn unmark(&mut self) {
        for held in std::mem::take(&mut self.segments) {
            self.insert_unscanned(held.header.clone(), held.path.clone(), held.end);
        }
    }

    /// The first record, as far as it is known without reading.
    pub(crate) fn first_lsn(&self) -> Option<u64> {
        self.segments.iter().find_map(|segment| match &segment.marks {
            Some(marks) => marks.first().map(|mark| mark.first_lsn),
            None => (segment.end > HEADER_LEN).then_some(segment.header.first_lsn),
        })
    }

    /// True when records from `lsn` on may have been trimmed away.
    pub(crate) fn starts_after(&self, lsn: u64) -> bool {
        self.segments.front().is_none_or(|segment| segment.header.first_lsn > lsn.max(1))
    }

    /// Where to start looking for `lsn`, or for the first record after it.
    pub(crate) fn seek(&self, lsn: u64) -> Option<Spot> {
        let after = self.segments.partition_point(|segment| segment.header.first_lsn <= lsn);
        let at = after.saturating_sub(1);
        let segment = self.segments.get(at)?;
        let mut spot = self.start_of(at)?;
        match &segment.marks {
            Some(marks) => {
                let after = marks.partition_point(|mark| mark.first_lsn <= lsn);
                if let Some(mark) = after.checked_sub(1).and_then(|at| marks.get(at)) {
                    (spot.at, spot.first_lsn) = (mark.offset, mark.first_lsn);
                }
            }
            None => spot.is_unmarked = lsn > segment.header.first_lsn,
        }
        Some(spot)
    }

    /// What follows the place `at` of a segment, which may be gone by now.
    pub(crate) fn after(&self, segment_id: u64, at: u64) -> After {
        let n = self.segments.partition_point(|held| held.header.segment_id < segment_id);
        let next = match self.segments.get(n) {
            Some(held) if held.header.segment_id == segment_id => {
                if held.end > at {
                    return After::Grown(held.end);
                }
                n + 1
            }
            _ => n,
        };
        self.start_of(next).map_or(After::Nothing, After::Next)
    }

    /// The first mark behind `at`, for going on where nothing can be read.
    pub(crate) fn mark_after(&self, segment_id: u64, at: u64) -> Option<FrameRef> {
        let marks = self.segments.get(self.position(segment_id)?)?.marks.as_ref()?;
        marks.get(marks.partition_point(|mark| mark.offset <= at)).copied()
    }

    /// True while nobody knows where the frames of a segment are.
    pub(crate) fn is_unmarked(&self, segment_id: u64) -> bool {
        self.position(segment_id)
            .and_then(|at| self.segments.get(at))
            .is_some_and(|segment| segment.marks.is_none())
    }

    /// The bytes from a place on, to the end of the segment that holds `until`.
    pub(crate) fn bytes_from(&self, spot: &Spot, until: u64) -> u64 {
        let id = spot.source.header.segment_id;
        let later = self
            .segments
            .iter()
            .filter(|segment| segment.header.segment_id > id && segment.header.first_lsn <= until);
        (spot.end - spot.at) + later.map(|segment| segment.end - HEADER_LEN).sum::<u64>()
    }

    /// The marks of a segment that had none.
    pub(crate) fn learn(&mut self, segment_id: u64, marks: Vec<FrameRef>) {
        if let Some(segment) = self.get_mut(segment_id) {
            segment.marks.get_or_insert(marks);
        }
    }

    pub(crate) fn contains(&self, segment_id: u64) -> bool {
        self.position(segment_id).is_some()
    }

    /// The segments, the oldest first.
    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = &Indexed> {
        self.segments.iter()
    }

    /// The oldest segment, if all its records come before `lsn` and it is not the newest; with where it
    /// ends, and the number that the next one begins with.
    pub(crate) fn oldest_before(&self, lsn: u64) -> Option<(Arc<Source>, u64, u64)> {
        let (oldest, second) = (self.segments.front()?, self.segments.get(1)?);
        let next_lsn = second.header.first_lsn;
        // The header behind a segment counts its seal as well.
        let end = second.header.prev_data_len;
        (next_lsn <= lsn).then(|| (Arc::clone(&oldest.source), end, next_lsn))
    }

    /// Takes out the oldest segment, if it is this one. Nobody but its readers holds its file then.
    pub(crate) fn remove_oldest(&mut self, segment_id: u64) -> Option<Indexed> {
        let oldest = self.segments.front().filter(|held| held.header.segment_id == segment_id)?;
        if let Some(file) = oldest.opened() {
            self.recent.retain(|held| !Arc::ptr_eq(held, &file));
        }
        self.segments.pop_front()
    }

    /// Puts back what was taken out.
    pub(crate) fn put_back(&mut self, oldest: Indexed) {
        self.segments.push_front(oldest);
    }

    /// The segment that has this record or would have it: its header, its path and where it ends.
    pub(crate) fn segment_of(&self, lsn: u64) -> Option<(Header, PathBuf, u64)> {
        let after = self.segments.partition_point(|segment| segment.header.first_lsn <= lsn);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        Some((segment.header.clone(), segment.path.clone(), segment.end))
    }

    /// Ends the log in a segment: takes out all behind it, and what it has from there on.
    pub(crate) fn cut(&mut self, segment_id: u64, end: u64) -> Vec<PathBuf> {
        let keep = self.segments.partition_point(|held| held.header.segment_id <= segment_id);
        let removed = self.segments.drain(keep..).map(|held| held.path.clone()).collect();
        if let Some(last) = self.segments.back_mut() {
            last.end = end;
            if let Some(marks) = &mut last.marks {
                marks.retain(|mark| mark.offset < end);
            }
        }
        removed
    }

    fn position(&self, segment_id: u64) -> Option<usize> {
        self.segments.binary_search_by_key(&segment_id, |held| held.header.segment_id).ok()
    }

    fn start_of(&self, at: usize) -> Option<Spot> {
        let segment = self.segments.get(at)?;
        Some(Spot {
            source: Arc::clone(&segment.source),
            at: HEADER_LEN,
            end: segment.end,
            first_lsn: segment.header.first_lsn,
            is_sealed: at + 1 < self.segments.len(),
            is_unmarked: false,
        })
    }
}

impl Indexed {
    pub(crate) const fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Frames were written behind the end.
    pub(crate) fn extend(&mut self, frames: Vec<FrameRef>, end: u64) {
        if let Some(marks) = &mut self.marks {
            thin(marks, frames);
        }
        self.end = end;
    }
}

/// Adds the frames to `marks` that begin a stretch.
pub(crate) fn thin(marks: &mut Vec<FrameRef>, frames: impl IntoIterator<Item = FrameRef>) {
    for frame in frames {
        if marks.last().is_none_or(|mark| frame.offset.saturating_sub(mark.offset) >= STRETCH) {
            marks.push(frame);
        }
    }
}
