//! Logs whose records lie at known places, and a way to damage them.

use std::fs;
use std::path::Path;

use bucket_core::ByteCount;

use crate::{RecoveryPolicy, Wal, WalOptions};

pub(super) fn options(policy: RecoveryPolicy) -> WalOptions {
    Wal::options().segment_size(ByteCount::kib(64)).unwrap().recovery(policy)
}

/// A log of `count` records of 1 000 bytes, record n filled with n, not closed: 59 in a segment.
pub(super) fn log(dir: &Path, count: u8) {
    let (wal, _) = options(RecoveryPolicy::Strict).open(dir).unwrap();
    for n in 1..=count {
        wal.append(&[n; 1_000]).unwrap();
    }
}

/// Where the frame of record `n` starts, in a segment that begins with record 1.
pub(super) fn frame_of(n: usize) -> usize {
    4_096 + (n - 1) * 1_032
}

pub(super) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}
