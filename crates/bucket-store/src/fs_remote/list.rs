//! Listing: walks the tree in the order of whole keys and leaves out what cannot match.

use std::fs::File;

use bucket_remote::{Key, ListRequest, Meta, Page, RemoteError, RemoteErrorKind as Kind};
use rustix::fs::{Dir, FileType};

use super::object::{STAGING, describe};
use super::tree::{Step, Tree, Watch, kind_of, open_object, refused, step};

/// One page of the objects in `tree`.
pub(super) fn list(
    tree: &Tree,
    request: &ListRequest,
    watch: &Watch<'_>,
) -> Result<Page, RemoteError> {
    watch.check()?;
    let mut walk = Walk { request, watch, entries: Vec::new(), more: false };
    walk.visit(tree.root(), "")?;
    if walk.entries.is_empty() {
        let error = tree.not_found();
        if error.kind != Kind::NotFound {
            return Err(error);
        }
    }
    Ok(Page::new(walk.entries, walk.more))
}

struct Walk<'a> {
    request: &'a ListRequest,
    watch: &'a Watch<'a>,
    entries: Vec<Meta>,
    more: bool,
}

impl Walk<'_> {
    /// Lists what lies in `dir`, whose path is empty or ends with a slash. The recursion is no
    /// deeper than a key has segments.
    fn visit(&mut self, dir: &File, path: &str) -> Result<(), RemoteError> {
        for full in self.candidates(dir, path)? {
            self.watch.check()?;
            let name = &full[path.len()..];
            if let Some(name) = name.strip_suffix('/') {
                // Whatever took its place since is listed the next time.
                if let Step::Dir(child) = step(dir, name)? {
                    self.visit(&child, &full)?;
                }
            } else if let Ok(key) = Key::new(&full) {
                if self.entries.len() >= self.request.limit.max(1) {
                    self.more = true;
                } else {
                    match open_object(dir, name) {
                        Ok(Some(file)) => self.entries.push(describe(&file, &key)?),
                        Ok(None) => {}
                        Err(error) if error.kind == Kind::Invalid => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            if self.more {
                break;
            }
        }
        Ok(())
    }

    /// The paths in `dir` that match, or below which something may, directories with a final slash:
    /// sorted like that, `a-b` comes before `a/b`, as it does among keys.
    fn candidates(&self, dir: &File, path: &str) -> Result<Vec<String>, RemoteError> {
        let mut paths = Vec::new();
        for entry in Dir::read_from(dir).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            // A name that is not UTF-8 is no key.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") || (path.is_empty() && name == STAGING) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => kind_of(dir, name)?,
                kind => Some(kind),
            };
            let full = match kind {
                Some(FileType::Directory) => format!("{path}{name}/"),
                Some(FileType::RegularFile) => format!("{path}{name}"),
                _ => continue,
            };
            if full.len() <= Key::MAX_LEN && self.may_match(&full) {
                paths.push(full);
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn may_match(&self, full: &str) -> bool {
        let (prefix, is_dir) = (&*self.request.prefix, full.ends_with('/'));
        let in_prefix = full.starts_with(prefix) || (is_dir && prefix.starts_with(full));
        let in_page = self.request.after.as_ref().is_none_or(|after| {
            full > after.as_str() || (is_dir && after.as_str().starts_with(full))
        });
        in_prefix && in_page
    }
}

#[cfg(test)]
mod tests {
    use bucket_remote::Remote;

    use super::super::tests::{WRITE, delete, key, kind, names, put, remote};
    use super::*;
    use crate::FsRemote;

    #[test]
    fn names_with_a_hyphen_come_before_the_directory_of_that_name() {
        let (_dir, remote) = remote();
        for name in ["a/b", "a.b", "a-b", "a0"] {
            put(&remote, name).unwrap();
        }
        assert_eq!(names(&remote), ["a-b", "a.b", "a/b", "a0"]);
    }

    #[test]
    fn a_root_that_was_removed_is_unavailable() {
        let (dir, remote) = remote();
        std::fs::remove_dir(dir.path().join("root")).unwrap();
        assert_eq!(kind(put(&remote, "a/b")), Some(Kind::Unavailable));
        assert_eq!(kind(delete(&remote, "a")), Some(Kind::Unavailable));
        assert_eq!(kind(remote.head(&WRITE, &key("a"))), Some(Kind::Unavailable));
        assert_eq!(kind(remote.list(&WRITE, &ListRequest::new(""))), Some(Kind::Unavailable));
        let nowhere = FsRemote::open(dir.path().join("not/here"));
        assert_eq!(kind(nowhere), Some(Kind::Unavailable));
    }
}
