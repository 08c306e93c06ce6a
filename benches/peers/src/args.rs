//! The command line.

use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: bucket-peers [GROUP|ROW…] [--quick] [--list] [--page] [--compare OLD.json] [--root DIR]

  GROUP|ROW          only these groups (wal, pool, …) or rows (wal.8t, or how they begin)
  --quick            shows that everything runs: two short rounds, no verdict, no page
  --list             the groups and their rows
  --page             writes docs/benchmarks.md from the report at hand and measures nothing
  --compare OLD      compares the report at hand with an older one and measures nothing
  --root DIR         the workspace; by default the one this was compiled in";

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) only: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) list: bool,
    pub(crate) page: bool,
    pub(crate) help: bool,
    pub(crate) compare: Option<PathBuf>,
    pub(crate) root: Option<PathBuf>,
}

impl Args {
    /// Reads the arguments after the name of the program.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut path = || args.next().map(PathBuf::from).ok_or(format!("{arg} needs a path"));
            match arg.as_str() {
                "--quick" => parsed.quick = true,
                "--list" => parsed.list = true,
                "--page" => parsed.page = true,
                "--help" | "-h" => parsed.help = true,
                "--compare" => parsed.compare = Some(path()?),
                "--root" => parsed.root = Some(path()?),
                other if other.starts_with('-') => return Err(format!("no option {other:?}")),
                _ => parsed.only.push(arg),
            }
        }
        Ok(parsed)
    }

    /// True when the row `id` of `group` is to be measured.
    pub(crate) fn wants(&self, group: &str, id: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|only| only == group || id.starts_with(only.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn groups_and_rows_choose_and_nothing_chooses_all() {
        let args = parse("wal.8t pool --quick").unwrap();
        assert!(args.quick);
        assert!(args.wants("wal", "wal.8t") && args.wants("pool", "pool.1t"));
        assert!(!args.wants("wal", "wal.1t.small") && !args.wants("store", "store.put"));
        assert!(parse("").unwrap().wants("store", "store.put"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["--frob", "--compare", "wal --root"] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn paths_follow_their_options() {
        let args = parse("--compare old.json --root /x").unwrap();
        assert_eq!(args.compare.as_deref(), Some("old.json".as_ref()));
        assert_eq!(args.root.as_deref(), Some("/x".as_ref()));
    }
}
