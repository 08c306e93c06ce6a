//! Opening what is on disk: which segments and records there are, what is damaged, and what may be
//! trusted.
//!
//! After an unclean end only what a sync promise or a checkpoint vouches for is known to be on disk:
//! the page cache can show bytes whose sync failed. So whatever lies behind the newest promise is
//! copied into a fresh segment, synced, and made visible by rename, before anybody may read it.

pub(crate) mod carry;
mod cut;
mod planted;
pub(crate) mod quarantine;
mod report;
pub(crate) mod segments;
pub(crate) mod survey;

use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs};

use self::carry::{Job, carry};
use self::cut::Cut;
pub use self::report::{Damage, DamageKind, RecoveryReport, TailState};
use self::survey::{Finding, Survey};
use crate::checkpoint::Checkpoint;
use crate::error::WalError;
use crate::index::{Index, Segment};
use crate::lenient::{Lenient, Lost};
use crate::lsn::Lsn;
use crate::manifest::Manifests;
use crate::medium::BLOCK;
use crate::options::{RecoveryPolicy, VerifyOnOpen, WalOptions};
use crate::reserve::{self, Reserve};
use crate::scan::SegmentScan;
use crate::segment::{self, ROOM};
use crate::spares::{Spare, Spares};
use crate::sync::Arc;
use crate::writer::{Begun, CommitError, Writer};

/// What opening found: a report for people, and the newest checkpoint for the application.
#[derive(Clone, Debug)]
pub struct Recovery {
    report: RecoveryReport,
    checkpoint: Option<Checkpoint>,
    /// Filled in by the lifecycle.
    pub(crate) pending: Vec<Lsn>,
}

impl Recovery {
    /// What was found.
    pub const fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The newest checkpoint, if one was ever taken.
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The operations that were not settled, in the order of their numbers; none in a log without a
    /// lifecycle. [`Wal::pending_records`](crate::Wal::pending_records) reads them.
    pub fn pending(&self) -> &[Lsn] {
        &self.pending
    }

    /// Where the application starts to replay: at the checkpoint, or at the first record.
    pub fn replay_from(&self) -> Lsn {
        self.checkpoint.as_ref().map_or(Lsn::new(1), |checkpoint| checkpoint.replay_from)
    }
}

/// Everything that an open log starts from.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) index: Index,
    pub(crate) writer: Writer,
    pub(crate) log_id: u128,
    pub(crate) next_lsn: u64,
    pub(crate) manifests: Manifests,
    pub(crate) spares: Arc<Spares>,
    pub(crate) reserve: Reserve,
}

