//! [`Entropy`]: where identities and salts come from.

use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bucket_core::{Clock, SystemClock};

use crate::error::WalError;
#[cfg(any(test, fuzzing))]
use crate::sync::{Arc, AtomicU64, Ordering};

/// A source of random bits: the system, or a counter for tests that must see the same files twice.
#[derive(Clone, Debug, Default)]
pub(crate) enum Entropy {
    #[default]
    System,
    #[cfg(any(test, fuzzing))]
    Counter(Arc<AtomicU64>),
}

impl Entropy {
    pub(crate) fn bytes<const N: usize>(&self) -> Result<[u8; N], WalError> {
        let mut bytes = [0; N];
        match self {
            Self::System => {
                use rand::TryRng;
                rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
                    let source = io::Error::other(error.to_string());
                    WalError::io("read random bytes for", Path::new("a new segment"), source)
                })?;
            }
            #[cfg(any(test, fuzzing))]
            Self::Counter(counter) => {
                let n = counter.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                bytes.iter_mut().zip(n).for_each(|(byte, n)| *byte = n);
            }
        }
        Ok(bytes)
    }

    /// The time, in milliseconds since 1970, for what is stored for people to read. Of a counter, which
    /// has to give the same files each time, always the same.
    pub(crate) fn unix_ms(&self) -> u64 {
        match self {
            Self::System => {
                let since = SystemClock::new().wall().duration_since(UNIX_EPOCH);
                since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            #[cfg(any(test, fuzzing))]
            Self::Counter(_) => 1_700_000_000_000,
        }
    }
}
