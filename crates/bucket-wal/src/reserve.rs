//! [`Reserve`]: files that checkpoints are written into when the disk has no space for another.
//!
//! Taking checkpoints is what gives space back, so it must not need any. A file is written where its
//! blocks are and renamed: nobody else can take them meanwhile, as they could after a removal.
//! `CockroachDB` keeps a ballast file for a person to remove; these are used without one.

use std::io;
use std::path::{Path, PathBuf};

use bucket_vfs::{OpenMode, Vfs};

use crate::segment;

/// So many bytes each has. A longer manifest needs space beside.
pub(crate) const LEN: u64 = 32 << 10;

/// The files in reserve.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// Those that lack nothing, by their number.
    whole: Vec<bool>,
}

impl Reserve {
    /// For a log that keeps so many checkpoints. Before that many more are taken nothing may be given back;
    /// and one is for opening, which copies what nothing vouches for.
    pub(crate) fn new(keep_checkpoints: usize) -> Self {
        Self { whole: vec![false; keep_checkpoints + 1] }
    }

    pub(crate) const fn none() -> Self {
        Self { whole: Vec::new() }
    }

    /// Whether nothing is lacking.
    pub(crate) fn is_whole(&self) -> bool {
        !self.whole.contains(&false)
    }

    /// Removes those with one of these numbers that are more than there should be, from a time when more
    /// checkpoints were kept.
    pub(crate) fn remove_surplus(&self, vfs: &dyn Vfs, dir: &Path, numbers: &[usize]) {
        for &n in numbers.iter().filter(|&&n| n >= self.whole.len()) {
            // Best effort: the next opening tries again.
            let _ = vfs.remove_file(&path_of(dir, n));
        }
    }

    /// Makes what is lacking, as far as there is space for it.
    pub(crate) fn make(&mut self, vfs: &dyn Vfs, dir: &Path) {
        for n in 0..self.whole.len() {
            // What is there with its length has its blocks: only what is written makes it long, and not
            // synced, for nothing in it is ever read.
            self.whole[n] = self.whole[n] || make(vfs, &path_of(dir, n)).is_ok();
        }
    }

    /// Makes one of a file whose name is gone for good. False when nothing is lacking, or it is too short.
    pub(crate) fn make_from(&mut self, vfs: &dyn Vfs, dir: &Path, file: &Path) -> bool {
        let Some(n) = self.whole.iter().position(|is_whole| !is_whole) else { return false };
        self.whole[n] = take_over(vfs, file, &path_of(dir, n)).is_ok();
        self.whole[n]
    }

    /// Writes a file with this content in the place of one of them, durable once this returns. False when
    /// there is none, or it cannot be written.
    pub(crate) fn write(&mut self, vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> bool {
        let Some(n) = self.whole.iter().position(|is_whole| *is_whole) else { return false };
        self.whole[n] = false;
        let reserve = path_of(path.parent().unwrap_or(Path::new(".")), n);
        write(vfs, &reserve, path, bytes).is_ok()
    }
}

/// Gives the space of one of the files back, whole or not; false when there is none.
pub(crate) fn release_one(vfs: &dyn Vfs, dir: &Path) -> bool {
    (0..MAX_FILES).any(|n| vfs.remove_file(&path_of(dir, n)).is_ok())
}

/// Whether a file of the reserve has this name.
pub(crate) fn is_name(name: &str) -> bool {
    number_of(name).is_some()
}

/// The number of the file of the reserve that has this name.
pub(crate) fn number_of(name: &str) -> Option<usize> {
    segment::number_in(name, PREFIX, "").and_then(|number| usize::try_from(number).ok())
}

fn path_of(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("{PREFIX}{n:016x}"))
}

fn make(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    let file = match vfs.open(path, OpenMode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            vfs.open(path, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    if file.len()? == LEN { Ok(()) } else { file.write_all_at(&[0; LEN as usize], 0) }
}

fn take_over(vfs: &dyn Vfs, file: &Path, path: &Path) -> io::Result<()> {
    let opened = vfs.open(file, OpenMode::Write)?;
    if opened.len()? < LEN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    opened.set_len(LEN)?;
    vfs.rename(file, path)
}

fn write(vfs: &dyn Vfs, reserve: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = vfs.open(reserve, OpenMode::Write)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_data()?;
    vfs.rename(reserve, path)?;
    vfs.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

const PREFIX: &str = "reserve-";
/// More than any log has.
const MAX_FILES: usize = 17;
