//! [`Tree`]: the files of the repository, as far as a check may look at them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

/// The files under the root by path, with `/` between the parts.
///
/// Left out are `target` and hidden folders, but for those that configure cargo and CI.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
    folders: BTreeSet<String>,
}

impl Tree {
    /// Reads what lies under `root`. Links are not followed.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    /// Every file: its path and its text, which is empty for what is neither code nor prose.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of one file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// True when there is a file or a folder of this path; the root is the empty path.
    pub(super) fn exists(&self, path: &str) -> bool {
        path.is_empty() || self.files.contains_key(path) || self.folders.contains(path)
    }

    /// The names directly under the root.
    pub(super) fn top_level(&self) -> BTreeSet<&str> {
        let paths = self.files.keys().chain(&self.folders);
        paths.filter_map(|path| path.split('/').next()).collect()
    }

    /// The folders directly under `crates/`, by name.
    pub(super) fn crates(&self) -> impl Iterator<Item = &str> {
        self.folders
            .iter()
            .filter_map(|path| path.strip_prefix("crates/"))
            .filter(|name| !name.contains('/'))
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                let hidden = name.starts_with('.') && !SEEN.contains(&name.as_str());
                if !hidden && name != "target" {
                    self.read_folder(&entry.path(), &format!("{path}/"))?;
                    self.folders.insert(path);
                }
            } else if name != ".git" {
                // A file of that name marks a second worktree.
                let is_text =
                    READ.iter().any(|suffix| name.ends_with(suffix)) || name.starts_with("LICENSE");
                let text = if is_text { fs::read(entry.path())? } else { Vec::new() };
                self.files.insert(path, String::from_utf8_lossy(&text).into_owned());
            }
        }
        Ok(())
    }
}

/// A tree for tests, of paths and texts.
#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Tree {
    fn from(files: [(&str, &str); N]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.files.insert(path.to_owned(), text.to_owned());
            for (at, _) in path.match_indices('/') {
                tree.folders.insert(path[..at].to_owned());
            }
        }
        tree
    }
}

/// Hidden folders that belong to the sources.
const SEEN: &[&str] = &[".cargo", ".ci", ".github"];
const READ: &[&str] = &[".rs", ".md", ".toml"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_read_without_what_was_built() {
        let tree = Tree::read(&crate::root()).unwrap();
        assert!(tree.text("Cargo.toml").unwrap().contains("[workspace]"));
        assert!(tree.exists(".ci/run") && tree.exists("crates/bucket-core/src"));
        assert!(!tree.exists("target") && !tree.exists(".git"));
        assert!(tree.crates().any(|name| name == "bucket-core"));
    }
}
