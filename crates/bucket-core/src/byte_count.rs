//! [`ByteCount`]: a number of bytes that prints and parses the way people write sizes.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
///
/// Prints with binary units (`64 MiB`), exactly when it can and with one decimal otherwise; parses
/// `512`, `64KiB`, `64 MiB`, `1.5 GiB` and the decimal units `kB`, `MB`, `GB`, `TB`.
///
/// # Examples
///
/// ```
/// use bucket_core::ByteCount;
///
/// let bound: ByteCount = "64 MiB".parse()?;
/// assert_eq!(bound, ByteCount::mib(64));
/// assert_eq!(bound.to_string(), "64 MiB");
/// # Ok::<(), bucket_core::ParseByteCountError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(u64);

impl ByteCount {
    /// A count of single bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A count of kibibytes (1 024 bytes); saturates at `u64::MAX` bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// A count of mebibytes; saturates at `u64::MAX` bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// A count of gibibytes; saturates at `u64::MAX` bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for ByteCount {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            let size = 1_u64 << shift;
            if self.0 >= size {
                return if self.0 % size == 0 {
                    write!(f, "{} {unit}", self.0 >> shift)
                } else {
                    write!(f, "{:.1} {unit}", self.0 as f64 / size as f64)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let size = match unit.trim() {
            "" | "B" => 1_u64,
            "KiB" | "K" | "k" => 1 << 10,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            "TiB" | "T" => 1 << 40,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(ParseByteCountError),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(size).map(Self).ok_or(ParseByteCountError);
        }
        let bytes = number.parse::<f64>().map_err(|_| ParseByteCountError)? * size as f64;
        // The upper comparison also refuses NaN and infinity.
        if bytes >= 0.0 && bytes < u64::MAX as f64 {
            Ok(Self(bytes as u64))
        } else {
            Err(ParseByteCountError)
        }
    }
}

/// The text is not a size, or is larger than `u64::MAX` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseByteCountError;

impl fmt::Display for ParseByteCountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a size: write a number and a unit such as 512, 64 KiB, 1.5 GiB or 10 MB")
    }
}

impl std::error::Error for ParseByteCountError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_back() {
        for bytes in [0, 1, 1_023, 1 << 10, 64 << 20, 3 << 30, 5 << 40] {
            let count = ByteCount::new(bytes);
            assert_eq!(count.to_string().parse(), Ok(count), "{count}");
        }
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for text in ["", "MiB", "-1", "1 parsec", "nan", "inf", "99999999999 TiB", "1e400", "1..5"]
        {
            assert_eq!(text.parse::<ByteCount>(), Err(ParseByteCountError), "{text}");
        }
    }
}
