//! [`Place`]: one frame whose place is known, read for itself.

use bucket_vfs::VfsFile;

use super::Record;
use crate::error::WalError;
use crate::frame;
use crate::lsn::Lsn;
use crate::recovery::DamageKind;
use crate::segment::Header;
use crate::sync::Arc;

/// A frame that can be read.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) path: std::path::PathBuf,
    pub(crate) first_lsn: u64,
    pub(crate) offset: u64,
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
    let Some(frame) = frame::outline(&bytes, &place.header.seed(), place.offset) else {
        return Err(corrupt(DamageKind::Frame, place.first_lsn));
    };
    let records = (frame.first_lsn..).zip(frame.entries(&bytes)).zip(frame.payloads(&bytes));
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
