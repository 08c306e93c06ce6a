//! [`Trace`]: the system calls of a worker as `strace` wrote them down, and the order they must be in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// System calls in the order in which they ended.
#[derive(Debug)]
pub(super) struct Trace {
    calls: Vec<Call>,
}

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// Between the brackets, as far as `strace` shows it.
    pub(super) args: String,
    /// What it returned.
    ended: String,
}

/// What was seen in a trace whose order is right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) promises: u64,
    pub(super) segments: u64,
    pub(super) checkpoints: u64,
    pub(super) removed: u64,
}

impl Trace {
    pub(super) fn parse(text: &str) -> Self {
        let mut calls = Vec::new();
        // A call that others interrupt is shown in two halves.
        let mut begun: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(half) = rest.strip_suffix("<unfinished ...>") {
                begun.insert(pid, half.trim_end().to_owned());
                continue;
            }
            let whole =
                match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                    Some((_, half)) => begun.remove(pid).unwrap_or_default() + half,
                    None => rest.to_owned(),
                };
            calls.extend(Call::parse(&whole));
        }
        Self { calls }
    }

    /// The first call that was made to fail.
    pub(super) fn injected(&self) -> Option<&Call> {
        self.calls.iter().find(|call| call.ended.contains("(INJECTED)"))
    }

    /// Checks that nothing was promised, renamed or removed before what it rests on was synced.
    pub(super) fn check_order(&self, dir: &Path) -> Result<Seen, String> {
        let mut seen = Seen::default();
        let mut unsynced: BTreeSet<PathBuf> = BTreeSet::new();
        let nothing_unsynced = |unsynced: &BTreeSet<PathBuf>, what: &str| match unsynced.first() {
            None => Ok(()),
            Some(path) => Err(format!("{what} before {} was synced", path.display())),
        };
        let parent = |path: &Path| path.parent().unwrap_or(path).to_owned();
        for call in self.calls.iter().filter(|call| call.succeeded()) {
            let paths = call.paths();
            let first = paths.first();
            let is_ours = first.is_some_and(|path| path.starts_with(dir));
            match call.name.as_str() {
                "mkdir" if is_ours => unsynced.extend(first.map(|path| parent(path))),
                "openat" if call.args.contains("O_CREAT") => {
                    let Some(path) = first.filter(|path| path.starts_with(dir)) else { continue };
                    let is_hidden = path.extension().is_some_and(|ending| ending == "tmp");
                    if !is_hidden && !path.ends_with("LOCK") && !is_reserve(path) {
                        return Err(format!("{} is visible before it is whole", path.display()));
                    }
                }
                // Nothing rests on these; what is a checkpoint later is written over them.
                "pwrite64" if first.is_some_and(|path| is_reserve(path)) && call.writes_zeros() => {
                }
                "pwrite64" | "pwritev" | "pwritev2" if is_ours => {
                    // Under whatever name the file goes now.
                    unsynced.extend(first.cloned());
                }
                "fdatasync" | "fsync" => {
                    if let Some(path) = first {
                        unsynced.remove(path);
                    }
                }
                "rename" | "renameat" | "renameat2" if is_ours => {
                    let to = paths.last().cloned().unwrap_or_default();
                    nothing_unsynced(&unsynced, &format!("{} got its name", to.display()))?;
                    unsynced.insert(parent(&to));
                    match to.extension().and_then(|ending| ending.to_str()) {
                        Some("wal") => seen.segments += 1,
                        _ => seen.checkpoints += 1,
                    }
                }
                "unlink" | "unlinkat" if is_ours => {
                    let path = first.cloned().unwrap_or_default();
                    nothing_unsynced(&unsynced, &format!("{} was removed", path.display()))?;
                    seen.removed += 1;
                }
                "write" if call.says("durable ") || call.says("checkpoint ") => {
                    nothing_unsynced(&unsynced, &format!("{} was promised", call.args))?;
                    seen.promises += 1;
                }
                _ => {}
            }
        }
        Ok(seen)
    }
}

/// A file of which only the room counts.
fn is_reserve(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("reserve-"))
}

