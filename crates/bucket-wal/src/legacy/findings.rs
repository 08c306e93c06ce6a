//! What a survey has to say beside the operations.

use std::fmt;
use std::path::PathBuf;

use super::line::LineError;

/// Something that whoever imports should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, when it is about one.
    pub line: Option<u64>,
    /// What it is.
    pub kind: FindingKind,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A checkpoint that cannot be read. It holds no operation.
    BadCheckpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// A line that holds no operation.
    BadLine(LineError),
    /// No state of the segment has the checksum that its checkpoint gives: its lines may have been
    /// changed. They were kept.
    Changed,
    /// A number that was given before, with other content. Both were kept.
    Conflict {
        /// The number.
        sequence_number: u64,
    },
    /// The same line again. It was kept once.
    Duplicate {
        /// The number.
        sequence_number: u64,
    },
    /// The segment grew after its checkpoint, for which the original would have dropped it whole. Its
    /// operations were kept.
    Grown {
        /// How many operations the segment has.
        operations: u64,
    },
    /// Numbers that are in no segment.
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The last line is whole but for its end. It was kept.
    NoLineEnd,
    /// Python reads the line and strict readers of JSON do not: it has `NaN`, an infinity, or half a
    /// surrogate pair. It was kept as it is.
    NotStrict,
    /// The original began to count again, as it did after having been opened twice without an append.
    /// What it wrote then comes after what it wrote before.
    Restarted,
    /// A checkpoint is about a segment that is not there.
    SegmentGone {
        /// The name of the segment.
        name: String,
    },
    /// A segment by its name that is no regular file. It was not read.
    Skipped,
    /// The last line was interrupted.
    Torn(LineError),
    /// A file that is no segment by its name. It was not read.
    Unknown,
}

impl FindingKind {
    /// True when something could not be brought over, or cannot be vouched for.
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::BadLine(_)
            | Self::Changed
            | Self::Missing { .. }
            | Self::SegmentGone { .. }
            | Self::Skipped
            | Self::Torn(_) => true,
            Self::BadCheckpoint { .. }
            | Self::Conflict { .. }
            | Self::Duplicate { .. }
            | Self::Grown { .. }
            | Self::NoLineEnd
            | Self::NotStrict
            | Self::Restarted
            | Self::Unknown => false,
        }
    }

    /// A short name for machines.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BadCheckpoint { .. } => "bad_checkpoint",
            Self::BadLine(_) => "bad_line",
            Self::Changed => "changed",
            Self::Conflict { .. } => "conflict",
            Self::Duplicate { .. } => "duplicate",
            Self::Grown { .. } => "grown",
            Self::Missing { .. } => "missing",
            Self::NoLineEnd => "no_line_end",
            Self::NotStrict => "not_strict",
            Self::Restarted => "restarted",
            Self::SegmentGone { .. } => "segment_gone",
            Self::Skipped => "skipped",
            Self::Torn(_) => "torn",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCheckpoint { reason } => write!(f, "the checkpoint cannot be read: {reason}"),
            Self::BadLine(error) => write!(f, "not brought over: {error}"),
            Self::Changed => f.write_str(
                "no state of the segment has the checksum of its checkpoint, so lines may have been \
                 changed; what can be read was kept",
            ),
            Self::Conflict { sequence_number } => {
                write!(f, "{sequence_number} was given before, with other content; both were kept")
            }
            Self::Duplicate { sequence_number } => {
                write!(f, "{sequence_number} again, with the same content; kept once")
            }
            Self::Grown { operations } => write!(
                f,
                "segment grew after its checkpoint: {operations} operations that the original would \
                 have dropped were kept"
            ),
            Self::Missing { first, last } if first == last => {
                write!(f, "operation {first} is in no segment")
            }
            Self::Missing { first, last } => {
                write!(f, "operations {first} to {last} are in no segment")
            }
            Self::NoLineEnd => f.write_str("the last line is whole but for its end; kept"),
            Self::NotStrict => f.write_str("Python reads this and strict JSON readers do not; kept"),
            Self::Restarted => f.write_str(
                "the original began to count again; what follows comes after what it wrote before",
            ),
            Self::SegmentGone { name } => write!(f, "its segment {name} is not there"),
            Self::Skipped => f.write_str("no regular file; not read"),
            Self::Torn(error) => write!(f, "the last line was interrupted: {error}"),
            Self::Unknown => f.write_str("no segment by its name; not read"),
        }
    }
}
