//! [`ConfigError`]: a scenario that cannot be run.

use bucket_core::{Class, Classified};

/// A configuration that no scenario can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value lies outside its bounds, or contradicts another.
    #[error("{field} must be {rule}")]
    Invalid {
        /// The field, as its method is called.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl ConfigError {
    /// The field that was refused, as its method is called.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Invalid { field, .. } => field,
        }
    }
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        Class::Permanent
    }
}

pub(crate) const fn refuse<T>(field: &'static str, rule: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid { field, rule })
}
