//! [`Durability`]: the answer to the question that every failed write raises.

use std::fmt;

/// Is the data safe? Every error of the log, the store and the secrets answers this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// It was not accepted and will not appear. Nothing that was acknowledged before is affected.
    NotAccepted,
    /// It was acknowledged and is on stable storage; the failure came afterwards, or elsewhere.
    Safe,
    /// It was not acknowledged and may still appear, for example after a restart.
    Unknown,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAccepted => "not accepted; nothing acknowledged before is affected",
            Self::Safe => "acknowledged data is safe",
            Self::Unknown => "not acknowledged; it may or may not appear",
        })
    }
}
