//! What recovery does wrong when a bug is planted in it; nothing in any other build.

use std::path::Path;

use bucket_vfs::OpenMode;

use super::cut::{Cut, end_of};
use super::survey::Survey;
use crate::error::WalError;
use crate::options::WalOptions;
use crate::planted::Bug;
use crate::scan::SegmentScan;
use crate::segment;
use crate::writer::Begun;

/// The cut, or none where a bug forgets it.
pub(super) fn cut(
    dir: &Path,
    options: &WalOptions,
    survey: &Survey,
    cut: Option<Cut>,
) -> Result<Option<Cut>, WalError> {
    let planted = options.planted;
    if planted.has(Bug::AppendAfterTail) {
        return Ok(None);
    }
    if planted.has(Bug::SkipReplay) {
        return Ok(cut.map(|cut| Cut { frames: Vec::new(), ..cut }));
    }
    let Some(newest) = survey.chain.last().filter(|_| planted.has(Bug::SyncOldFile)) else {
        return Ok(cut);
    };
    let path = dir.join(segment::file_name(newest.segment_id));
    let file = options.vfs.open(&path, OpenMode::Write);
    let synced = file.and_then(|file| file.sync_data());
    synced.map_err(|error| WalError::io("sync", &path, error))?;
    Ok(None)
}

/// The newest segment, to go on in, where a bug does so.
pub(super) fn old_tail(
    dir: &Path,
    options: &WalOptions,
    survey: &Survey,
    scans: &[SegmentScan],
) -> Result<Option<Begun>, WalError> {
    let newest = survey.chain.last().zip(scans.last());
    let Some((header, found)) = newest.filter(|_| options.planted.has(Bug::AppendAfterTail)) else {
        return Ok(None);
    };
    let path = dir.join(segment::file_name(header.segment_id));
    let file = options.vfs.open(&path, OpenMode::Write);
    Ok(Some(Begun {
        header: header.clone(),
        file: file.map_err(|error| WalError::io("open", &path, error))?,
        frames: found.frames.clone(),
        records: found.records,
        ending: end_of(survey, scans, scans.len() - 1),
    }))
}
