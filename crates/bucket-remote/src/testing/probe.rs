//! What the checks of the conformance suite are made of: requests, and looks at what is stored.

use std::error::Error;
use std::io;

use bucket_core::{Ctx, OpKind};

use crate::{
    Applied, Body, Digest, GetOptions, InvalidKey, Key, ListRequest, Meta, Precondition,
    PutOptions, ReadAt, Remote, RemoteError, RemoteErrorKind as Kind, Version,
};

pub(super) type Outcome = Result<(), Box<dyn Error>>;

/// A remote, and the prefix under which a check has it for itself.
pub(super) struct Suite<'a> {
    pub(super) remote: &'a dyn Remote,
    pub(super) prefix: String,
}

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+).into());
        }
    };
}
pub(super) use ensure;

impl Suite<'_> {
    pub(super) fn key(&self, name: &str) -> Result<Key, InvalidKey> {
        Key::new(format!("{}{name}", self.prefix))
    }

    pub(super) fn put(&self, key: &Key, body: impl Into<Body>) -> Result<Version, RemoteError> {
        self.put_if(key, body, Precondition::None)
    }

    pub(super) fn put_if(
        &self,
        key: &Key,
        body: impl Into<Body>,
        precondition: Precondition,
    ) -> Result<Version, RemoteError> {
        let options = PutOptions::new().precondition(precondition);
        self.remote.put(&WRITE, key, &body.into(), &options)
    }

    pub(super) fn delete(&self, key: &Key, precondition: Precondition) -> Result<(), RemoteError> {
        self.remote.delete(&DELETE, key, &precondition)
    }

    /// The object is there with this content and version, for `get` and for `head`.
    pub(super) fn holds(&self, key: &Key, content: &[u8], version: &Version) -> Outcome {
        let object = self.remote.get(&READ, key, &GetOptions::new())?;
        let found = object.body.to_bytes()?;
        let (len, expected) = (found.len(), content.len());
        ensure!(found == content, "the content differs: {len} B of {expected} B");
        let head = self.remote.head(&READ, key)?;
        for (operation, meta) in [("get", &object.meta), ("head", &head)] {
            let (key_there, there) = (&meta.key, &meta.version);
            ensure!(key_there == key, "{operation} answers for another key");
            ensure!(there == version, "{operation} says version {there}, put said {version}");
            ensure!(meta.len == content.len() as u64, "{operation} says {} B", meta.len);
        }
        Ok(())
    }

    /// The object is not there, and `get` and `head` say so.
    pub(super) fn absent(&self, key: &Key) -> Outcome {
        refused(self.remote.get(&READ, key, &GetOptions::new()), Kind::NotFound)?;
        refused(self.remote.head(&READ, key), Kind::NotFound)
    }

    /// Every object whose name under the prefix of the suite starts with `prefix`, page by page.
    pub(super) fn listed(&self, prefix: &str, limit: usize) -> Result<Vec<Meta>, Box<dyn Error>> {
        let request = ListRequest::new(format!("{}{prefix}", self.prefix)).limit(limit);
        let mut metas: Vec<Meta> = Vec::new();
        loop {
            let after = metas.last().map(|meta| meta.key.clone());
            let page = self.remote.list(&LIST, &request.clone().after(after.clone()))?;
            ensure!(page.entries.len() <= limit, "a page of {limit} has {}", page.entries.len());
            ensure!(!page.more || !page.entries.is_empty(), "an empty page promises more");
            for meta in page.entries {
                let last = metas.last().map(|meta| &meta.key);
                ensure!(last < Some(&meta.key), "{} comes after {last:?}", meta.key);
                metas.push(meta);
            }
            if !page.more {
                return Ok(metas);
            }
        }
    }

    /// Operations in the contexts that `make` makes fail, with `kind` if given, and change nothing.
    pub(super) fn leaves_no_trace(
        &self,
        make: &dyn Fn(OpKind) -> Ctx,
        kind: Option<Kind>,
    ) -> Outcome {
        let (key, other) = (self.key("a")?, self.key("other")?);
        let version = self.put(&key, "before")?;
        let (read, write) = (make(OpKind::Read), make(OpKind::Write));
        let (list, delete) = (make(OpKind::List), make(OpKind::Delete));
        let (body, options) = (Body::from("after"), PutOptions::new());
        for (operation, error) in [
            ("put", self.remote.put(&write, &key, &body, &options).err()),
            ("put of a new object", self.remote.put(&write, &other, &body, &options).err()),
            ("delete", self.remote.delete(&delete, &key, &Precondition::None).err()),
            ("get", self.remote.get(&read, &key, &GetOptions::new()).err()),
            ("head", self.remote.head(&read, &key).err()),
            ("list", self.remote.list(&list, &ListRequest::new(&*self.prefix)).err()),
        ] {
            let Some(error) = error else {
                return Err(format!("{operation} succeeds").into());
            };
            let as_expected = kind.is_none_or(|kind| error.kind == kind);
            ensure!(as_expected, "{operation} fails as {:?}", error.kind);
        }
        self.holds(&key, b"before", &version)?;
        self.absent(&other)
    }

    /// Removes every object under the prefix.
    pub(super) fn clean_up(&self) -> Outcome {
        for meta in self.listed("", 1_000)? {
            self.delete(&meta.key, Precondition::None)?;
        }
        let left = self.listed("", 1_000)?.len();
        ensure!(left == 0, "{left} objects are still listed after their delete");
        Ok(())
    }
}

/// The result is a definite refusal of this kind.
pub(super) fn refused<T>(result: Result<T, RemoteError>, kind: Kind) -> Outcome {
    let Err(error) = result else {
        return Err(format!("succeeds, instead of {kind:?}").into());
    };
    ensure!(error.kind == kind, "fails as {:?}, instead of {kind:?}", error.kind);
    ensure!(error.applied == Applied::No, "{kind:?} is called ambiguous");
    Ok(())
}

/// A source of endless content that reads at most 700 bytes at a time.
#[derive(Debug)]
pub(super) struct Counting;

impl Counting {
    /// The byte at `offset`.
    pub(super) const fn at(offset: u64) -> u8 {
        (offset % 251) as u8
    }
}

impl ReadAt for Counting {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = buf.len().min(700);
        buf[..n].iter_mut().zip(offset..).for_each(|(byte, offset)| *byte = Self::at(offset));
        Ok(n)
    }
}

pub(super) static READ: Ctx = Ctx::new(OpKind::Read);
pub(super) static WRITE: Ctx = Ctx::new(OpKind::Write);
pub(super) static LIST: Ctx = Ctx::new(OpKind::List);
static DELETE: Ctx = Ctx::new(OpKind::Delete);

/// The digest of "abc", from FIPS 180: a remote may compute the digest itself and compare.
pub(super) const SHA256_OF_ABC: Digest = Digest::new([
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
]);
