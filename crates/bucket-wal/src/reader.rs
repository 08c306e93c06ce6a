//! [`Reader`]: the durable records of a log, in order.

use bucket_vfs::VfsFile;

use crate::commit::Shared;
use crate::error::WalError;
use crate::frame::{self, RecordKind};
use crate::lsn::Lsn;
use crate::recovery::DamageKind;
use crate::segment::Header;
use crate::sync::Arc;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The number that `append` returned.
    pub lsn: Lsn,
    /// What it is.
    pub kind: RecordKind,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

/// Iterates over the durable records of a log, from one number to the newest that was durable when
/// the reader was made. Appending goes on meanwhile.
///
/// A record that cannot be read yields an error, and the iteration continues behind it. Records that
/// are trimmed away while reading are left out.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: u64,
    until: u64,
    loaded: std::collections::VecDeque<Result<Record, WalError>>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Lsn) -> Self {
        let until = shared.durable();
        Self { shared, next: from.get(), until, loaded: Default::default() }
    }
}

impl Iterator for Reader {
    type Item = Result<Record, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.loaded.pop_front() {
                return Some(record);
            }
            if self.next > self.until {
                return None;
            }
            let place = match self.shared.index().frame_from(self.next)? {
                Ok(place) => place,
                Err(error) => {
                    self.next = u64::MAX;
                    return Some(Err(error));
                }
            };
            if place.first_lsn > self.until {
                return None;
            }
            match load(&place) {
                Ok(records) => {
                    let count = records.len() as u64;
                    let wanted = self.next..=self.until;
                    self.loaded.extend(records.into_iter().filter(|record| {
                        record.as_ref().map_or(true, |record| wanted.contains(&record.lsn.get()))
                    }));
                    let end = place.first_lsn + count;
                    // A number that was given up lies between two frames: go on with the later one.
                    self.next = if end > self.next {
                        end
                    } else {
                        place.next_frame_lsn.unwrap_or(u64::MAX)
                    };
                }
                Err(error) => {
                    self.next = place.next_frame_lsn.unwrap_or(u64::MAX);
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A frame that can be read.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) path: std::path::PathBuf,
    pub(crate) first_lsn: u64,
    pub(crate) offset: u64,
    /// Where the frame after this one starts to count.
    pub(crate) next_frame_lsn: Option<u64>,
}

/// Reads and verifies the frame at `place`.
pub(crate) fn load(place: &Place) -> Result<Vec<Result<Record, WalError>>, WalError> {
    let read = |error| WalError::io("read", &place.path, error);
    let corrupt = |kind, lsn| WalError::Corrupt {
        path: place.path.clone(),
        offset: place.offset,
        kind,
        first_lsn: Lsn::new(lsn),
    };
    let mut header = [0; frame::HEADER_LEN];
    place.file.read_exact_at(&mut header, place.offset).map_err(read)?;
    let frame::Claim::Len(len) = frame::claim(&header) else {
        return Err(corrupt(DamageKind::Frame, place.first_lsn));
    };
    let mut bytes = vec![0; len];
    place.file.read_exact_at(&mut bytes, place.offset).map_err(read)?;
    let Some(frame) = frame::decode(&bytes, &place.header.seed(), place.offset) else {
        return Err(corrupt(DamageKind::Frame, place.first_lsn));
    };
    let records = (frame.first_lsn..).zip(&frame.entries).zip(frame.payloads(&bytes));
    Ok(records
        .map(|((lsn, entry), (payload, intact))| {
            if intact {
                Ok(Record { lsn: Lsn::new(lsn), kind: entry.kind, payload: payload.to_vec() })
            } else {
                Err(corrupt(DamageKind::Record, lsn))
            }
        })
        .collect())
}
