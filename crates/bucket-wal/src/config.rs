//! [`WalConfig`]: what of the options can stand in a file, with the feature `serde`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bucket_core::ByteCount;
use serde::{Deserialize, Serialize, Serializer};

use crate::checkpoint::CheckpointPolicy;
use crate::options::{
    InvalidOptions, RecoveryPolicy, SyncPolicy, VerifyOnOpen, WalOptions, default_threads,
};
use crate::sync_method::SyncMethod;

/// The part of [`WalOptions`] that can stand in a file: everything but what is code.
///
/// Sizes are numbers of bytes or texts such as `"64 MiB"`, spans of time are texts such as `"250 ms"`,
/// with the units `ns`, `us`, `ms`, `s`, `min` and `h`. What is left out has its default; a field that
/// does not exist is refused. [`WalOptions::from_config`] checks the values as the builder does.
///
/// # Examples
///
/// ```
/// use bucket_wal::{WalConfig, WalOptions};
///
/// let config: WalConfig = serde_json::from_str(
///     r#"{
///         "segment_size": "16 MiB",
///         "sync_policy": { "batch": { "records": 100, "bytes": "1 MiB", "delay": "5 ms" } },
///         "checkpoints": { "records": 1000, "interval": "1 min" },
///         "recovery": "salvage"
///     }"#,
/// )?;
/// # let dir = tempfile::tempdir()?;
/// let (wal, _) = WalOptions::from_config(&config)?.open(dir.path().join("log"))?;
/// # drop(wal);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WalConfig {
    /// [`WalOptions::segment_size`].
    #[serde(with = "size")]
    pub segment_size: ByteCount,
    /// [`WalOptions::sync_policy`].
    pub sync_policy: SyncPolicy,
    /// [`WalOptions::sync_method`]; `None` for what was tuned, or the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_method: Option<SyncMethod>,
    /// [`WalOptions::write_through`].
    pub write_through: bool,
    /// [`WalOptions::recovery`].
    pub recovery: RecoveryPolicy,
    /// [`WalOptions::recovery_threads`]; `None` for as many as suit the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_threads: Option<usize>,
    /// [`WalOptions::verify_on_open`].
    pub verify_on_open: VerifyOnOpen,
    /// [`WalOptions::backup_before_repair`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_before_repair: Option<PathBuf>,
    /// [`WalOptions::lifecycle`].
    pub lifecycle: bool,
    /// [`WalOptions::checkpoints`]; `None` for what suits the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointPolicy>,
    /// [`WalOptions::keep_checkpoints`].
    pub keep_checkpoints: usize,
    /// [`WalOptions::housekeeping_by_hand`].
    pub housekeeping_by_hand: bool,
    /// [`WalOptions::spare_segments`].
    pub spare_segments: usize,
    /// [`WalOptions::fill_spare_segments`].
    pub fill_spare_segments: bool,
    /// [`WalOptions::reserve_files`].
    pub reserve_files: bool,
}

impl Default for WalConfig {
    /// The defaults of [`WalOptions`].
    fn default() -> Self {
        WalOptions::new().config()
    }
}

impl WalOptions {
    /// Options with what the configuration says, and the defaults for what cannot stand there.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`] for the first value that is outside its bounds.
    pub fn from_config(config: &WalConfig) -> Result<Self, InvalidOptions> {
        let mut options = Self::new()
            .segment_size(config.segment_size)?
            .sync_policy(config.sync_policy)?
            .write_through(config.write_through)
            .recovery(config.recovery)
            .verify_on_open(config.verify_on_open)
            .lifecycle(config.lifecycle)
            .keep_checkpoints(config.keep_checkpoints)?
            .housekeeping_by_hand(config.housekeeping_by_hand)
            .spare_segments(config.spare_segments)?
            .fill_spare_segments(config.fill_spare_segments)
            .reserve_files(config.reserve_files);
        if let Some(threads) = config.recovery_threads {
            options = options.recovery_threads(threads)?;
        }
        options.sync_method = config.sync_method;
        options.checkpoint_policy = config.checkpoints;
        options.backup.clone_from(&config.backup_before_repair);
        Ok(options)
    }

