//! [`LazyFsRemote`]: a directory that may not be there, such as a disk that is not mounted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::Ctx;
use bucket_remote::{
    Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions, Remote,
    RemoteError, RemoteErrorKind as Kind, Version,
};

use super::{Body, FsRemote, reserved_or_too_long};
use crate::sync::Mutex;

/// A [`FsRemote`] that is opened when it is needed, and never creates its root.
///
/// While the root is not there every operation is refused as `Unavailable`, so that a write goes neither
/// to an empty mount point nor to a directory that was moved away.
#[derive(Debug)]
pub struct LazyFsRemote {
    root: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Clone, Debug)]
struct Open {
    remote: Arc<FsRemote>,
    /// Which directory the root was when it was opened.
    identity: (u64, u64),
}

impl LazyFsRemote {
    /// The directory `root`, whether it is there or not.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), open: Mutex::new(None) }
    }

    fn remote(&self) -> Result<Arc<FsRemote>, RemoteError> {
        use std::os::unix::fs::MetadataExt;
        let gone =
            |error: std::io::Error| RemoteError::refused(Kind::Unavailable).with_source(error);
        let metadata = std::fs::metadata(&self.root).map_err(gone)?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(open) = &*self.open.lock()
            && open.identity == identity
        {
            return Ok(Arc::clone(&open.remote));
        }
        let remote = Arc::new(FsRemote::open(&self.root)?);
        *self.open.lock() = Some(Open { remote: Arc::clone(&remote), identity });
        Ok(remote)
    }
}

impl Remote for LazyFsRemote {
    fn caps(&self) -> Caps {
        Caps::none().conditional().late_window(Duration::ZERO)
    }

    fn check_key(&self, key: &Key) -> Result<(), RemoteError> {
        reserved_or_too_long(key)
    }

    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError> {
        self.remote()?.put(ctx, key, body, options)
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        self.remote()?.get(ctx, key, options)
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        self.remote()?.head(ctx, key)
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        self.remote()?.delete(ctx, key, precondition)
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        self.remote()?.list(ctx, request)
    }
}

#[cfg(test)]
mod tests {
    use bucket_core::OpKind;

    use super::*;

    #[test]
    fn a_root_that_is_moved_away_is_unavailable_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("root"), dir.path().join("away"));
        let remote = LazyFsRemote::new(&root);
        let (ctx, key) = (Ctx::new(OpKind::Write), Key::new("a").unwrap());
        let put = || remote.put(&ctx, &key, &Body::from("1"), &PutOptions::new());
        assert_eq!(put().unwrap_err().kind, Kind::Unavailable);
        assert!(!root.exists(), "the root was created");
        std::fs::create_dir(&root).unwrap();
        put().unwrap();
        std::fs::rename(&root, &away).unwrap();
        assert_eq!(put().unwrap_err().kind, Kind::Unavailable);
        std::fs::rename(&away, &root).unwrap();
        assert_eq!(remote.head(&ctx, &key).unwrap().len, 1);
    }
}
