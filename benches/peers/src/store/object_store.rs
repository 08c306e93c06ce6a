//! object_store's local file system, told to sync the file and its folder.

use std::fmt;
use std::future::Future as _;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::NAMES;
use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Shape};
use crate::session::DiskPeer;

pub(super) const PEER: DiskPeer = DiskPeer {
    name: "object_store",
    package: Some("object_store"),
    setup: "`LocalFileSystem` with `with_fsync(true)`: a file written, synced and renamed, its folder synced. \
            Polled outside of any runtime, where it works on the calling thread instead of handing each put \
            to another one, which is in its favour.",
    open,
};

struct Objects {
    store: LocalFileSystem,
    paths: Vec<object_store::path::Path>,
}

impl DurableWrite for Objects {
    fn write(&self, _thread: usize, n: u64, payload: &[u8]) -> Result<(), Failure> {
        let payload = PutPayload::from(payload.to_vec());
        let put = pin!(self.store.put(&self.paths[(n % NAMES) as usize], payload));
        match put.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                result?;
                Ok(())
            }
            Poll::Pending => Err("a put outside of a runtime was not done at once".into()),
        }
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

fn open(dir: &Path, _shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
    let paths = (0..NAMES).map(|n| format!("object-{n:04}").into()).collect();
    Ok(Box::new(Objects { store, paths }))
}
