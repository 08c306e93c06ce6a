//! [`Tree`]: what the machine shows, what is durable, and what lies between the two.
//!
//! Everything that changes is recorded twice: at once in the live view, which is the page cache, and as
//! pending work, which a sync turns into the durable view. A crash decides about the pending work.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::image::{Change, Image, SECTOR, Write};

pub(super) type Id = usize;

/// The root directory: always there.
pub(super) const ROOT: Id = 0;

#[derive(Clone, Debug)]
pub(super) struct Tree {
    // Nothing is ever taken out: a file without a name lives on while it is open or may come back.
    pub(super) inodes: Vec<Arc<Inode>>,
    /// Changes to names that are not durable, in the order in which they were made.
    pub(super) pending_names: Vec<NameChange>,
}

#[derive(Clone, Debug)]
pub(super) enum Inode {
    Directory { live: BTreeMap<OsString, Id>, durable: BTreeMap<OsString, Id> },
    File(File),
}

/// A file: what the page cache shows, what the medium holds, and the writes that lie between. After a
/// failed sync the two differ although nothing is pending.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) live: Image,
    pub(super) durable: Image,
    pub(super) pending: Vec<Write>,
}

/// A change to one or two names, all of it or nothing.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub(super) removes: Option<(Id, OsString)>,
    pub(super) adds: Option<(Id, OsString, Id)>,
    /// The directories whose sync it still waits for.
    waits_for: Vec<Id>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Inode::Directory { live: BTreeMap::new(), durable: BTreeMap::new() };
        Self { inodes: vec![Arc::new(root)], pending_names: Vec::new() }
    }

    /// The directory that holds the last component of `path`, and that component.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(Id, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.live_names(dir)?;
        Ok((dir, name))
    }

    /// The file or directory at `path`. A path is taken from the root, whether it says so or not.
    pub(super) fn find(&self, path: &Path) -> io::Result<Id> {
        let mut at = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    at = *self.live_names(at)?.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
        }
        Ok(at)
    }

    pub(super) fn live_names(&self, id: Id) -> io::Result<&BTreeMap<OsString, Id>> {
        match &*self.inodes[id] {
            Inode::Directory { live, .. } => Ok(live),
            Inode::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&self, id: Id) -> io::Result<&File> {
        match &*self.inodes[id] {
            Inode::File(file) => Ok(file),
            Inode::Directory { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, id: Id) -> io::Result<&mut File> {
        match Arc::make_mut(&mut self.inodes[id]) {
            Inode::File(file) => Ok(file),
            Inode::Directory { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// A new file or directory under a name that is free.
    pub(super) fn create(&mut self, dir: Id, name: &OsStr, inode: Inode) -> io::Result<Id> {
        if self.live_names(dir)?.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.inodes.len();
        self.inodes.push(Arc::new(inode));
        self.change_names(None, Some((dir, name.to_owned(), id)));
        Ok(id)
    }

    pub(super) fn remove(&mut self, dir: Id, name: &OsStr) -> io::Result<()> {
        let id = *self.live_names(dir)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.file(id)?;
        self.change_names(Some((dir, name.to_owned())), None);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (Id, &OsStr), to: (Id, &OsStr)) -> io::Result<()> {
        let id = *self.live_names(from.0)?.get(from.1).ok_or(io::ErrorKind::NotFound)?;
        if let Some(&replaced) = self.live_names(to.0)?.get(to.1) {
            self.file(replaced)?;
        }
        if from != to {
            self.change_names(Some((from.0, from.1.to_owned())), Some((to.0, to.1.to_owned(), id)));
        }
        Ok(())
    }

    fn change_names(&mut self, removes: Option<(Id, OsString)>, adds: Option<(Id, OsString, Id)>) {
        let dirs = removes.iter().map(|(dir, _)| *dir).chain(adds.iter().map(|(dir, ..)| *dir));
        let mut waits_for: Vec<_> = dirs.collect();
        waits_for.dedup();
        let change = NameChange { removes, adds, waits_for };
        self.apply_names(&change, false);
        self.pending_names.push(change);
    }

    /// Applies the change to the live or to the durable names.
    pub(super) fn apply_names(&mut self, change: &NameChange, durable: bool) {
        let mut edit = |dir: Id, name: &OsString, id: Option<Id>| {
            if let Inode::Directory { live, durable: on_disk } =
                Arc::make_mut(&mut self.inodes[dir])
            {
                let names = if durable { on_disk } else { live };
                match id {
                    Some(id) => names.insert(name.clone(), id),
                    None => names.remove(name),
                };
            }
        };
        if let Some((dir, name)) = &change.removes {
            edit(*dir, name, None);
        }
        if let Some((dir, name, id)) = &change.adds {
            edit(*dir, name, Some(*id));
        }
    }

    /// Makes the names in `dir` durable. A rename between two directories is durable once both were
    /// synced.
    pub(super) fn sync_dir(&mut self, dir: Id) {
        for change in &mut self.pending_names {
            change.waits_for.retain(|&id| id != dir);
        }
        let mut settled: Vec<_> =
            self.pending_names.iter().map(|change| change.waits_for.is_empty()).collect();
        // What a durable change builds on is durable with it.
        for later in (0..settled.len()).rev() {
            for earlier in 0..later {
                settled[earlier] |=
                    settled[later] && self.pending_names[earlier].meets(&self.pending_names[later]);
            }
        }
        let changes = std::mem::take(&mut self.pending_names);
        for (change, settled) in changes.into_iter().zip(settled) {
            if settled {
                self.apply_names(&change, true);
            } else {
                self.pending_names.push(change);
            }
        }
    }

    /// Every file that can be reached by durable names, with its path.
    pub(super) fn durable_files(&self) -> Vec<(PathBuf, &Image)> {
        let (mut files, mut open) = (Vec::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, id)) = open.pop() {
            match &*self.inodes[id] {
                Inode::Directory { durable, .. } => {
                    open.extend(durable.iter().rev().map(|(name, id)| (path.join(name), *id)));
                }
                Inode::File(file) => files.push((path, &file.durable)),
            }
        }
        files
    }

    /// A number for what is durable: equal content, equal number.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        self.durable_files().hash(&mut hasher);
        hasher.finish()
    }

    /// Bytes that the files of the live view occupy.
    pub(super) fn used(&self) -> u64 {
        let (mut used, mut open) = (0, vec![ROOT]);
        while let Some(id) = open.pop() {
            match &*self.inodes[id] {
                Inode::Directory { live, .. } => open.extend(live.values()),
                Inode::File(file) => used += file.live.len(),
            }
        }
        used
    }
}

impl NameChange {
    /// True when the two concern the same name.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.names().any(|mine| other.names().any(|theirs| mine == theirs))
    }

    fn names(&self) -> impl Iterator<Item = (Id, &OsStr)> {
        let removed = self.removes.iter().map(|(dir, name)| (*dir, name.as_os_str()));
        removed.chain(self.adds.iter().map(|(dir, name, _)| (*dir, name.as_os_str())))
    }
}

impl File {
    /// Writes to the page cache; `medium` is what will reach the disk, which may differ.
    pub(super) fn write(&mut self, data: &[u8], offset: u64, medium: Option<Change>) {
        self.live.write(data, offset);
        let change = medium.unwrap_or_else(|| Change::Bytes { offset, data: data.into() });
        self.pending.push(Write { change, len_after: self.live.len() });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let change = if len < self.live.len() { Change::ZeroFrom(len) } else { Change::Length };
        self.live.set_len(len);
        self.pending.push(Write { change, len_after: len });
    }

    /// Everything that is pending reaches the disk.
    pub(super) fn sync(&mut self) {
        for write in std::mem::take(&mut self.pending) {
            self.durable.apply_whole(&write.change);
            self.durable.set_len(write.len_after);
        }
    }

    /// A sync that failed: nothing is pending any more and nothing reached the disk. The page cache
    /// shows the lost bytes when they are `kept`, else what is on the disk.
    pub(super) fn fail_sync(&mut self, kept: bool) {
        self.pending.clear();
        if !kept {
            self.live = self.durable.clone();
        }
    }

    /// The sectors from `from` to `to`, with everything that is pending in them, reach the disk, and so
    /// does a length that covers them. All else stays pending, save that a cut takes everything along.
    pub(super) fn sync_range(&mut self, from: u64, to: u64) {
        if self.is_cut() {
            return self.sync();
        }
        let (from, to) = whole_sectors(from, to);
        for change in self.take_pending(from, to) {
            self.durable.apply_whole(&change);
        }
        let len = self.durable.len().max(self.live.len().min(to));
        self.durable.set_len(len);
        for write in &mut self.pending {
            write.len_after = write.len_after.max(len);
        }
    }

    /// As [`File::fail_sync`], for these sectors alone.
    pub(super) fn fail_sync_range(&mut self, from: u64, to: u64, kept: bool) {
        if self.is_cut() {
            return self.fail_sync(kept);
        }
        let (from, to) = whole_sectors(from, to);
        self.take_pending(from, to);
        if !kept {
            let mut on_disk = vec![0; self.live.len().min(to).saturating_sub(from) as usize];
            self.durable.read(&mut on_disk, from);
            self.live.write(&on_disk, from);
        }
    }

    fn is_cut(&self) -> bool {
        self.pending.iter().any(|write| matches!(write.change, Change::ZeroFrom(_)))
    }

    /// Takes the bytes from `from` to `to` out of what is pending, in the order of the writes. The rest
    /// of each write stays, and so do the lengths.
    fn take_pending(&mut self, from: u64, to: u64) -> Vec<Change> {
        let mut taken = Vec::new();
        for Write { change, len_after } in std::mem::take(&mut self.pending) {
            let Change::Bytes { offset, data } = &change else {
                self.pending.push(Write { change, len_after });
                continue;
            };
            let part = |from: u64, to: u64| {
                let (from, to) = (from.max(*offset), to.min(offset + data.len() as u64));
                (from < to).then(|| {
                    let data = data[(from - offset) as usize..(to - offset) as usize].into();
                    Change::Bytes { offset: from, data }
                })
            };
            taken.extend(part(from, to));
            let left = [part(0, from), part(to, u64::MAX), Some(Change::Length)];
            self.pending
                .extend(left.into_iter().flatten().map(|change| Write { change, len_after }));
        }
        taken
    }

    /// The page cache is emptied of what is clean: reads come from the disk, and pending writes stay.
    pub(super) fn drop_caches(&mut self) {
        let mut live = self.durable.clone();
        for write in &self.pending {
            live.apply_whole(&write.change);
            live.set_len(write.len_after);
        }
        self.live = live;
    }
}

/// Extends a range of bytes to whole sectors.
fn whole_sectors(from: u64, to: u64) -> (u64, u64) {
    (from / SECTOR * SECTOR, to.next_multiple_of(SECTOR))
}
