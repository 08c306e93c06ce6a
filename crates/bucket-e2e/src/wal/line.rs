//! [`Line`]: what the worker says, one line a fact, written the moment it holds.

use std::fmt;
use std::str::FromStr;

use super::record::Id;

/// What was promised about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    /// Taken in by a policy that does not wait; nothing is promised yet.
    Accepted,
    /// Survives the end of the process.
    Written,
    /// Survives the loss of power.
    Durable,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The log is open, and the newest record that can be read has this number.
    Opened { last: u64 },
    /// A call returned that promises this about a record. `at` is the position of the disk's log of
    /// writes at that moment, where there is one.
    Record { promise: Promise, lsn: u64, id: Id, at: u64 },
    /// The same about all records up to this number.
    UpTo { promise: Promise, lsn: u64, at: u64 },
    /// A checkpoint is about to be taken.
    CheckpointBegun { from: u64 },
    /// A checkpoint was taken.
    Checkpoint { from: u64, at: u64 },
    /// A checkpoint could not be taken, and this is why.
    NoCheckpoint { why: String },
    /// A record was not accepted, and this is why.
    Refused { thread: u32, seq: u64, why: String },
    /// The log takes nothing more; everything up to this number is safe.
    Poisoned { durable: u64 },
    /// The log was closed.
    Closed,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Written => "written",
            Self::Durable => "durable",
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { last } => write!(f, "opened {last}"),
            Self::Record { promise, lsn, id, at } => {
                let Id { run, thread, seq, nth, of, len } = id;
                write!(f, "{promise} {lsn} {run} {thread} {seq} {nth} {of} {len} {at}")
            }
            Self::UpTo { promise, lsn, at } => write!(f, "upto {promise} {lsn} {at}"),
            Self::CheckpointBegun { from } => write!(f, "checkpointing {from}"),
            Self::Checkpoint { from, at } => write!(f, "checkpoint {from} {at}"),
            Self::NoCheckpoint { why } => write!(f, "no-checkpoint {why}"),
            Self::Refused { thread, seq, why } => write!(f, "refused {thread} {seq} {why}"),
            Self::Poisoned { durable } => write!(f, "poisoned {durable}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl FromStr for Promise {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "accepted" => Ok(Self::Accepted),
            "written" => Ok(Self::Written),
            "durable" => Ok(Self::Durable),
            _ => Err(()),
        }
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.split(' ').collect();
        let long = |n: usize| words.get(n).and_then(|word| word.parse::<u64>().ok()).ok_or(());
        let short = |n: usize| words.get(n).and_then(|word| word.parse::<u32>().ok()).ok_or(());
        match (words[0], words.len()) {
            ("opened", 2) => Ok(Self::Opened { last: long(1)? }),
            ("upto", 4) => {
                Ok(Self::UpTo { promise: words[1].parse()?, lsn: long(2)?, at: long(3)? })
            }
            ("checkpointing", 2) => Ok(Self::CheckpointBegun { from: long(1)? }),
            ("checkpoint", 3) => Ok(Self::Checkpoint { from: long(1)?, at: long(2)? }),
            ("no-checkpoint", 2) => Ok(Self::NoCheckpoint { why: words[1].to_owned() }),
            ("refused", 4) => {
                let why = words[3].to_owned();
                Ok(Self::Refused { thread: short(1)?, seq: long(2)?, why })
            }
            ("poisoned", 2) => Ok(Self::Poisoned { durable: long(1)? }),
            ("closed", 1) => Ok(Self::Closed),
            (promise, 9) => {
                let (run, thread, seq) = (short(2)?, short(3)?, long(4)?);
                let id = Id { run, thread, seq, nth: short(5)?, of: short(6)?, len: short(7)? };
                Ok(Self::Record { promise: promise.parse()?, lsn: long(1)?, id, at: long(8)? })
            }
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let id = Id { run: 1, thread: 2, seq: 3, nth: 4, of: 5, len: 6 };
        let lines = [
            Line::Opened { last: 7 },
            Line::Record { promise: Promise::Durable, lsn: 8, id, at: 9 },
            Line::UpTo { promise: Promise::Written, lsn: 1, at: 0 },
            Line::CheckpointBegun { from: 2 },
            Line::Checkpoint { from: 2, at: 3 },
            Line::NoCheckpoint { why: "io".to_owned() },
            Line::Refused { thread: 1, seq: 2, why: "no-space".to_owned() },
            Line::Poisoned { durable: 4 },
            Line::Closed,
        ];
        for line in lines {
            assert_eq!(line.to_string().parse(), Ok(line));
        }
        for broken in ["", "durable 1 2", "opened x", "closed 1"] {
            assert_eq!(broken.parse::<Line>(), Err(()), "{broken:?}");
        }
    }
}
