//! [`RecoveryReport`]: what opening found, for people.

use std::fmt;
use std::path::PathBuf;

use crate::error::WalError;
use crate::lsn::Lsn;
use crate::options::RecoveryPolicy;

/// What recovery found, for a person to read: print it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecoveryReport {
    /// What was to be done about damage.
    pub policy: RecoveryPolicy,
    /// Segments that count.
    pub segments: usize,
    /// The first record that is there, if any.
    pub first_lsn: Option<Lsn>,
    /// The newest record that is there; [`Lsn::ZERO`] for an empty log.
    pub last_lsn: Lsn,
    /// How the newest segment ended.
    pub tail: TailState,
    /// Records that nothing vouched for, and that were copied and synced before they were exposed.
    pub copied_records: u64,
    /// Checkpoints that could not be read; an older one was used.
    pub unreadable_checkpoints: usize,
    /// Bytes that the file system could not read, in whole blocks; 0 under [`RecoveryPolicy::Strict`],
    /// which refuses to open then. The log may have needed none of them: what it did is in `damage`.
    pub unreadable_bytes: u64,
    /// What is damaged. Empty under [`RecoveryPolicy::Strict`].
    pub damage: Vec<Damage>,
    /// Where the damaged files were kept, before anything made them void.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::config::paths"))]
    pub quarantined: Vec<PathBuf>,
}

/// How the newest segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TailState {
    /// At a record.
    Clean,
    /// In damage that an interrupted write does not explain.
    Damaged,
    /// In an interrupted write, of which nothing was acknowledged.
    Torn,
}

/// A place that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::config::path"))]
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What does not hold.
    pub kind: DamageKind,
    /// The first record that is affected.
    pub first_lsn: Lsn,
    /// How many records are known to be lost; 0 when nobody can tell.
    pub records: u64,
}

/// What does not hold at a damaged place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DamageKind {
    /// The records before it are not those that the next segment follows.
    Chain,
    /// No checkpoint can be read.
    Checkpoint,
    /// No valid frame where one was durable.
    Frame,
    /// The header of the segment.
    Header,
    /// The segment belongs to another log, or names another predecessor.
    Identity,
    /// The segment is gone.
    Missing,
    /// A frame with the wrong record number.
    Order,
    /// The content of single records.
    Record,
    /// The newest record.
    Tail,
}

impl Damage {
    /// The error that opening fails with because of it.
    pub(crate) fn error(&self, segment_id: u64) -> WalError {
        let (path, offset, kind) = (self.path.clone(), self.offset, self.kind);
        let first_lsn = self.first_lsn;
        match kind {
            DamageKind::Missing => WalError::MissingSegment { path, segment_id },
            DamageKind::Tail => WalError::DamagedTail { path, offset, first_lsn },
            _ => WalError::Corrupt { path, offset, kind, first_lsn },
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, kind, first) = (self.path.display(), self.kind, self.first_lsn);
        write!(f, "{path}: byte {}: {kind}", self.offset)?;
        if first > Lsn::ZERO {
            write!(f, ", from record {first}")?;
        }
        if self.records > 0 {
            write!(f, ", {} lost", self.records)?;
        }
        Ok(())
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "the records before it are others than the next segment follows",
            Self::Checkpoint => "no checkpoint can be read",
            Self::Frame => "no valid frame where one was durable",
            Self::Header => "the header does not validate",
            Self::Identity => "it belongs to another log",
            Self::Missing => "the file is gone",
            Self::Order => "a record number is out of order",
            Self::Record => "the content of a record does not validate",
            Self::Tail => "the newest record does not validate",
        })
    }
}

impl RecoveryReport {
    /// True when nothing is damaged. An interrupted write at the end is not damage.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.unreadable_checkpoints == 0
    }

    /// How many records are known to be lost. Where nobody can tell how many there were, none count.
    pub fn damaged_records(&self) -> u64 {
        self.damage.iter().map(|damage| damage.records).sum()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segments", self.segments)?;
        if let Some(first) = self.first_lsn {
            write!(f, ", records {first} to {}", self.last_lsn)?;
        }
        match self.tail {
            TailState::Clean => {}
            TailState::Damaged => f.write_str(", damaged tail")?,
            TailState::Torn => f.write_str(", torn tail (nothing in it was acknowledged)")?,
        }
        if self.copied_records > 0 {
            write!(f, ", {} newest records copied and synced", self.copied_records)?;
        }
        if self.unreadable_checkpoints > 0 {
            write!(f, ", {} unreadable checkpoints", self.unreadable_checkpoints)?;
        }
        if self.unreadable_bytes > 0 {
            write!(f, ", {} bytes could not be read", self.unreadable_bytes)?;
        }
        for damage in &self.damage {
            write!(f, "\n{damage}")?;
        }
        for path in &self.quarantined {
            write!(f, "\nkept as {}", path.display())?;
        }
        Ok(())
    }
}
