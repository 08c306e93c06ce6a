//! [`Format`]: with what the files of a log are written.
//!
//! A feature that older versions cannot read stays off until [`Wal::finalize`] turns it on, so that one can
//! go back to them until then. What is on is said by the files of the log, in every header and checkpoint
//! from then on, and never by the version that opens it.

use std::fmt;

use crate::error::WalError;
use crate::wal::Wal;

/// The format that a log is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Format {
    /// The version. Another one is another log.
    pub major: u16,
    /// The features that are turned on and that a version has to know to open the log, a bit for each. This
    /// version knows none.
    pub features: u32,
}

impl Format {
    pub(crate) const fn new(features: Features) -> Self {
        Self { major: MAJOR, features: features.0 }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "format {}", self.major)?;
        if self.features == 0 { Ok(()) } else { write!(f, " with features {:#x}", self.features) }
    }
}

impl Wal {
    /// The format that the log is written in.
    pub fn format(&self) -> Format {
        Format::new(self.shared.features())
    }

    /// Turns on all features of the format that this version knows, durably. Older versions refuse the log
    /// from then on, with [`WalError::UnsupportedFormat`], and there is no way back.
    ///
    /// A new version writes what the one before can read until this is called: call it once nobody will go
    /// back. Begins a segment, and takes the newest checkpoint once more, if there is one. Without a new
    /// feature nothing happens; this version has none.
    ///
    /// # Errors
    ///
    /// [`WalError::NoSpace`] and [`WalError::Io`]: [`Wal::format`] says whether they are on; call it again.
    /// [`WalError::Poisoned`]: they may be on after reopening. [`WalError::Closed`].
    pub fn finalize(&self) -> Result<(), WalError> {
        self.shared.finalize()
    }
}

/// A set of features that a version has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features(u32);

impl Features {
    /// None.
    pub(crate) const NONE: Self = Self(0);
    /// Those that this version knows.
    pub(crate) const KNOWN: Self = Self::NONE;

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn are_all_in(self, known: Self) -> bool {
        self.0 & !known.0 == 0
    }
}

/// The only version so far.
pub(crate) const MAJOR: u16 = 1;
