//! The arrows between the crates: who may depend on whom.
//!
//! The table is the one of docs/architecture.md. Dev-dependencies are free, because cargo leaves them
//! out of what it publishes.

use super::Problem;
use super::manifest::{Kind, dependencies, manifests};
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in manifests(tree) {
        let Some(name) = path.strip_prefix("crates/").and_then(|path| path.split('/').next())
        else {
            continue;
        };
        if name == FREE {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            let what =
                "is not in the table of arrows (xtask/src/tidy/arrows.rs, docs/architecture.md)";
            problems.push(Problem::new(path, 0, what));
            continue;
        };
        for dependency in dependencies(text) {
            if dependency.kind == Kind::Dev {
                continue;
            }
            let to = dependency.name.as_str();
            if name == BOTTOM {
                let what = format!("{BOTTOM} depends on nothing, not even on {to}");
                problems.push(Problem::new(path, dependency.line, what));
            } else if dependency.is_internal() && !allowed.contains(&to) {
                let what = format!("{name} may not depend on {to} (docs/architecture.md)");
                problems.push(Problem::new(path, dependency.line, what));
            }
        }
    }
    problems
}

const BOTTOM: &str = "bucket-core";

/// Not published: may depend on anything.
const FREE: &str = "bucket-e2e";

const ARROWS: &[(&str, &[&str])] = &[
    (BOTTOM, &[]),
    ("bucket-breaker", &[BOTTOM]),
    (
        "bucket-cli",
        &[
            BOTTOM,
            "bucket-remote",
            "bucket-remote-kubo",
            "bucket-remote-object-store",
            "bucket-secrets",
            "bucket-store",
            "bucket-wal",
        ],
    ),
    (
        "bucket-kit",
        &[
            BOTTOM,
            "bucket-breaker",
            "bucket-pool",
            "bucket-remote",
            "bucket-remote-kubo",
            "bucket-remote-object-store",
            "bucket-retry",
            "bucket-secrets",
            "bucket-sim",
            "bucket-store",
            "bucket-vfs",
            "bucket-wal",
        ],
    ),
    ("bucket-pool", &[BOTTOM]),
    ("bucket-remote", &[BOTTOM]),
    ("bucket-remote-kubo", &[BOTTOM, "bucket-pool", "bucket-remote"]),
    ("bucket-remote-object-store", &[BOTTOM, "bucket-remote", "bucket-store"]),
    ("bucket-retry", &[BOTTOM]),
    ("bucket-secrets", &[BOTTOM, "bucket-vfs"]),
    ("bucket-sim", &[BOTTOM, "bucket-breaker", "bucket-pool", "bucket-retry"]),
    (
        "bucket-store",
        &[
            BOTTOM,
            "bucket-breaker",
            "bucket-pool",
            "bucket-remote",
            "bucket-retry",
            "bucket-vfs",
            "bucket-wal",
        ],
    ),
    ("bucket-vfs", &[BOTTOM]),
    ("bucket-wal", &[BOTTOM, "bucket-vfs"]),
    ("bucket-wal-openraft", &[BOTTOM, "bucket-wal"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, manifest: &str) -> Vec<String> {
        let path = format!("crates/{name}/Cargo.toml");
        let tree = Tree::from([(path.as_str(), manifest)]);
        check(&tree).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn an_arrow_between_siblings_is_reported() {
        let manifest = "[dependencies]\nbucket-breaker = { workspace = true }\n";
        assert_eq!(
            problems("bucket-retry", manifest),
            ["bucket-retry may not depend on bucket-breaker (docs/architecture.md)"]
        );
        assert!(problems("bucket-sim", manifest).is_empty());
        assert!(problems("bucket-e2e", manifest).is_empty());
    }

    #[test]
    fn the_bottom_depends_on_nothing_at_all() {
        let manifest = "[dependencies]\nlibc = \"0.2\"\n";
        assert_eq!(
            problems("bucket-core", manifest),
            ["bucket-core depends on nothing, not even on libc"]
        );
        assert!(problems("bucket-core", "[dev-dependencies]\nlibc = \"0.2\"\n").is_empty());
    }

    #[test]
    fn dev_dependencies_are_free() {
        let manifest = "[dev-dependencies]\nbucket-breaker = { path = \"../bucket-breaker\" }\n";
        assert!(problems("bucket-retry", manifest).is_empty());
    }

    #[test]
    fn a_crate_that_nobody_placed_is_reported() {
        assert_eq!(problems("bucket-new", "").len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Repeatedly take out the crates that depend only on crates taken out before.
        let mut left = ARROWS.to_vec();
        while !left.is_empty() {
            let names: Vec<_> = left.iter().map(|(name, _)| *name).collect();
            left.retain(|(_, to)| to.iter().any(|to| names.contains(to)));
            assert!(left.len() < names.len(), "a cycle among {names:?}");
        }
    }
}
