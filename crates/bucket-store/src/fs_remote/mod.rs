//! [`FsRemote`]: a directory as a remote.
//!
//! An object is a plain file at the path of its key, whole or not there at all, and durable once the
//! operation has returned. Nothing outside the root is reached, whatever links somebody plants. Who
//! changes the tree without the lock of this module, an editor say, is not excluded by preconditions.

#![cfg(unix)]

mod lazy;
mod list;
mod object;
mod tree;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::{Clock, Ctx, SystemClock};
use bucket_remote::{
    Body, Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions, Remote,
    RemoteError, RemoteErrorKind as Kind, Version,
};

pub use self::lazy::LazyFsRemote;
use self::object::{STAGING, Staged, describe, has_labels, remove_leftovers, require, unlink};
use self::tree::{Tree, Watch, ambiguous};

/// A directory as a remote: `diff -r` of an uploaded tree and the root shows nothing.
///
/// Versions and identities live in extended attributes (`user.bucket.*`). A file without them has a
/// version made of its modification time, length and inode, and no identity; where the file system has
/// no such attributes, the remote does not promise to keep identities. Several processes may
/// share a root, as far as the file system has locks.
///
/// Not every tree of keys is a tree of files: while the object `a` exists, `a/b` is refused as
/// invalid, and the other way round. The first segment `.bucket-staging` is reserved.
///
/// # Durability
///
/// A `put` or `delete` that has returned survives a loss of power: the file and each directory whose
/// entries changed are synced. One whose process died takes no effect later.
///
/// # Examples
///
/// ```
/// use bucket_core::{Ctx, OpKind};
/// use bucket_remote::{Key, PutOptions, Remote};
/// use bucket_store::FsRemote;
///
/// let dir = tempfile::tempdir()?;
/// let remote = FsRemote::open(dir.path())?;
/// let key = Key::new("photos/a.jpg")?;
/// remote.put(&Ctx::new(OpKind::Write), &key, &"…".into(), &PutOptions::new())?;
/// assert_eq!(std::fs::read_to_string(dir.path().join("photos/a.jpg"))?, "…");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FsRemote {
    tree: Tree,
    clock: Arc<dyn Clock>,
    keeps_identity: bool,
}

impl FsRemote {
    /// Opens the directory `root`, and creates it, private, when only that last one is missing.
    /// Removes what writers that died have left in the staging directory.
    ///
    /// # Errors
    ///
    /// `Unavailable` when there is no such directory, `Invalid` when it is something else, `Auth` when
    /// it may not be opened.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, RemoteError> {
        let tree = Tree::open(root.as_ref())?;
        remove_leftovers(&tree)?;
        let keeps_identity = has_labels(tree.root())?;
        Ok(Self { tree, clock: Arc::new(SystemClock::new()), keeps_identity })
    }

    /// Judges deadlines by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn watch<'a>(&'a self, ctx: &'a Ctx) -> Watch<'a> {
        Watch { ctx, clock: &*self.clock }
    }

    fn find(&self, key: &Key) -> Result<File, RemoteError> {
        self.check_key(key)?;
        self.tree.find(key)?.ok_or_else(|| self.tree.not_found())
    }
}

impl Remote for FsRemote {
    fn caps(&self) -> Caps {
        let caps = Caps::none().conditional().late_window(Duration::ZERO);
        if self.keeps_identity { caps.identity() } else { caps }
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
        let watch = self.watch(ctx);
        watch.check()?;
        self.check_key(key)?;
        // A look without the lock spares the copy; the one that counts comes later.
        require(&self.tree, key, &options.precondition)?;
        let mut staged = Staged::create(&self.tree)?;
        staged.write(body, options.digest, &watch)?;
        staged.seal(ctx.op_id, options.digest)?;
        let version = describe(staged.file(), key)?.version;
        let dir = staged.publish(key, &options.precondition, &watch)?;
        dir.sync_all().map_err(ambiguous)?;
        Ok(version)
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        self.watch(ctx).check()?;
        let file = self.find(key)?;
        let meta = describe(&file, key)?;
        // The file stays readable when the object is replaced or removed meanwhile.
        let whole = Body::from_range(Arc::new(file), 0, meta.len);
        let body = match &options.range {
            Some(range) => whole.slice(range.clone()),
            None => whole,
        };
        Ok(Object::new(meta, body))
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        self.watch(ctx).check()?;
        describe(&self.find(key)?, key)
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        let watch = self.watch(ctx);
        watch.check()?;
        self.check_key(key)?;
        unlink(&self.tree, key, precondition, &watch)?.sync_all().map_err(ambiguous)
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        list::list(&self.tree, request, &self.watch(ctx))
    }
}

