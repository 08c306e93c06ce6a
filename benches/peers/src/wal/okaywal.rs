//! okaywal: an entry of one chunk, committed, which is a write and an `fdatasync` of the segment.

use std::fmt;
use std::path::Path;

use okaywal::{Configuration, LogVoid, WriteAheadLog};

use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};
use crate::session::DiskPeer;

pub(super) const PEER: DiskPeer = DiskPeer {
    name: "okaywal",
    package: Some("okaywal"),
    setup: "`begin_entry`, `write_chunk`, `commit`, which is one `fdatasync`; a segment that holds the whole \
            round, filled with zeros in advance, instead of 1 MiB, so that no checkpoint falls into the round.",
    open,
};

struct Okaywal(Option<WriteAheadLog>);

impl DurableWrite for Okaywal {
    fn write(&self, _thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        let log = self.0.as_ref().ok_or("closed")?;
        let mut entry = log.begin_entry()?;
        entry.write_chunk(payload)?;
        entry.commit()?;
        Ok(())
    }
}

impl Drop for Okaywal {
    fn drop(&mut self) {
        // Its threads must be gone before its directory is.
        if let Some(log) = self.0.take() {
            let _ = log.shutdown();
        }
    }
}

impl fmt::Debug for Okaywal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Okaywal").finish_non_exhaustive()
    }
}

fn open(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let log = Configuration::default_for(dir.join("log"))
        .preallocate_bytes(u32::try_from(shape.room())?)
        .checkpoint_after_bytes(shape.room() - (4 << 20))
        .open(LogVoid)?;
    Ok(Box::new(Okaywal(Some(log))))
}
