//! Reading the log of `DurableWAL`, from `ipfs_kit_py`, and bringing its operations over.
//!
//! That log is a directory with `segments/wal_*.log`, one JSON object a line, and
//! `checkpoints/checkpoint_*.json`, each with the SHA-256 of a segment as it was at that moment. Its own
//! recovery leaves out every segment that grew after its first checkpoint, and everything up to the
//! newest checkpoint. [`WalOptions::survey_legacy`](crate::WalOptions::survey_legacy) finds every operation; [`Survey::import`] makes each a record of a new
//! log: the line as it was written, byte for byte, without its end. What cannot be brought over is
//! reported with file and line, never passed over.

mod findings;
mod import;
mod line;
mod segment;
mod survey;

use std::path::PathBuf;

use crate::error::WalError;

// The public interface of the module is:
pub use findings::{Finding, FindingKind};
pub use line::{Line, LineError, MAX_LINE_LEN, parse_line};
pub use survey::{LegacySegment, Survey};

/// Why the old log could not be read, or not be brought over.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegacyError {
    /// A segment is not what it was when it was surveyed: somebody still writes to the old log.
    #[error(
        "{} changed at byte {offset} since it was surveyed; stop whoever writes to the old log, \
         remove the new one, and import again",
        path.display()
    )]
    Changed {
        /// The segment.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
    },
    /// The new log, or a file of the old one, could not be read or written.
    #[error(transparent)]
    Log(#[from] WalError),
    /// There is no `segments` directory with at least one segment.
    #[error("{} is no log of DurableWAL: it has no segments/wal_*.log", path.display())]
    NotALog {
        /// The directory.
        path: PathBuf,
    },
    /// The target has content. Nothing was changed.
    #[error(
        "{} is not empty ({found}) and was not changed; name a new directory, or remove it if an \
         interrupted import left it",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: String,
    },
}