/// Reads the log in `dir`, which exists and is locked.
///
/// Nothing is changed before it is certain that the policy lets the log be opened. Then, each step
/// durable before the next: damaged files are kept, a segment is written whose header makes void what
/// does not count, void files are moved away or removed.
pub(crate) fn recover(dir: &Path, options: &WalOptions) -> Result<Recovered, WalError> {
    let mut reading = options.clone();
    let lost = Arc::new(Lost::new());
    if options.recovery != RecoveryPolicy::Strict {
        // What cannot be read is damage as well. The open log reads as it always does.
        reading.vfs = Arc::new(Lenient::new(Arc::clone(&options.vfs), Arc::clone(&lost)));
    }
    let vfs = &*reading.vfs;
    let mut survey = Survey::of(vfs, dir, options.known)?;
    let scan = |verify| segments::scan_all(vfs, dir, &survey, verify, options.recovery_threads);
    let mut scans = scan(options.verify)?;
    let mut findings = segments::findings(dir, &survey, &scans);
    if let (RecoveryPolicy::Strict, Some(first)) = (options.recovery, findings.first()) {
        return Err(first.damage.error(first.segment_id));
    }
    if !findings.is_empty() && scans.iter().any(|found| found.is_unread) {
        // What is copied over damage has to be known to the last frame.
        scans = scan(VerifyOnOpen::Full)?;
        findings = segments::findings(dir, &survey, &scans);
    }
    let log_id = match survey.log_id {
        Some(log_id) => log_id,
        None => u128::from_le_bytes(options.entropy.bytes()?),
    };

    if let (Some(backup), false) = (&options.backup, findings.is_empty()) {
        quarantine::copy_log(vfs, dir, backup)?;
    }
    let mut quarantined = Vec::new();
    let cut = Cut::find(vfs, dir, &survey, &scans, &findings, options.recovery)?;
    let cut = planted::cut(dir, options, &survey, cut)?;
    let begun = match &cut {
        Some(cut) => {
            if let Some(nth) = cut.damaged {
                let path = dir.join(segment::file_name(survey.chain[nth].segment_id));
                quarantined.push(quarantine::keep_copy(vfs, dir, &path)?);
            }
            let job = Job {
                vfs,
                dir,
                planted: options.planted,
                log_id,
                segment_id: survey.max_id + 1,
                epoch: survey.epoch(),
                features: survey.features,
                salt: u32::from_le_bytes(options.entropy.bytes()?),
                ending: cut.ending,
                is_damage: cut.is_damage,
                headers: &survey.chain,
                frames: &cut.frames,
                until: u64::MAX,
                next_lsn: cut.next_lsn,
            };
            let mut begun = carry(&job);
            while is_for_want_of_space(&begun)
                && (release(vfs, &mut survey.spares) || reserve::release_one(vfs, dir))
            {
                begun = carry(&job);
            }
            Some(begun.map_err(|error| error.at(dir))?)
        }
        None => planted::old_tail(dir, options, &survey, &scans)?,
    };
    clean_up(dir, &reading, &survey, &findings, cut.as_ref(), &mut quarantined)?;

    let report = report(options, &survey, &scans, findings, begun.as_ref(), quarantined);
    let last = scans.len().checked_sub(1).map(|nth| cut::end_of(&survey, &scans, nth));
    let last = last.unwrap_or_default();
    let reserve = reserve(dir, options, &survey, cut.as_ref());
    let spares = Arc::new(spares(dir, options, &survey));
    let epoch = survey.epoch();
    let mut writer = Writer::new(dir.to_owned(), options, log_id, epoch, last, Arc::clone(&spares));
    writer.use_features(survey.features);
    let mut next_lsn = last.next_lsn.max(survey.durable_lsn.saturating_add(1));
    let mut index = index(dir, &survey, scans, cut.as_ref());
    if let Some(begun) = begun {
        next_lsn = begun.ending.next_lsn;
        let path = dir.join(segment::file_name(begun.header.segment_id));
        let (header, file) = (begun.header.clone(), Some(Arc::clone(&begun.file)));
        let (frames, end) = (begun.frames.clone(), begun.ending.data_len);
        index.insert(Segment { header, path, file, frames, end });
        writer.adopt(begun);
    }
    let report = RecoveryReport {
        segments: index.len(),
        first_lsn: index.first_lsn().map(Lsn::new),
        last_lsn: Lsn::new(next_lsn - 1),
        unreadable_bytes: lost.bytes(),
        ..report
    };
    let manifests = survey.manifests;
    let checkpoint = manifests.readable.first().map(Checkpoint::from);
    Ok(Recovered {
        recovery: Recovery { report, checkpoint, pending: Vec::new() },
        index,
        writer,
        log_id,
        next_lsn,
        manifests,
        spares,
        reserve,
    })
}

fn is_for_want_of_space(begun: &Result<Begun, CommitError>) -> bool {
    matches!(begun, Err(CommitError::NotWritten(WalError::NoSpace { .. })))
}

/// Gives the space of spare files back; false when there was none.
fn release(vfs: &dyn Vfs, spares: &mut Vec<Spare>) -> bool {
    let before = spares.len();
    spares.retain(|spare| vfs.remove_file(&spare.path).is_err());
    spares.len() < before
}

/// The files in reserve. Where there is no space for them, what was cut off gives it.
fn reserve(dir: &Path, options: &WalOptions, survey: &Survey, cut: Option<&Cut>) -> Reserve {
    let vfs = &*options.vfs;
    if !options.reserve_files {
        while reserve::release_one(vfs, dir) {}
        return Reserve::none();
    }
    let mut reserve = Reserve::new(options.keep_checkpoints);
    reserve.remove_surplus(vfs, dir, &survey.reserve);
    reserve.make(vfs, dir);
    if let Some(cut) = cut.filter(|cut| !cut.is_damage && !reserve.is_whole())
        && let Some(nth) = cut.nth
    {
        // Copied, and void by the header of the copy. Best effort, as all of this.
        let path = dir.join(segment::file_name(survey.chain[nth].segment_id));
        let shortened =
            vfs.open(&path, OpenMode::Write).and_then(|file| file.set_len(cut.ending.data_len));
        if shortened.is_ok() {
            reserve.make(vfs, dir);
        }
    }
    reserve
}

