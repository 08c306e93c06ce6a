//! [`Checkpoint`]: what a log keeps for its application, and [`CheckpointPolicy`]: when it takes one by
//! itself.

use std::fmt;
use std::time::{Duration, SystemTime};

use bucket_core::ByteCount;

#[cfg(feature = "serde")]
use crate::config::CheckpointBounds;
use crate::error::WalError;
use crate::lsn::Lsn;
use crate::manifest::{MAX_STATE_LEN, MAX_URI_LEN, Manifest, Sum};
use crate::options::InvalidOptions;
use crate::sync::Arc;

/// A checkpoint that was taken and can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Counts the checkpoints of the log, from 1.
    pub generation: u64,
    /// Replay starts at this record.
    pub replay_from: Lsn,
    /// The newest record that was durable when the checkpoint was taken.
    pub durable_lsn: Lsn,
    /// When it was taken, by the clock of the machine.
    pub taken: SystemTime,
    /// What the application stored with it.
    pub state: CheckpointState,
}

/// What an application stores with a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointState {
    /// Nothing.
    #[default]
    None,
    /// Up to 1 MiB, in the checkpoint itself.
    Inline(Vec<u8>),
    /// Something that the application keeps elsewhere, durable before the checkpoint is taken.
    Reference {
        /// Where; up to 4 KiB, and nothing to the log.
        uri: String,
        /// How long it is, in bytes.
        len: u64,
        /// Its SHA-256.
        sha256: [u8; 32],
    },
}

impl CheckpointState {
    /// A state that the application keeps elsewhere.
    pub fn reference(uri: impl Into<String>, len: u64, sha256: [u8; 32]) -> Self {
        Self::Reference { uri: uri.into(), len, sha256 }
    }

    /// What was stored inline; empty when nothing was.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::None | Self::Reference { .. } => &[],
        }
    }

    /// Fails when it is too long for a checkpoint.
    pub(crate) fn check(&self) -> Result<(), WalError> {
        let (len, max) = match self {
            Self::None => (0, 0),
            Self::Inline(bytes) => (bytes.len(), MAX_STATE_LEN),
            Self::Reference { uri, .. } => (uri.len(), MAX_URI_LEN),
        };
        if len > max { Err(WalError::RecordTooLarge { len, max }) } else { Ok(()) }
    }

    pub(crate) fn encoded(&self) -> Encoded<'_> {
        let inline =
            |kind, bytes| Encoded { kind, bytes, referenced_len: 0, referenced_sum: [0; 32] };
        match self {
            Self::None => inline(0, &[]),
            Self::Inline(bytes) => inline(1, bytes),
            Self::Reference { uri, len, sha256 } => Encoded {
                kind: 2,
                bytes: uri.as_bytes(),
                referenced_len: *len,
                referenced_sum: *sha256,
            },
        }
    }

    pub(crate) fn decode(kind: u8, bytes: &[u8], referenced: (u64, Sum)) -> Option<Self> {
        let state = match kind {
            0 if bytes.is_empty() => Self::None,
            1 => Self::Inline(bytes.to_vec()),
            2 => {
                let uri = String::from_utf8(bytes.to_vec()).ok()?;
                Self::Reference { uri, len: referenced.0, sha256: referenced.1 }
            }
            _ => return None,
        };
        state.check().ok().map(|()| state)
    }
}

/// The parts of a state in a manifest.
pub(crate) struct Encoded<'a> {
    pub(crate) kind: u8,
    pub(crate) bytes: &'a [u8],
    pub(crate) referenced_len: u64,
    pub(crate) referenced_sum: Sum,
}

/// Inline; nothing at all when it is empty.
impl From<Vec<u8>> for CheckpointState {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::None } else { Self::Inline(bytes) }
    }
}

impl From<&[u8]> for CheckpointState {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for CheckpointState {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&Manifest> for Checkpoint {
    fn from(manifest: &Manifest) -> Self {
        Self {
            generation: manifest.generation,
            replay_from: Lsn::new(manifest.replay_from),
            durable_lsn: Lsn::new(manifest.durable_lsn),
            taken: time_of(manifest.taken),
            state: manifest.state.clone(),
        }
    }
}

/// The moment that many milliseconds after 1970; 1970 when no clock can say so.
pub(crate) fn time_of(unix_ms: u64) -> SystemTime {
    let since = Duration::from_millis(unix_ms);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When a log takes checkpoints by itself: as soon as one of the bounds is reached by what became
/// durable since the last one.
///
/// Nothing happens while nothing changes: an idle log takes none, whatever its age.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use bucket_core::ByteCount;
/// use bucket_wal::CheckpointPolicy;
///
/// let policy = CheckpointPolicy::never()
///     .records(1_000)?
///     .bytes(ByteCount::mib(8))?
///     .interval(Duration::from_secs(60))?;
/// # let _ = policy;
/// # Ok::<(), bucket_wal::InvalidOptions>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "CheckpointBounds", try_from = "CheckpointBounds"))]
pub struct CheckpointPolicy {
    pub(crate) records: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) interval: Option<Duration>,
}

impl CheckpointPolicy {
    /// Only when asked to.
    pub const fn never() -> Self {
        Self { records: None, bytes: None, interval: None }
    }

    /// What a log with a lifecycle does when it is told nothing else: after 10 000 records or 16 MiB.
    pub(crate) const fn of_lifecycle() -> Self {
        Self { records: Some(10_000), bytes: Some(16 << 20), interval: None }
    }

    /// After this many records.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::Checkpoints`] for 0.
    pub const fn records(mut self, records: u64) -> Result<Self, InvalidOptions> {
        if records == 0 {
            return Err(InvalidOptions::Checkpoints { rule: "records must be at least 1" });
        }
        self.records = Some(records);
        Ok(self)
    }

    /// After records with this much content.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::Checkpoints`] for 0.
    pub fn bytes(mut self, bytes: ByteCount) -> Result<Self, InvalidOptions> {
        if bytes.get() == 0 {
            return Err(InvalidOptions::Checkpoints { rule: "bytes must be at least 1" });
        }
        self.bytes = Some(bytes.get());
        Ok(self)
    }

    /// This long after the first record since the last checkpoint.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions::Checkpoints`] for zero.
    pub const fn interval(mut self, interval: Duration) -> Result<Self, InvalidOptions> {
        if interval.is_zero() {
            return Err(InvalidOptions::Checkpoints { rule: "interval must be above zero" });
        }
        self.interval = Some(interval);
        Ok(self)
    }
}

/// Where automatic checkpoints of a log without a lifecycle get their content from.
#[derive(Clone)]
pub(crate) struct Source(pub(crate) Arc<SourceFn>);

type SourceFn = dyn Fn() -> Option<(Lsn, CheckpointState)> + Send + Sync;

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}
