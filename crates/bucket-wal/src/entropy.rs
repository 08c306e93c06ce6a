//! [`Entropy`]: where identities and salts come from.

use std::io;
use std::path::Path;

use crate::error::WalError;
#[cfg(test)]
use crate::sync::{Arc, AtomicU64, Ordering};

/// A source of random bits: the system, or a counter for tests that must see the same files twice.
#[derive(Clone, Debug, Default)]
pub(crate) enum Entropy {
    #[default]
    System,
    #[cfg(test)]
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
            #[cfg(test)]
            Self::Counter(counter) => {
                let n = counter.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                bytes.iter_mut().zip(n).for_each(|(byte, n)| *byte = n);
            }
        }
        Ok(bytes)
    }
}