/// The files that wait to become segments, no more than wanted; made now, if they are to be.
fn spares(dir: &Path, options: &WalOptions, survey: &Survey) -> Spares {
    let vfs = &*options.vfs;
    let spares = Spares::new(options.spare_segments, options.segment_bytes);
    for spare in &survey.spares {
        if !spares.keep(spare.clone()) {
            // Best effort: the next opening tries again.
            let _ = vfs.remove_file(&spare.path);
        }
    }
    if options.fill_spares {
        spares.fill(vfs, dir, options.segment_bytes.next_multiple_of(BLOCK) + ROOM);
    }
    spares
}

fn report(
    options: &WalOptions,
    survey: &Survey,
    scans: &[SegmentScan],
    findings: Vec<Finding>,
    begun: Option<&Begun>,
    quarantined: Vec<PathBuf>,
) -> RecoveryReport {
    RecoveryReport {
        policy: options.recovery,
        segments: 0,
        first_lsn: None,
        last_lsn: Lsn::ZERO,
        tail: scans.last().map_or(TailState::Clean, |found| found.tail),
        copied_records: begun.map_or(0, |begun| begun.records),
        unreadable_checkpoints: survey.manifests.unreadable,
        unreadable_bytes: 0,
        damage: findings.into_iter().map(|finding| finding.damage).collect(),
        quarantined,
    }
}

/// The segments that count, up to the cut.
fn index(dir: &Path, survey: &Survey, scans: Vec<SegmentScan>, cut: Option<&Cut>) -> Index {
    let mut index = Index::default();
    for (nth, (header, mut found)) in survey.chain.iter().zip(scans).enumerate() {
        match cut {
            Some(cut) if cut.nth.is_none_or(|last| nth > last) => break,
            Some(cut) if cut.nth == Some(nth) => {
                found.end = cut.ending.data_len;
                found.frames.retain(|frame| frame.offset < found.end);
            }
            _ => {}
        }
        let path = dir.join(segment::file_name(header.segment_id));
        let (header, frames, end) = (header.clone(), found.frames, found.end);
        index.insert(Segment { header, path, file: None, frames, end });
    }
    index
}

/// Removes what does not count, and moves away what is evidence. What is left behind by a failure does not
/// count the next time either.
fn clean_up(
    dir: &Path,
    options: &WalOptions,
    survey: &Survey,
    findings: &[Finding],
    cut: Option<&Cut>,
    quarantined: &mut Vec<PathBuf>,
) -> Result<(), WalError> {
    let vfs = &*options.vfs;
    let path = |id| dir.join(segment::file_name(id));
    let mut evidence: Vec<_> = survey
        .void
        .iter()
        .filter(|void| void.is_evidence)
        .map(|void| path(void.segment_id))
        .collect();
    if !findings.is_empty() {
        // Under a policy that steps over them.
        evidence.extend(survey.unusable.iter().map(|&id| path(id)));
        if survey.manifests.readable.is_empty() {
            evidence.extend(survey.checkpoints.iter().cloned());
        }
        if let Some(cut) = cut.filter(|cut| cut.is_damage) {
            let behind = survey.chain.iter().skip(cut.nth.map_or(0, |nth| nth + 1));
            evidence.extend(behind.map(|header| path(header.segment_id)));
        }
    }
    for from in &evidence {
        quarantined.push(quarantine::move_away(vfs, dir, from)?);
    }
    if !evidence.is_empty() {
        quarantine::sync(vfs, dir)?;
    }
    let void = survey.void.iter().filter(|void| !void.is_evidence);
    let void: Vec<_> = void.map(|void| path(void.segment_id)).collect();
    for path in void.iter().chain(&survey.temporary) {
        // Best effort: neither counts, and the next opening tries again.
        let _ = vfs.remove_file(path);
    }
    Ok(())
}
