//! [`OpKind`] and [`OpId`]: what an operation is for, and which one it is.

use std::fmt;
use std::str::FromStr;

/// The kinds of storage operations that policies tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpKind {
    /// Removes an object.
    Delete,
    /// Lists objects.
    List,
    /// Pins or unpins content.
    Pin,
    /// Reads an object or its description.
    Read,
    /// Writes an object.
    Write,
}

impl OpKind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 5] = [Self::Delete, Self::List, Self::Pin, Self::Read, Self::Write];

    /// The name, in lower case, as configuration, metrics and messages spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::List => "list",
            Self::Pin => "pin",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// True for operations that change what the remote holds.
    pub const fn is_mutation(self) -> bool {
        matches!(self, Self::Delete | Self::Pin | Self::Write)
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The identity of one operation: 128 bits, the same for all its attempts and unique for ever.
///
/// A remote that stores it beside the object lets a writer recognise its own write after a lost
/// reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u128);

impl OpId {
    /// The identity with these bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for OpId {
    type Err = ParseOpIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseOpIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseOpIdError)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseOpIdError;

impl fmt::Display for ParseOpIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation id is 32 hexadecimal digits")
    }
}

impl std::error::Error for ParseOpIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_back_from_what_it_prints() {
        let id = OpId::new(0xfeed_0000_0000_0000_0000_0000_0000_0001);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_of_another_shape_is_refused() {
        for text in
            ["", "abc", "+0000000000000000000000000000000", "zz000000000000000000000000000000"]
        {
            assert_eq!(text.parse::<OpId>(), Err(ParseOpIdError), "{text}");
        }
    }
}
