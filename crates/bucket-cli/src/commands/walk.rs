//! Which files a recursive put stores, and which it leaves out and why.

use std::fs;
use std::path::{Path, PathBuf};

use bucket_remote::Key;

/// A file and the key it gets.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) key: Key,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) files: Vec<Source>,
    /// Left out on purpose: what is neither a file nor a directory.
    pub(crate) skipped: Vec<(PathBuf, &'static str)>,
    /// Could not be stored under any key, or not be read.
    pub(crate) failed: Vec<(PathBuf, String)>,
}

impl Walk {
    /// Walks `root`, in order of names; keys are `prefix` and the path below `root`.
    pub(crate) fn new(root: &Path, prefix: &str) -> Self {
        let mut walk = Self::default();
        walk.directory(root, prefix.trim_end_matches('/'));
        walk
    }

    fn directory(&mut self, dir: &Path, prefix: &str) {
        let entries = fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.failed.push((dir.to_owned(), error.to_string())),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.failed.push((path, "the name is not UTF-8, and a key is".into()));
                continue;
            };
            let text = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.directory(&path, &text),
                Ok(kind) if kind.is_file() => match Key::new(&text) {
                    Ok(key) => self.files.push(Source { path, key }),
                    Err(error) => self.failed.push((path, error.to_string())),
                },
                Ok(kind) if kind.is_symlink() => self.skipped.push((path, "symbolic link")),
                Ok(_) => self.skipped.push((path, "not a regular file")),
                Err(error) => self.failed.push((path, error.to_string())),
            }
        }
    }
}
