//! What lies where: the names at the top level, and what every crate brings with it.

use super::Problem;
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in tree.top_level() {
        if !name.starts_with('.') && !TOP_LEVEL.contains(&name) {
            let what = "does not belong at the top level (docs/architecture.md, Layout)";
            problems.push(Problem::new(name, 0, what));
        }
    }
    for name in tree.crates() {
        let published = name != "bucket-e2e";
        let needed: &[&str] = if published { PUBLISHED } else { &["Cargo.toml", "README.md"] };
        for file in needed {
            let path = format!("crates/{name}/{file}");
            match tree.text(&path) {
                None => problems.push(Problem::new(&path, 0, "is missing")),
                // A real copy, because the package that is published contains only its own folder.
                Some(text) if file.starts_with("LICENSE") && tree.text(file) != Some(text) => {
                    let what = format!("differs from {file} at the top level");
                    problems.push(Problem::new(&path, 0, what));
                }
                Some(_) => {}
            }
        }
    }
    problems
}

const TOP_LEVEL: &[&str] = &[
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "xtask",
];

const PUBLISHED: &[&str] =
    &["CHANGELOG.md", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_name_at_the_top_level_is_reported() {
        let tree = Tree::from([("notes.txt", ""), ("tools/a.rs", ""), (".gitignore", "")]);
        let paths: Vec<_> = check(&tree).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["notes.txt", "tools"]);
    }

    #[test]
    fn a_crate_without_changelog_or_with_another_licence_is_reported() {
        let tree = Tree::from([
            ("LICENSE-APACHE", "apache"),
            ("LICENSE-MIT", "mit"),
            ("crates/bucket-x/Cargo.toml", ""),
            ("crates/bucket-x/LICENSE-APACHE", "apache"),
            ("crates/bucket-x/LICENSE-MIT", "changed"),
            ("crates/bucket-x/README.md", ""),
            ("crates/bucket-e2e/Cargo.toml", ""),
        ]);
        let lines: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "crates/bucket-e2e/README.md: is missing",
                "crates/bucket-x/CHANGELOG.md: is missing",
                "crates/bucket-x/LICENSE-MIT: differs from LICENSE-MIT at the top level",
            ]
        );
    }
}