/// Whether a key can be a path below a root.
fn reserved_or_too_long(key: &Key) -> Result<(), RemoteError> {
    let why = if key.segments().next() == Some(STAGING) {
        "the first segment is reserved for staging"
    } else if key.segments().any(|segment| segment.len() > MAX_SEGMENT_BYTES) {
        "a segment is longer than a file name may be"
    } else {
        return Ok(());
    };
    Err(RemoteError::refused(Kind::Invalid).with_source(why))
}

/// The longest file name on the file systems of today.
const MAX_SEGMENT_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use bucket_core::testing::ManualClock;
    use bucket_core::{OpId, OpKind, Tick};
    use bucket_remote::testing::conformance;
    use bucket_remote::{Digest, ReadAt};

    use super::*;

    pub(super) const WRITE: Ctx = Ctx::new(OpKind::Write);

    pub(super) fn remote() -> (tempfile::TempDir, FsRemote) {
        let dir = tempfile::tempdir().unwrap();
        let remote = FsRemote::open(dir.path().join("root")).unwrap();
        (dir, remote)
    }

    pub(super) fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    pub(super) fn put(remote: &FsRemote, name: &str) -> Result<Version, RemoteError> {
        remote.put(&WRITE, &key(name), &"content".into(), &PutOptions::new())
    }

    pub(super) fn delete(remote: &FsRemote, name: &str) -> Result<(), RemoteError> {
        remote.delete(&WRITE, &key(name), &Precondition::None)
    }

    pub(super) fn names(remote: &FsRemote) -> Vec<String> {
        let page = remote.list(&WRITE, &ListRequest::new("")).unwrap();
        page.entries.iter().map(|meta| meta.key.to_string()).collect()
    }

    pub(super) fn kind<T>(result: Result<T, RemoteError>) -> Option<Kind> {
        result.err().inspect(|error| assert!(!error.is_ambiguous())).map(|error| error.kind)
    }

    /// What lies directly in the root, the staging directory included.
    fn entries(dir: &tempfile::TempDir) -> usize {
        std::fs::read_dir(dir.path().join("root")).unwrap().count()
    }

    #[test]
    fn a_directory_conforms_and_is_left_empty() {
        let (dir, remote) = remote();
        conformance::check(&remote).assert_passed();
        assert_eq!(entries(&dir), 0);
        let mode = std::fs::metadata(dir.path().join("root")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn leftovers_of_the_dead_go_and_files_of_the_living_stay() {
        let (dir, remote) = remote();
        let staging = dir.path().join("root").join(STAGING);
        std::fs::create_dir(&staging).unwrap();
        std::fs::write(staging.join("1-dead"), "half").unwrap();
        let live = Staged::create(&remote.tree).unwrap();
        assert!(names(&remote).is_empty());
        assert_eq!(kind(put(&remote, ".bucket-staging/a")), Some(Kind::Invalid));

        let again = FsRemote::open(dir.path().join("root")).unwrap();
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 1);
        assert!(!staging.join("1-dead").exists());
        put(&again, "a").unwrap();
        assert!(staging.exists(), "somebody is still staging");
        drop(live);
        assert!(!staging.exists());
    }

    #[test]
    fn an_object_and_objects_below_it_exclude_each_other() {
        let (dir, remote) = remote();
        put(&remote, "a").unwrap();
        assert_eq!(kind(put(&remote, "a/b")), Some(Kind::Invalid));
        delete(&remote, "a").unwrap();
        put(&remote, "a/b").unwrap();
        assert_eq!(kind(put(&remote, "a")), Some(Kind::Invalid));
        assert_eq!(names(&remote), ["a/b"]);
        std::fs::create_dir(dir.path().join("root/empty")).unwrap();
        put(&remote, "empty").unwrap();
    }

    #[test]
    fn version_and_identity_survive_a_new_instance_and_a_rename() {
        let (dir, remote) = remote();
        let root = dir.path().join("root");
        let ctx = WRITE.with_op_id(OpId::new(7));
        let version = remote.put(&ctx, &key("a"), &"1".into(), &PutOptions::new()).unwrap();
        std::fs::rename(&root, dir.path().join("moved")).unwrap();
        let remote = FsRemote::open(dir.path().join("moved")).unwrap();
        let meta = remote.head(&WRITE, &key("a")).unwrap();
        assert_eq!((meta.version, meta.op_id), (version, Some(OpId::new(7))));
    }

    #[test]
    fn a_foreign_file_has_a_version_and_no_identity() {
        let (dir, remote) = remote();
        let root = dir.path().join("root");
        let ctx = WRITE.with_op_id(OpId::new(7));
        remote.put(&ctx, &key("ours"), &"1".into(), &PutOptions::new()).unwrap();
        let edited = File::options().write(true).open(root.join("ours")).unwrap();
        edited.write_all_at(b"longer", 0).unwrap();
        std::fs::write(root.join("theirs"), "x").unwrap();
        for name in ["ours", "theirs"] {
            let meta = remote.head(&WRITE, &key(name)).unwrap();
            assert!(meta.version.as_str().starts_with("f-") && meta.op_id.is_none(), "{meta:?}");
            remote.delete(&WRITE, &key(name), &Precondition::IfMatch(meta.version)).unwrap();
        }
    }

    #[test]
    fn a_wrong_digest_and_a_body_that_became_shorter_are_corrupt() {
        let (dir, remote) = remote();
        let wrong = PutOptions::new().digest(Digest::new([0; 32]));
        let result = remote.put(&WRITE, &key("a/b"), &"1".into(), &wrong);
        assert_eq!(kind(result), Some(Kind::Corrupt));
        let source = Arc::new(tempfile::tempfile().unwrap()) as Arc<dyn ReadAt>;
        let short = Body::from_range(source, 0, 5);
        let result = remote.put(&WRITE, &key("a/b"), &short, &PutOptions::new());
        assert_eq!(kind(result), Some(Kind::Corrupt));
        assert_eq!(entries(&dir), 0);
    }

    /// A source that moves the clock while it is read.
    #[derive(Debug)]
    struct Slow(ManualClock);

    impl ReadAt for Slow {
        fn read_at(&self, buf: &mut [u8], _offset: u64) -> std::io::Result<usize> {
            self.0.advance(Duration::from_secs(1));
            Ok(buf.len())
        }
    }

    #[test]
    fn a_deadline_that_passes_during_the_copy_leaves_nothing_behind() {
        let (dir, remote) = remote();
        let clock = ManualClock::new();
        let remote = remote.with_clock(Arc::new(clock.clone()));
        let ctx = WRITE.with_deadline(Tick::ZERO.after(Duration::from_secs(1)));
        let body = Body::from_range(Arc::new(Slow(clock)), 0, 10);
        let result = remote.put(&ctx, &key("a/b"), &body, &PutOptions::new());
        assert_eq!(kind(result), Some(Kind::Timeout));
        assert_eq!(entries(&dir), 0);
    }

    #[test]
    fn empty_directories_go_with_their_last_object() {
        let (dir, remote) = remote();
        put(&remote, "a/b/c/d").unwrap();
        put(&remote, "a/e").unwrap();
        delete(&remote, "a/b/c/d").unwrap();
        assert!(!dir.path().join("root/a/b").exists());
        assert_eq!(names(&remote), ["a/e"]);
        delete(&remote, "a/e").unwrap();
        assert_eq!(entries(&dir), 0);
    }

    #[test]
    fn threads_that_put_and_delete_in_one_directory_do_not_lose_it_to_each_other() {
        let (dir, remote) = remote();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let remote = &remote;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let name = format!("shared/deep/{thread}");
                        put(remote, &name).unwrap();
                        assert_eq!(remote.head(&WRITE, &key(&name)).unwrap().len, 7);
                        delete(remote, &name).unwrap();
                    }
                });
            }
        });
        assert_eq!(entries(&dir), 0);
    }
}
