//! Our log.

use std::path::Path;

use bucket_wal::Wal;

use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};

pub(super) struct Ours(pub(super) Wal);

impl DurableWrite for Ours {
    fn write(&self, _thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        self.0.append(payload)?;
        Ok(())
    }
}

pub(super) fn open(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let (wal, _) = Wal::open(dir.join("log"))?;
    Ok(Box::new(Ours(wal)))
}
