//! What a commit did, or why it did not: [`Committed`] and [`CommitError`].

use std::io;
use std::path::Path;

use bucket_vfs::VfsFile;

use crate::error::WalError;
use crate::scan::FrameRef;
use crate::segment::Header;
use crate::sync::Arc;

/// What a commit did.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The segment that was begun for it, if one was.
    pub(crate) new_segment: Option<NewSegment>,
    pub(crate) frames: Vec<FrameRef>,
    /// Where the segment ends now.
    pub(crate) end: u64,
}

/// A segment that was begun.
pub(crate) type NewSegment = (Header, Arc<dyn VfsFile>);

/// Why a commit did not happen.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Nothing of the group was written; the log goes on.
    NotWritten(WalError),
    /// The group may be on disk in part; the log must not go on.
    Poisoned(Arc<io::Error>),
}

impl CommitError {
    /// What the log is poisoned with.
    pub(crate) fn source(&self) -> Arc<io::Error> {
        match self {
            Self::Poisoned(source) => Arc::clone(source),
            // What was accepted has no other way to fail.
            Self::NotWritten(error) => Arc::new(io::Error::other(error.clone())),
        }
    }

    /// As an error of whoever is not committing.
    pub(crate) fn at(self, dir: &Path) -> WalError {
        match self {
            Self::NotWritten(error) => error,
            Self::Poisoned(source) => WalError::Io { op: "sync", path: dir.to_owned(), source },
        }
    }
}

pub(super) fn poisoned(error: io::Error) -> CommitError {
    CommitError::Poisoned(Arc::new(error))
}
