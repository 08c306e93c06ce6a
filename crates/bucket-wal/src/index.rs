//! [`Index`]: which record is in which frame of which segment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bucket_vfs::{OpenMode, Vfs, VfsFile};

use crate::error::WalError;
use crate::reader::Place;
use crate::scan::FrameRef;
use crate::segment::Header;
use crate::sync::Arc;

/// Which record is in which frame of which segment.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: BTreeMap<u64, Segment>,
    vfs: Option<Arc<dyn Vfs>>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    /// Open for segments that this process began; older ones are opened when they are read, so that
    /// thousands of small ones cost no descriptors.
    pub(crate) file: Option<Arc<dyn VfsFile>>,
    pub(crate) frames: Vec<FrameRef>,
    pub(crate) end: u64,
}

impl Index {
    pub(crate) fn use_vfs(&mut self, vfs: Arc<dyn Vfs>) {
        self.vfs = Some(vfs);
    }

    pub(crate) fn insert(&mut self, segment: Segment) {
        self.segments.insert(segment.header.segment_id, segment);
    }

    pub(crate) fn get_mut(&mut self, segment_id: u64) -> Option<&mut Segment> {
        self.segments.get_mut(&segment_id)
    }

    pub(crate) fn newest_mut(&mut self) -> Option<&mut Segment> {
        self.segments.values_mut().next_back()
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.end).sum()
    }

    pub(crate) fn first_lsn(&self) -> Option<u64> {
        self.segments.values().find_map(|segment| segment.frames.first()).map(|f| f.first_lsn)
    }

    /// The frame that holds `lsn`, or the first one after it.
    pub(crate) fn frame_from(&self, lsn: u64) -> Option<Result<Place, WalError>> {
        let mut candidate: Option<(&Segment, usize)> = None;
        for segment in self.segments.values() {
            let at = segment.frames.partition_point(|frame| frame.first_lsn <= lsn);
            if at > 0 {
                candidate = Some((segment, at - 1));
            }
            if at < segment.frames.len() {
                // Frames after this one start beyond the record.
                candidate = candidate.or(Some((segment, at)));
                break;
            }
        }
        let (segment, at) = candidate?;
        let frame = segment.frames[at];
        let next_frame_lsn = segment.frames.get(at + 1).or_else(|| {
            let later = self.segments.range(segment.header.segment_id + 1..);
            later.map(|(_, segment)| segment).find_map(|segment| segment.frames.first())
        });
        let file = match (&segment.file, &self.vfs) {
            (Some(file), _) => Arc::clone(file),
            (None, Some(vfs)) => match vfs.open(&segment.path, OpenMode::Read) {
                Ok(file) => file,
                Err(error) => return Some(Err(WalError::io("open", &segment.path, error))),
            },
            (None, None) => return None,
        };
        Some(Ok(Place {
            header: segment.header.clone(),
            file,
            path: segment.path.clone(),
            first_lsn: frame.first_lsn,
            offset: frame.offset,
            next_frame_lsn: next_frame_lsn.map(|frame| frame.first_lsn),
        }))
    }

    /// Takes out the segments whose records all come before `lsn`, but not the newest.
    pub(crate) fn split_before(&mut self, lsn: u64) -> Vec<PathBuf> {
        let mut removed = Vec::new();
        loop {
            let mut ids = self.segments.iter();
            // The first segment may go when the second begins no later than `lsn`.
            let (Some((&id, _)), Some((_, second))) = (ids.next(), ids.next()) else { break };
            if second.header.first_lsn > lsn {
                break;
            }
            removed.extend(self.segments.remove(&id).map(|segment| segment.path));
        }
        removed
    }
}
