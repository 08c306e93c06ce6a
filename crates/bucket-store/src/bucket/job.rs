//! What goes into the drain engine and comes out: operations, work, outcomes.

use std::time::Duration;

use bucket_core::{OpId, Tick};
use bucket_remote::{Digest, Key, RemoteErrorKind, Version};
use bucket_wal::Lsn;

/// An accepted operation that the remote does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) lsn: Lsn,
    pub(crate) op_id: OpId,
    pub(crate) change: PendingChange,
    pub(crate) accepted: Tick,
    /// What the operation counts against the bounds.
    pub(crate) cost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PendingChange {
    Put {
        digest: Digest,
        len: u64,
        /// The file with the content; `None` when it is in the log record.
        blob: Option<String>,
    },
    Delete,
}

/// What is believed to be at the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    Absent,
    #[default]
    Unknown,
    Version(Version),
}

/// Work for a driver.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) op: Op,
    pub(crate) known: Known,
    /// Look before sending: an earlier attempt, perhaps of an earlier process, may have succeeded.
    pub(crate) verify: bool,
    /// Do not send: only look whether the remote still has what it was given.
    pub(crate) confirm: bool,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    Start(Box<Job>),
    /// Nothing before this time, unless something is accepted or completed.
    Wait(Option<Tick>),
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The remote has it; `conditional` when a late duplicate of an earlier attempt would be refused.
    Applied { now_known: Known, conditional: bool },
    /// A look found that the remote does not have it (any more).
    Unconfirmed { now_known: Known },
    /// It may have been applied, or may still be.
    Ambiguous,
    /// It failed for now, definitely.
    Failed { retry_after: Option<Duration> },
    /// The remote as a whole is not to be asked before this much time has passed.
    Park { retry_in: Duration, reason: Parked },
    /// This operation cannot reach the remote, now and until something changes.
    Refused { why: Refusal },
}

/// Why an operation cannot reach the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What is on the local disk is not what was accepted, or is not there.
    ContentGone,
    /// The remote refuses it, and will again.
    Remote(RemoteErrorKind),
}

impl Refusal {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ContentGone => "content_gone",
            Self::Remote(kind) => kind.name(),
        }
    }
}

impl Outcome {
    /// What went wrong, for people.
    pub(crate) fn complaint(&self) -> Option<String> {
        Some(match self {
            Self::Applied { .. } => return None,
            Self::Unconfirmed { .. } => "a late request undid it; it is sent again".into(),
            Self::Ambiguous => "no answer came; the remote is asked before it is sent again".into(),
            Self::Failed { .. } => "the remote failed for now".into(),
            Self::Park { reason, .. } => reason.to_string(),
            Self::Refused { why: Refusal::Remote(kind) } => {
                format!("the remote refuses it ({})", kind.name())
            }
            Self::Refused { why: Refusal::ContentGone } => {
                "its content is not what was accepted any more; put or delete the key again".into()
            }
        })
    }
}

/// Why draining is held back as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parked {
    /// The remote refuses the credentials.
    Auth,
    /// The circuit breaker is open.
    BreakerOpen,
    /// The remote is full.
    Quota,
}

/// An operation that is done with, as soon as the log says so: until [`Engine::settled`](super::engine::Engine::settled) it counts.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) key: Key,
    pub(crate) op: Op,
    /// `None` when a newer operation replaced it before it was sent.
    pub(crate) known: Option<Known>,
}
