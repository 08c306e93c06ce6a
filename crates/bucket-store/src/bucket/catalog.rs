//! The catalog: what this directory last acknowledged for each key, and what it knows of the remote.
//!
//! It answers "unchanged" without asking the remote, gives the version that a conditional write needs,
//! and lists what was uploaded while the remote is down. A checkpoint writes it to a file of its own
//! before the log is trimmed; replaying the log from the checkpoint brings it up to date.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bucket_remote::{Digest, Key, Version};
use bucket_vfs::{OpenMode, Vfs, write_atomic};
use bucket_wal::Lsn;
use sha2::Digest as _;
use sha2::Sha256;

const MAGIC: [u8; 8] = *b"\x89BKC\r\n\x1a\n";

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogEntry {
    /// The operation that the rest is about.
    pub(crate) lsn: Lsn,
    /// The content that was acknowledged; `None` for a delete.
    pub(crate) content: Option<(Digest, u64)>,
    /// The version that the remote had when it was last heard of.
    pub(crate) remote: Option<Version>,
}

/// All keys.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: BTreeMap<Key, CatalogEntry>,
}

impl Catalog {
    pub(crate) fn get(&self, key: &str) -> Option<&CatalogEntry> {
        self.entries.get(key)
    }

    /// An operation was acknowledged.
    pub(crate) fn accept(&mut self, key: &Key, lsn: Lsn, content: Option<(Digest, u64)>) {
        match self.entries.get_mut(key) {
            Some(entry) if entry.lsn < lsn => {
                entry.lsn = lsn;
                entry.content = content;
            }
            Some(_) => {}
            None => {
                self.entries.insert(key.clone(), CatalogEntry { lsn, content, remote: None });
            }
        }
    }

    /// An operation was settled; the remote has this version, or nothing.
    pub(crate) fn settle(&mut self, key: &Key, lsn: Lsn, remote: Option<Version>) {
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.lsn == lsn && entry.content.is_none() {
                self.entries.remove(key);
            } else if entry.lsn >= lsn {
                entry.remote = remote;
            }
        }
    }

    /// The keys with content that start with `prefix`.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a CatalogEntry)> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// The catalog as bytes, without the check: that takes long, and a lock is held here.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        for (key, entry) in &self.entries {
            push(&mut out, key.as_str().as_bytes());
            out.extend_from_slice(&entry.lsn.get().to_le_bytes());
            match &entry.content {
                Some((digest, len)) => {
                    out.push(1);
                    out.extend_from_slice(digest.as_bytes());
                    out.extend_from_slice(&len.to_le_bytes());
                }
                None => out.push(0),
            }
            push(&mut out, entry.remote.as_ref().map_or("", Version::as_str).as_bytes());
        }
        out
    }

    /// Writes an encoded catalog durably as generation `generation`, and removes generations older
    /// than the one before, which the older of the kept checkpoints may name.
    pub(crate) fn write(
        vfs: &dyn Vfs,
        dir: &Path,
        generation: u64,
        mut encoded: Vec<u8>,
    ) -> io::Result<()> {
        let sum = Sha256::digest(&encoded);
        encoded.extend_from_slice(&sum);
        write_atomic(vfs, &path_of(dir, generation), &encoded)?;
        for entry in vfs.read_dir(dir)? {
            let old = entry.name.to_str().and_then(generation_of);
            if let Some(old) = old.filter(|old| old + 1 < generation) {
                vfs.remove_file(&path_of(dir, old))?;
            }
        }
        Ok(())
    }

    /// Reads generation `generation`; `None` when it is damaged or gone.
    pub(crate) fn load(vfs: &dyn Vfs, dir: &Path, generation: u64) -> io::Result<Option<Self>> {
        let file = match vfs.open(&path_of(dir, generation), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(len, 0);
        file.read_exact_at(&mut bytes, 0)?;
        Ok(decode(&bytes))
    }
}

fn decode(bytes: &[u8]) -> Option<Catalog> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(body)[..] != *sum {
        return None;
    }
    let mut rest = body.strip_prefix(&MAGIC)?;
    let count = u64::from_le_bytes(take(&mut rest)?);
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let key = Key::from_bytes(pull(&mut rest)?).ok()?;
        let lsn = Lsn::new(u64::from_le_bytes(take(&mut rest)?));
        let content = match take::<1>(&mut rest)? {
            [0] => None,
            _ => Some((Digest::new(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?))),
        };
        let remote = std::str::from_utf8(pull(&mut rest)?).ok()?;
        let remote = (!remote.is_empty()).then(|| Version::new(remote));
        entries.insert(key, CatalogEntry { lsn, content, remote });
    }
    Some(Catalog { entries })
}

fn push(out: &mut Vec<u8>, text: &[u8]) {
    // Keys have at most 1 024 bytes; a remote whose versions are longer than 64 KiB loses the chain.
    let text = if text.len() > usize::from(u16::MAX) { &[] } else { text };
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text);
}

fn pull<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(u16::from_le_bytes(take(rest)?));
    let (text, later) = rest.split_at_checked(len)?;
    *rest = later;
    Some(text)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*first)
}

fn path_of(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("catalog-{generation:016x}"))
}

fn generation_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("catalog-")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use bucket_vfs::StdVfs;

    use super::*;

    fn catalog() -> (Catalog, Key) {
        let key = Key::new("a").unwrap();
        let mut catalog = Catalog::default();
        catalog.accept(&key, Lsn::new(5), Some((Digest::new([1; 32]), 9)));
        (catalog, key)
    }

    #[test]
    fn what_was_saved_loads_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut catalog, key) = catalog();
        catalog.settle(&key, Lsn::new(5), Some(Version::new("v")));
        Catalog::write(&StdVfs::new(), dir.path(), 3, catalog.encode()).unwrap();
        let loaded = Catalog::load(&StdVfs::new(), dir.path(), 3).unwrap().unwrap();
        assert_eq!(loaded.entries, catalog.entries);
        let path = path_of(dir.path(), 3);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(Catalog::load(&StdVfs::new(), dir.path(), 3).unwrap().is_none());
    }

    #[test]
    fn an_older_operation_does_not_replace_a_newer_one() {
        let (mut catalog, key) = catalog();
        catalog.accept(&key, Lsn::new(4), None);
        assert!(catalog.get("a").unwrap().content.is_some());
        catalog.settle(&key, Lsn::new(6), None);
        assert_eq!(catalog.get("a").unwrap().remote, None);
    }

    #[test]
    fn a_settled_delete_leaves_nothing_behind() {
        let (mut catalog, key) = catalog();
        catalog.accept(&key, Lsn::new(7), None);
        assert!(catalog.get("a").unwrap().content.is_none());
        catalog.settle(&key, Lsn::new(7), None);
        assert!(catalog.get("a").is_none());
    }
}
