//! [`Fault`]: something that goes wrong at the n-th operation of its kind.

use std::io;
use std::path::Path;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// A write succeeds, and one bit of it is wrong on the medium. Reads show the right content until
    /// the caches are gone.
    BitFlip,
    /// A write succeeds, and its bytes land one sector further on the medium. Reads show the right
    /// content until the caches are gone.
    MisdirectedWrite,
    /// A write, an extension or a new name fails for want of space; of a write about the first half is
    /// there, in whole sectors.
    NoSpace,
    /// A read fails with EIO.
    ReadError,
    /// A read returns one wrong bit.
    ReadFlip,
    /// A write is cut short: about its first half is written, in whole sectors, then it fails with EIO.
    ShortWrite,
    /// The operation does not return until [`SimDisk::release`](super::SimDisk::release).
    Stall,
    /// A sync of a file, or a write that has to be durable, fails with EIO; what it should have written is
    /// lost, and the page cache shows what is on the disk.
    SyncErrorDropped,
    /// A sync of a file, or a write that has to be durable, fails with EIO; what it should have written is
    /// lost, and the page cache goes on to show it as if it were there. What Linux does on ext4 and XFS.
    /// A direct write leaves no page cache that could.
    SyncErrorKept,
    /// A sync of a file or directory says that all is well and does nothing, or a write that has to be
    /// durable is not: a drive that lies, or a file system without barriers. No program survives it; use it to see that a test would notice.
    SyncIgnored,
    /// A write fails with EIO and writes nothing.
    WriteError,
}

/// Something that goes wrong once, or for a while, at an operation that is counted down to.
///
/// # Examples
///
/// ```
/// use bucket_vfs::sim::{Fault, FaultKind, SimDisk};
///
/// let disk = SimDisk::new();
/// // The third sync of a file called *.wal from now on fails, and only that one.
/// disk.inject(Fault::new(FaultKind::SyncErrorKept).after(2).on(".wal"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) skip: u64,
    pub(super) times: u64,
    pub(super) on: String,
}

impl Fault {
    /// A fault that hits the next operation of its kind, once.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, skip: 0, times: 1, on: String::new() }
    }

    /// Lets `operations` that it could hit pass first.
    pub const fn after(mut self, operations: u64) -> Self {
        self.skip = operations;
        self
    }

    /// Hits this many operations in a row.
    pub const fn times(mut self, operations: u64) -> Self {
        self.times = operations;
        self
    }

    /// Hits every operation from then on.
    pub const fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Hits only files and directories whose path contains `part`.
    pub fn on(mut self, part: impl Into<String>) -> Self {
        self.on = part.into();
        self
    }
}

/// What an operation does, as far as faults tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Create,
    /// A write that has to be durable when it returns.
    DurableWrite,
    Name,
    Read,
    SetLen,
    Sync,
    SyncDir,
    Write,
}

/// The faults that wait for their operation.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) const fn armed(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that hits this operation, if any. Counts the operation for all.
    pub(super) fn hit(&mut self, doing: Doing, path: &Path) -> Option<FaultKind> {
        let mut hit = None;
        for fault in &mut self.0 {
            let fits = fault.kind.fits(doing) && path.to_string_lossy().contains(&fault.on);
            if !fits || fault.times == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if hit.is_none() {
                fault.times -= u64::from(fault.times != u64::MAX);
                hit = Some(fault.kind);
            }
        }
        self.0.retain(|fault| fault.times > 0);
        hit
    }
}

impl FaultKind {
    const fn fits(self, doing: Doing) -> bool {
        match self {
            Self::BitFlip | Self::MisdirectedWrite | Self::ShortWrite | Self::WriteError => {
                matches!(doing, Doing::DurableWrite | Doing::Write)
            }
            Self::NoSpace => {
                matches!(doing, Doing::Create | Doing::DurableWrite | Doing::SetLen | Doing::Write)
            }
            Self::ReadError | Self::ReadFlip => matches!(doing, Doing::Read),
            Self::Stall => true,
            Self::SyncErrorDropped | Self::SyncErrorKept => {
                matches!(doing, Doing::DurableWrite | Doing::Sync)
            }
            Self::SyncIgnored => {
                matches!(doing, Doing::DurableWrite | Doing::Sync | Doing::SyncDir)
            }
        }
    }
}

/// The error that a broken disk gives.
pub(super) fn eio() -> io::Error {
    if cfg!(unix) {
        io::Error::from_raw_os_error(5)
    } else {
        io::Error::other("input/output error")
    }
}

/// The error that a full disk gives.
pub(super) fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_counts_only_what_it_could_hit() {
        let mut faults = Faults::default();
        faults.add(Fault::new(FaultKind::WriteError).after(1).times(2).on("log"));
        let (log, other) = (Path::new("/d/log-1"), Path::new("/d/x"));
        let mut hits = Vec::new();
        for path in [other, log, log, other, log, log] {
            assert_eq!(faults.hit(Doing::Sync, path), None);
            hits.push(faults.hit(Doing::Write, path).is_some());
        }
        assert_eq!(hits, [false, false, true, false, true, false]);
    }
}