    /// What of the options can stand in a file. Reading it back gives the same options, save what is
    /// code: the files, the archive, the source of checkpoints and the holder's name.
    pub fn config(&self) -> WalConfig {
        WalConfig {
            segment_size: ByteCount::new(self.segment_bytes),
            sync_policy: self.sync_policy,
            sync_method: self.sync_method,
            write_through: self.write_through,
            recovery: self.recovery,
            recovery_threads: Some(self.recovery_threads).filter(|n| *n != default_threads()),
            verify_on_open: self.verify,
            backup_before_repair: self.backup.clone(),
            lifecycle: self.lifecycle,
            checkpoints: self.checkpoint_policy,
            keep_checkpoints: self.keep_checkpoints,
            housekeeping_by_hand: self.housekeeping_by_hand,
            spare_segments: self.spare_segments,
            fill_spare_segments: self.fill_spares,
            reserve_files: self.reserve_files,
        }
    }
}

/// A [`CheckpointPolicy`] before it was checked.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CheckpointBounds {
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(with = "optional_size", skip_serializing_if = "Option::is_none")]
    bytes: Option<ByteCount>,
    #[serde(with = "optional_span", skip_serializing_if = "Option::is_none")]
    interval: Option<Duration>,
}

impl From<CheckpointPolicy> for CheckpointBounds {
    fn from(policy: CheckpointPolicy) -> Self {
        let CheckpointPolicy { records, bytes, interval } = policy;
        Self { records, bytes: bytes.map(ByteCount::new), interval }
    }
}

impl TryFrom<CheckpointBounds> for CheckpointPolicy {
    type Error = InvalidOptions;

    fn try_from(bounds: CheckpointBounds) -> Result<Self, InvalidOptions> {
        let mut policy = Self::never();
        if let Some(records) = bounds.records {
            policy = policy.records(records)?;
        }
        if let Some(bytes) = bounds.bytes {
            policy = policy.bytes(bytes)?;
        }
        if let Some(interval) = bounds.interval {
            policy = policy.interval(interval)?;
        }
        Ok(policy)
    }
}

/// A size: a number of bytes, or a text such as `64 MiB`.
pub(crate) mod size {
    use bucket_core::ByteCount;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size: a number of bytes or a text such as \"64 MiB\"")]
    enum Size {
        Number(u64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(size: &ByteCount, to: S) -> Result<S::Ok, S::Error> {
        let text = size.to_string();
        // Sizes that are no round number of units print rounded.
        if text.parse() == Ok(*size) {
            to.serialize_str(&text)
        } else {
            to.serialize_u64(size.get())
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ByteCount, D::Error> {
        match Size::deserialize(from)? {
            Size::Number(bytes) => Ok(ByteCount::new(bytes)),
            Size::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// A span of time: a whole number and a unit.
pub(crate) mod span {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Units with their length in nanoseconds, the shortest first.
    const UNITS: [(&str, u128); 6] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let nanos = span.as_nanos();
        let fits = |unit: &&(&str, u128)| unit.1 == 1 || nanos > 0 && nanos.is_multiple_of(unit.1);
        let (unit, len) = UNITS.iter().rev().find(fits).copied().unwrap_or(UNITS[0]);
        to.serialize_str(&format!("{} {unit}", nanos / len))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| {
            let hint = "write a whole number and ns, us, ms, s, min or h, such as \"250 ms\"";
            D::Error::custom(format_args!("{text:?} is not a span of time: {hint}"))
        })
    }

    pub(super) fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(split);
        let (_, len) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let nanos = number.parse::<u128>().ok()?.checked_mul(*len)?;
        let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
        Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
    }
}

/// The same as [`size`], where it may be left out.
mod optional_size {
    use bucket_core::ByteCount;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Given(#[serde(with = "super::size")] ByteCount);

    pub(super) fn serialize<S: Serializer>(
        size: &Option<ByteCount>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        size.map(Given).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<ByteCount>, D::Error> {
        Ok(Option::<Given>::deserialize(from)?.map(|given| given.0))
    }
}

/// The same as [`span`], where it may be left out.
mod optional_span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Given(#[serde(with = "super::span")] Duration);

    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(Given).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Given>::deserialize(from)?.map(|given| given.0))
    }
}

/// A path in a report, as people read it: one that is no text is still reported.
pub(crate) fn path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

/// As [`path`].
#[expect(clippy::ptr_arg, reason = "as the field is")]
pub(crate) fn paths<S: Serializer>(paths: &Vec<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

/// An age in statistics, in seconds.
pub(crate) fn seconds<S: Serializer>(age: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    age.map(|age| age.as_secs_f64()).serialize(to)
}
