//! Where the log is cut at opening: before what nothing vouches for, and before damage.

use std::path::Path;

use bucket_vfs::{OpenMode, Vfs, VfsFile};

use super::report::DamageKind;
use super::survey::{Finding, Survey};
use crate::error::WalError;
use crate::options::RecoveryPolicy;
use crate::scan::{FrameRef, SegmentScan};
use crate::segment::{self, Ending, HEADER_LEN, ROOM};

/// Where the log is cut, and what is carried over the cut into a fresh segment.
#[derive(Debug)]
pub(super) struct Cut {
    /// The segment that it lies in, by its place in the chain; `None` for a cut before all of them.
    pub(super) nth: Option<usize>,
    /// What counts before it.
    pub(super) ending: Ending,
    /// The segment that is damaged within, when the cut is for damage there.
    pub(super) damaged: Option<usize>,
    /// The frames to carry over: a place in the chain, and where in that segment.
    pub(super) frames: Vec<(usize, FrameRef)>,
    /// Numbers before this one are not given again: their records may have been acknowledged and lost.
    pub(super) next_lsn: u64,
    /// What lies behind it is evidence of damage.
    pub(super) is_damage: bool,
}

/// A place in the chain of segments, before all of it or in one of them.
type Place = (Option<usize>, u64);

/// No record takes less in a frame.
const MIN_RECORD_LEN: u64 = 5;
/// A segment that is gone, or has lost its end, had fewer records.
const MAX_RECORDS: u64 = (4 << 30) / MIN_RECORD_LEN;

impl Cut {
    /// Where to cut, if at all. Without damage it is before the frames that nothing vouches for; damage
    /// is only found here under a policy that steps over it.
    pub(super) fn find(
        vfs: &dyn Vfs,
        dir: &Path,
        survey: &Survey,
        scans: &[SegmentScan],
        findings: &[Finding],
        policy: RecoveryPolicy,
    ) -> Result<Option<Self>, WalError> {
        let damage = findings.iter().find(|finding| !finding.is_apart);
        let damage = damage.map(|finding| damage_at(survey, scans, finding));
        let unproven = unproven_at(survey, scans);
        let (nth, ending) = match (&damage, unproven) {
            (None, None) => return Ok(None),
            (Some((nth, ending, _)), None) => (*nth, *ending),
            (None, Some((nth, ending))) => (Some(nth), ending),
            (Some((nth, ending, _)), Some((newest, unproven))) => {
                if (*nth, ending.data_len) < (Some(newest), unproven.data_len) {
                    (*nth, *ending)
                } else {
                    (Some(newest), unproven)
                }
            }
        };
        let start: Place = (nth, ending.data_len);
        let end: Option<Place> = match (&damage, policy) {
            (Some((nth, ending, _)), RecoveryPolicy::PointInTime) => Some((*nth, ending.data_len)),
            _ => None,
        };
        let frames = all_frames(scans).filter(|(nth, frame)| {
            let place = (Some(*nth), frame.offset);
            place >= start
                && end.is_none_or(|end| place < end)
                && frame.first_lsn >= ending.next_lsn
        });
        let mut next_lsn = survey.durable_lsn.saturating_add(1).max(ending.next_lsn);
        next_lsn = scans.iter().map(|found| found.next_lsn).fold(next_lsn, u64::max);
        if damage.is_some() {
            next_lsn = next_lsn.saturating_add(lost_numbers(vfs, dir, survey, scans, findings)?);
        }
        Ok(Some(Self {
            nth,
            ending,
            damaged: damage.as_ref().and_then(|(_, _, damaged)| *damaged),
            frames: frames.collect(),
            next_lsn,
            is_damage: damage.is_some(),
        }))
    }
}

/// Where a segment ends.
pub(super) fn end_of(survey: &Survey, scans: &[SegmentScan], nth: usize) -> Ending {
    let found = &scans[nth];
    Ending {
        segment_id: survey.chain[nth].segment_id,
        data_len: survey.ending(nth).map_or(found.end, |ending| ending.data_len),
        next_lsn: found.next_lsn,
        chain: found.chain.unwrap_or_default(),
    }
}

/// The place of damage: a segment, how much of it counts, and the segment again if the damage is in it.
fn damage_at(
    survey: &Survey,
    scans: &[SegmentScan],
    finding: &Finding,
) -> (Option<usize>, Ending, Option<usize>) {
    let (id, damage) = (finding.segment_id, &finding.damage);
    let within = survey.chain.iter().position(|header| header.segment_id == id);
    let Some(nth) = within.filter(|_| damage.offset >= HEADER_LEN) else {
        let nth = survey.chain.iter().rposition(|header| header.segment_id < id);
        return (nth, nth.map_or(Ending::default(), |nth| end_of(survey, scans, nth)), None);
    };
    if !scans[nth].damage.iter().any(|found| found.offset == damage.offset) {
        // The segments do not fit together: this one is as it should be.
        return (Some(nth), end_of(survey, scans, nth), None);
    }
    let found = &scans[nth];
    let at = found.frames.partition_point(|frame| frame.offset < damage.offset);
    // A frame with damaged records starts with numbers that are not damaged.
    let is_frame = damage.kind == DamageKind::Record;
    let frame = found.frames.get(at).filter(|frame| is_frame && frame.offset == damage.offset);
    let ending = Ending {
        segment_id: id,
        data_len: damage.offset,
        next_lsn: frame.map_or(damage.first_lsn.get(), |frame| frame.first_lsn),
        chain: found.chain_at_damage.unwrap_or_default(),
    };
    (Some(nth), ending, Some(nth))
}