impl Call {
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once('(')?;
        let (args, ended) = rest.rsplit_once(" = ")?;
        let args = args.trim_end().strip_suffix(')')?;
        Some(Self { name: name.to_owned(), args: args.to_owned(), ended: ended.to_owned() })
    }

    fn succeeded(&self) -> bool {
        !self.ended.starts_with('-')
    }

    /// The file that a call on an open file means, else the files that it names.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        if !self.args.starts_with(|c: char| c.is_ascii_digit()) {
            // What is quoted stands at odd places.
            return self.args.split('"').skip(1).step_by(2).map(PathBuf::from).collect();
        }
        let path = self.args.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        path.map(|(path, _)| PathBuf::from(path)).into_iter().collect()
    }

    /// Writes zeros ahead of the end.
    pub(super) fn writes_zeros(&self) -> bool {
        self.name.starts_with("pwrite") && self.args.contains(r#""\0\0\0\0\0\0\0\0"#)
    }

    /// Writes a line to the parent that begins with this.
    fn says(&self, start: &str) -> bool {
        let (to_parent, text) = (self.args.starts_with("1<"), self.args.split_once('"'));
        to_parent && text.is_some_and(|(_, text)| text.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"7 mkdir("/l", 0700) = 0
7 openat(AT_FDCWD</>, "/l/seg-1.tmp", O_RDWR|O_CREAT|O_EXCL, 0600) = 4</l/seg-1.tmp>
7 pwrite64(4</l/seg-1.tmp>, "\211BWL"..., 4096, 0) = 4096
7 fdatasync(4</l/seg-1.tmp> <unfinished ...>
8 read(0<pipe:[1]>, "", 1) = 0
7 <... fdatasync resumed>) = 0
7 fsync(5</>) = 0
7 rename("/l/seg-1.tmp", "/l/seg-1.wal") = 0
7 fsync(5</l>) = 0
7 pwrite64(4</l/seg-1.wal>, "\253\325"..., 192, 4096) = 192
7 fdatasync(4</l/seg-1.wal>) = 0
7 write(1<pipe:[9]>, "durable 1 2 3"..., 30) = 30
7 unlink("/l/seg-0.wal") = 0
7 openat(AT_FDCWD</>, "/l/reserve-0", O_RDWR|O_CREAT|O_EXCL, 0600) = 6</l/reserve-0>
7 pwrite64(6</l/reserve-0>, "\0\0\0\0\0\0\0\0"..., 32768, 0) = 32768
7 pwrite64(6</l/reserve-0>, "\211BWC"..., 264, 0) = 264
7 fdatasync(6</l/reserve-0>) = 0
7 rename("/l/reserve-0", "/l/ckpt-1.man") = 0
"#;

    fn check(text: &str) -> Result<Seen, String> {
        Trace::parse(text).check_order(Path::new("/l"))
    }

    #[test]
    fn the_right_order_passes_and_without_any_of_its_syncs_it_does_not() {
        let seen = check(GOOD).unwrap();
        assert_eq!((seen.promises, seen.segments, seen.removed), (1, 1, 1));
        assert_eq!(seen.checkpoints, 1);
        for sync in [
            "7 fdatasync(4</l/seg-1.tmp>",
            "fsync(5</>)",
            "fsync(5</l>)",
            "seg-1.wal>) = 0",
            "fdatasync(6",
        ] {
            let lines = GOOD.lines().filter(|line| !line.contains(sync));
            let left: Vec<_> = lines.filter(|line| !line.contains("resumed")).collect();
            assert!(check(&left.join("\n")).is_err(), "{sync}");
        }
    }

    #[test]
    fn a_call_that_was_made_to_fail_is_found_with_its_file() {
        let text = "7 fdatasync(4</l/seg-1.wal>) = -1 EIO (Input/output error) (INJECTED)\n";
        let trace = Trace::parse(text);
        assert_eq!(trace.injected().unwrap().paths(), [PathBuf::from("/l/seg-1.wal")]);
        assert!(Trace::parse(GOOD).injected().is_none());
    }
}
