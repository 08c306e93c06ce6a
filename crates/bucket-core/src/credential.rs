//! [`CredentialSource`]: how a remote gets a secret without knowing where it is kept.
//!
//! A lease is handed out, used through a closure, and given back by dropping it. The trait carries no
//! secret type of its own, so that the one that zeroizes can stay in the crate that owns secrets.

use std::fmt;
use std::time::SystemTime;

use crate::{Class, Classified};

/// A leased secret.
pub trait Credential: Send + Sync {
    /// The version of the secret; a rotation raises it.
    fn version(&self) -> u64;

    /// When the lease ends; ask for a new one before that. `None` means no end is known.
    fn valid_until(&self) -> Option<SystemTime>;

    /// Lends the secret to `use_it`, which must not keep a copy.
    fn expose(&self, use_it: &mut dyn FnMut(&[u8]));
}

/// A place that secrets are leased from, by name.
///
/// Implementations audit once a lease, not once a use, and fall back to the last good value when
/// their own storage fails, so that a full disk does not lock a drain out of its remote.
pub trait CredentialSource: fmt::Debug + Send + Sync {
    /// Leases the current version of the secret called `name`.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] says whether the name is unknown, access was refused, the secret has
    /// expired, or the source cannot answer now.
    fn lease(&self, name: &str) -> Result<Box<dyn Credential>, CredentialError>;
}

/// Why no lease was given. Carries the name that was asked for and never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CredentialError {
    /// What went wrong.
    pub kind: CredentialErrorKind,
    /// The name that was asked for.
    pub name: String,
}

/// The kinds of [`CredentialError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialErrorKind {
    /// The caller may not read this secret.
    Denied,
    /// The secret has expired; rotate it.
    Expired,
    /// No secret has this name.
    NotFound,
    /// The source cannot answer now; asking again may help.
    Unavailable,
}

impl CredentialError {
    /// An error of this kind about the secret called `name`.
    pub fn new(kind: CredentialErrorKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl Classified for CredentialError {
    fn class(&self) -> Class {
        match self.kind {
            CredentialErrorKind::Unavailable => Class::Unavailable { after: None },
            _ => Class::Permanent,
        }
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            CredentialErrorKind::Denied => "access is denied",
            CredentialErrorKind::Expired => "it has expired; rotate it",
            CredentialErrorKind::NotFound => "no secret has this name",
            CredentialErrorKind::Unavailable => "the secret store cannot answer now",
        };
        write!(f, "no credential {:?}: {what}", self.name)
    }
}

impl std::error::Error for CredentialError {}
