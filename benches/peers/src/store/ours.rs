//! Our bucket, over a remote in memory.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bucket_remote::Key;
use bucket_remote::testing::MemoryRemote;
use bucket_store::{Bucket, BucketBuilder};

use super::NAMES;
use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};

struct Ours {
    bucket: Option<Bucket>,
    keys: Vec<Key>,
}

impl DurableWrite for Ours {
    fn write(&self, _thread: usize, n: u64, payload: &[u8]) -> Result<(), Failure> {
        let bucket = self.bucket.as_ref().ok_or("closed")?;
        bucket.put(&self.keys[(n % NAMES) as usize], payload.to_vec())?;
        Ok(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Waits for its threads, which must be gone before the directory is.
        if let Some(bucket) = self.bucket.take() {
            let _ = bucket.close();
        }
    }
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours").finish_non_exhaustive()
    }
}

pub(super) fn local(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    open(dir, |builder| builder.workers(0))
}

pub(super) fn draining(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    open(dir, |builder| builder)
}

fn open(
    dir: &Path,
    change: fn(BucketBuilder) -> BucketBuilder,
) -> Result<Box<dyn DurableWrite>, Failure> {
    let builder = change(Bucket::builder(Arc::new(MemoryRemote::new())));
    let bucket = Some(builder.open(dir.join("bucket"))?);
    let keys = (0..NAMES).map(|n| Key::new(format!("object-{n:04}"))).collect::<Result<_, _>>()?;
    Ok(Box::new(Ours { bucket, keys }))
}
