//! `cargo xtask tidy`: the rules of the workspace that no other tool checks.
//!
//! Each check is a function from the [`Tree`] to [`Problem`]s, so that each can be shown a bad
//! example. Reads files and changes nothing.

mod arrows;
mod layout;
mod links;
mod manifest;
mod metrics;
mod source;
mod tree;

use std::fmt;

use crate::{Outcome, Result, root};
pub(crate) use manifest::{Kind, dependencies};
use tree::Tree;

pub(crate) fn run() -> Result {
    let tree = Tree::read(&root())?;
    let problems = check(&tree);
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("tidy: {} files, nothing to report", tree.files().count());
            Ok(Outcome::Done)
        }
        1 => Err("tidy found 1 problem".into()),
        n => Err(format!("tidy found {n} problems").into()),
    }
}

/// Every problem in the tree, sorted by place.
fn check(tree: &Tree) -> Vec<Problem> {
    let checks = [
        layout::check,
        manifest::check,
        arrows::check,
        links::check,
        metrics::check,
        source::check,
    ];
    let mut problems = checks.into_iter().flat_map(|check| check(tree)).collect::<Vec<_>>();
    problems.sort();
    problems
}

/// A broken rule and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: String,
    /// 0 where the file as a whole is meant.
    line: usize,
    what: String,
}

impl Problem {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        // Each line is a rule broken somewhere else than in xtask: `cargo xtask tidy` says the same.
        let problems = check(&Tree::read(&root()).unwrap());
        let ours: Vec<_> =
            problems.iter().filter(|problem| problem.path.starts_with("xtask/")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }

    #[test]
    fn a_problem_prints_as_editors_understand_it() {
        assert_eq!(Problem::new("a/b.rs", 3, "no").to_string(), "a/b.rs:3: no");
        assert_eq!(Problem::new("a/b.rs", 0, "no").to_string(), "a/b.rs: no");
    }
}