/// The first frame of the newest segment that nothing vouches for.
fn unproven_at(survey: &Survey, scans: &[SegmentScan]) -> Option<(usize, Ending)> {
    let nth = scans.len().checked_sub(1)?;
    let found = &scans[nth];
    let at = found.frames.partition_point(|frame| {
        frame.offset < found.proven || frame.first_lsn <= survey.durable_lsn
    });
    let (frame, chain) = (found.frames.get(at)?, *found.chains.get(at)?);
    let (segment_id, data_len) = (survey.chain[nth].segment_id, frame.offset);
    Some((nth, Ending { segment_id, data_len, next_lsn: frame.first_lsn, chain }))
}

fn all_frames(scans: &[SegmentScan]) -> impl Iterator<Item = (usize, FrameRef)> {
    scans.iter().enumerate().flat_map(|(nth, found)| found.frames.iter().map(move |f| (nth, *f)))
}

/// No more records were lost at the end of the log, where nothing says which number came next.
fn lost_numbers(
    vfs: &dyn Vfs,
    dir: &Path,
    survey: &Survey,
    scans: &[SegmentScan],
    findings: &[Finding],
) -> Result<u64, WalError> {
    let newest = survey.chain.last().map_or(0, |header| header.segment_id);
    // Something vouches for more than is there: a segment is gone, or the end of one. A checkpoint that cannot
    // be read vouches for who knows what.
    let vouches = survey.durable_lsn > 0 || survey.manifests.unreadable > 0;
    let is_short = scans
        .last()
        .map_or(vouches, |found| found.next_lsn <= survey.durable_lsn || found.end < found.proven);
    let mut numbers = if is_short { MAX_RECORDS } else { 0 };
    let mut seen = None;
    for Finding { segment_id: id, .. } in findings {
        if *id < newest || seen == Some(*id) {
            continue;
        }
        seen = Some(*id);
        let from = scans.last().filter(|_| *id == newest).map_or(0, |found| found.end);
        let path = dir.join(segment::file_name(*id));
        let io = |error| WalError::io("read", &path, error);
        let file = match vfs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            // It is gone, or what is damaged are the checkpoints.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io(error)),
        };
        numbers += records_behind(&*file, from).map_err(io)?;
    }
    Ok(numbers)
}

/// No more records were in the file behind `from`.
fn records_behind(file: &dyn VfsFile, from: u64) -> std::io::Result<u64> {
    let written = written_behind(file, from)?;
    // Acknowledged records have room behind them. Without it the file may have lost its end.
    let is_whole = from + written + ROOM <= file.len()?;
    Ok(if is_whole { written.div_ceil(MIN_RECORD_LEN) } else { MAX_RECORDS })
}

/// How many bytes there are from `from` to the last one that is not zero.
fn written_behind(file: &dyn VfsFile, from: u64) -> std::io::Result<u64> {
    let len = file.len()?;
    let (mut at, mut end, mut buf) = (from, from, vec![0; 1 << 16]);
    while at < len {
        let n = (len - at).min(buf.len() as u64) as usize;
        file.read_exact_at(&mut buf[..n], at)?;
        if let Some(last) = buf[..n].iter().rposition(|&byte| byte != 0) {
            end = at + last as u64 + 1;
        }
        at += n as u64;
    }
    Ok(end - from)
}

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use bucket_vfs::sim::SimDisk;

    use super::*;

    #[test]
    fn what_is_written_ends_with_the_last_byte_that_is_not_zero() {
        const PIECE: u64 = 1 << 16;
        let vfs = SimDisk::new().mount();
        let file = vfs.open(Path::new("/file"), OpenMode::CreateNew).unwrap();
        let behind = |from| written_behind(&*file, from).unwrap();
        assert_eq!((behind(0), behind(100)), (0, 0));
        file.write_all_at(&vec![0; 3 * PIECE as usize + 10], 0).unwrap();
        assert_eq!((behind(0), behind(100), behind(4 * PIECE)), (0, 0, 0));
        // The only one, at either end of a piece; then the last of some.
        for last in [0, 9, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE - 1, 3 * PIECE, 3 * PIECE + 9] {
            file.write_all_at(&[1], last).unwrap();
            assert_eq!(behind(0), last + 1);
            assert_eq!(behind(last), 1);
            assert_eq!(behind(last + 1), 0);
            assert_eq!(behind(last.saturating_sub(5)), last - last.saturating_sub(5) + 1);
        }
        // A file without zeros.
        file.write_all_at(&vec![1; 3 * PIECE as usize + 10], 0).unwrap();
        assert_eq!((behind(0), behind(7)), (3 * PIECE + 10, 3 * PIECE + 3));
    }

    #[test]
    fn a_file_without_room_behind_its_records_may_have_had_more() {
        let vfs = SimDisk::new().mount();
        let file = vfs.open(Path::new("/file"), OpenMode::CreateNew).unwrap();
        assert_eq!(records_behind(&*file, 0).unwrap(), MAX_RECORDS);
        file.write_all_at(&[1; 21], 0).unwrap();
        for (len, records) in [(ROOM + 20, [MAX_RECORDS; 2]), (ROOM + 21, [5, 1])] {
            file.set_len(len).unwrap();
            assert_eq!([0, 18].map(|from| records_behind(&*file, from).unwrap()), records);
        }
    }
}
