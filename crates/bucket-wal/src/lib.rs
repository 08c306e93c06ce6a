#![doc = include_str!("../README.md")]
#![cfg_attr(bucket_docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod archive;
mod checkpoint;
mod commit;
#[cfg(feature = "serde")]
mod config;
mod draft;
mod entropy;
mod error;
mod format;
mod frame;
#[cfg(any(all(test, not(bucket_loom)), fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod inspect;
mod keep;
#[cfg(feature = "legacy")]
pub mod legacy;
mod lenient;
mod lifecycle;
mod lsn;
mod manifest;
mod medium;
mod options;
mod planted;
mod range_hash;
mod reader;
mod recovery;
mod replay;
mod reserve;
mod scan;
mod seal;
mod segment;
mod spares;
mod stats;
mod sync;
mod sync_method;
mod tail;
mod telemetry;
mod tuning;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

// The public interface is:
pub use archive::{ArchiveDir, ArchiveSink, SealedSegment};
pub use checkpoint::{Checkpoint, CheckpointPolicy, CheckpointState};
pub use commit::Ticket;
#[cfg(feature = "serde")]
pub use config::WalConfig;
pub use error::WalError;
pub use format::Format;
pub use frame::RecordKind;
pub use inspect::{CheckpointFile, Inspection, SegmentEnd, SegmentFile, SegmentHeader, Verdict};
pub use lifecycle::PendingRecords;
pub use lsn::Lsn;
pub use options::{InvalidOptions, RecoveryPolicy, SyncPolicy, VerifyOnOpen, WalOptions};
#[cfg(bucket_planted)]
#[doc(hidden)]
pub use planted::Bug;
pub use range_hash::RangeHash;
pub use reader::{Follower, Reader, Record, RecordRef};
pub use recovery::{Damage, DamageKind, Recovery, RecoveryReport, TailState};
pub use replay::{Replay, ReplayError, ReplayProgress, Replayed};
pub use stats::WalStats;
pub use sync_method::SyncMethod;
pub use tail::{Changed, ReadLevel, Tail};
pub use tuning::{Tuning, TuningFigure};
pub use wal::Wal;
