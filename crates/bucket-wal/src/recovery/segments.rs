//! Reading the segments that count, several at a time, and checking that each follows the one before.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bucket_vfs::{OpenMode, Vfs};

use super::report::{Damage, DamageKind};
use super::survey::{Finding, Survey};
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::options::VerifyOnOpen;
use crate::scan::{Known, SegmentScan, scan};
use crate::seal::Seal;
use crate::segment::{self, Ending};

/// Reads the segments of the survey, in its order, as far as `verify` asks for it. The first error ends it.
pub(super) fn scan_all(
    vfs: &dyn Vfs,
    dir: &Path,
    survey: &Survey,
    verify: VerifyOnOpen,
    threads: usize,
) -> Result<Vec<SegmentScan>, WalError> {
    let count = survey.chain.len();
    let threads = threads.min(count);
    if threads <= 1 {
        return (0..count).map(|nth| scan_one(vfs, dir, survey, verify, nth)).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut done = Vec::new();
        // Taken in order, so that everything before an error has been begun.
        while !failed.load(Ordering::Relaxed) {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= count {
                break;
            }
            let result = scan_one(vfs, dir, survey, verify, nth);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((nth, result));
        }
        done
    };
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_by_key(|(nth, _)| *nth);
    results.into_iter().map(|(_, result)| result).collect()
}

fn scan_one(
    vfs: &dyn Vfs,
    dir: &Path,
    survey: &Survey,
    verify: VerifyOnOpen,
    nth: usize,
) -> Result<SegmentScan, WalError> {
    let header = &survey.chain[nth];
    let path = dir.join(segment::file_name(header.segment_id));
    let opened = vfs.open(&path, OpenMode::Read);
    let file = opened.map_err(|error| WalError::io("open", &path, error))?;
    if let Some(ending) = survey.ending(nth)
        && is_trusted(survey, verify, ending)
    {
        let sealed = Seal::read(&*file, header, ending);
        if let Some(seal) = sealed.map_err(|error| WalError::io("read", &path, error))? {
            return Ok(SegmentScan::of_seal(seal, ending));
        }
    }
    scan(&*file, header, known(survey, nth, &path))
}

/// Whether the seal of a segment is believed that ends like this.
fn is_trusted(survey: &Survey, verify: VerifyOnOpen, ending: Ending) -> bool {
    match verify {
        VerifyOnOpen::Full => false,
        VerifyOnOpen::SinceCheckpoint => {
            let newest = survey.manifests.readable.first();
            newest.is_some_and(|manifest| ending.next_lsn <= manifest.keep_from())
        }
        VerifyOnOpen::TailOnly => true,
    }
}

/// What the survey says about a segment before it is read.
pub(crate) fn known<'a>(survey: &Survey, nth: usize, path: &'a Path) -> Known<'a> {
    let is_newest = nth + 1 == survey.chain.len();
    Known {
        path,
        data_len: survey.ending(nth).map(|ending| ending.data_len),
        durable_lsn: if is_newest { survey.durable_lsn } else { 0 },
    }
}

/// All damage in the order of the log: what the survey has found, what is in the segments, and segments
/// that do not fit together.
pub(crate) fn findings(dir: &Path, survey: &Survey, scans: &[SegmentScan]) -> Vec<Finding> {
    let mut findings = survey.findings.clone();
    for (nth, (header, found)) in survey.chain.iter().zip(scans).enumerate() {
        let segment_id = header.segment_id;
        let mut find = |damage| findings.push(Finding { segment_id, is_apart: false, damage });
        found.damage.iter().cloned().for_each(&mut find);
        let Some(kind) = mismatch(survey, nth, found) else { continue };
        let first_lsn = Lsn::new(found.next_lsn);
        if kind == DamageKind::Missing {
            let is_explained = survey.findings.iter().any(|f| f.segment_id > segment_id);
            if !is_explained {
                let (segment_id, offset) = (segment_id + 1, 0);
                let path = dir.join(segment::file_name(segment_id));
                let damage = Damage { path, offset, kind, first_lsn, records: 0 };
                findings.push(Finding { segment_id, is_apart: false, damage });
            }
            continue;
        }
        let (path, offset) = (dir.join(segment::file_name(segment_id)), found.end);
        find(Damage { path, offset, kind, first_lsn, records: 0 });
    }
    findings.sort_by_key(|finding| (finding.segment_id, finding.damage.offset));
    findings
}

/// What the segment behind says of this one, and is not so.
fn mismatch(survey: &Survey, nth: usize, found: &SegmentScan) -> Option<DamageKind> {
    if !found.damage.is_empty() {
        return None;
    }
    match survey.ending(nth) {
        Some(ending) if ending.next_lsn != found.next_lsn => Some(DamageKind::Order),
        Some(ending) if found.chain.is_some_and(|chain| chain != ending.chain) => {
            Some(DamageKind::Chain)
        }
        // The checkpoint knows of records that nothing is left of.
        None if nth + 1 == survey.chain.len() && found.next_lsn <= survey.durable_lsn => {
            Some(DamageKind::Missing)
        }
        _ => None,
    }
}
