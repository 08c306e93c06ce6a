//! The manifests: shared lints, and internal dependencies written so that every crate can be
//! published.
//!
//! Reads the part of TOML that manifests use: tables, dotted keys, and values that may run over
//! several lines inside brackets.

use super::Problem;
use super::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in manifests(tree) {
        if path.starts_with("xtask/") {
            for dependency in dependencies(text) {
                problems.push(Problem::new(path, dependency.line, "xtask stays on std"));
            }
        }
        if !inherits_lints(text) {
            problems.push(Problem::new(path, 0, "lacks `[lints] workspace = true`"));
        }
        if let Some(folder) = path.strip_prefix("crates/").and_then(|path| path.split('/').next())
            && value_of(text, "package", "name").is_none_or(|name| name.trim_matches('"') != folder)
        {
            problems.push(Problem::new(path, 0, "the crate is not named as its folder"));
        }
        for dependency in dependencies(text).iter().filter(|dependency| dependency.is_internal()) {
            if let Some(what) = dependency.mistake() {
                problems.push(Problem::new(path, dependency.line, what));
            }
        }
    }
    problems
}

/// The manifests of the members, with their paths.
pub(super) fn manifests(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files().filter(|(path, _)| match path.strip_suffix("/Cargo.toml") {
        Some(folder) => match folder.strip_prefix("crates/") {
            Some(name) => !name.contains('/'),
            None => folder == "benches" || folder == "xtask",
        },
        None => false,
    })
}

/// One dependency as a manifest states it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) kind: Kind,
    /// The name of the package, also where the manifest renames it.
    pub(crate) name: String,
    pub(crate) line: usize,
    /// The right-hand side, without blanks.
    spec: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Build,
    Dev,
    Normal,
}

impl Dependency {
    pub(crate) fn is_internal(&self) -> bool {
        self.name.starts_with("bucket-")
    }

    fn mistake(&self) -> Option<String> {
        let name = &self.name;
        match self.kind {
            // The version is then stated once, at the top.
            Kind::Build | Kind::Normal => (!self.spec.contains("workspace=true"))
                .then(|| format!("write `{name} = {{ workspace = true }}`")),
            // Cargo leaves out a dev-dependency without version when it publishes; with one, two
            // crates that test each other could never be published.
            Kind::Dev => (!self.spec.contains("path=")
                || self.spec.contains("version=")
                || self.spec.contains("workspace="))
            .then(|| format!("write `{name} = {{ path = \"../{name}\" }}`, without version")),
        }
    }
}

/// Every dependency that `manifest` states, in order.
pub(crate) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    for entry in entries(manifest) {
        let (kind, name, spec) = if let Some(kind) = kind_of(&entry.table) {
            // `a.workspace = true` says the same as `a = { workspace = true }`.
            match entry.key.split_once('.') {
                Some((name, rest)) => (kind, name.to_owned(), format!("{rest}={}", entry.value)),
                None => (kind, entry.key, entry.value),
            }
        } else if let Some((table, name)) = entry.table.rsplit_once('.')
            && let Some(kind) = kind_of(table)
        {
            (kind, name.to_owned(), format!("{}={}", entry.key, entry.value))
        } else {
            continue;
        };
        let name = name.trim_matches('"').to_owned();
        match found.last_mut() {
            Some(last) if last.kind == kind && last.name == name => {
                last.spec = format!("{},{spec}", last.spec);
            }
            _ => found.push(Dependency { kind, name, line: entry.line, spec }),
        }
    }
    for dependency in &mut found {
        if let Some((_, rest)) = dependency.spec.split_once("package=\"") {
            dependency.name = rest.split('"').next().unwrap_or_default().to_owned();
        }
    }
    found
}

fn kind_of(table: &str) -> Option<Kind> {
    let last = table.rsplit_once('.').map_or(table, |(_, last)| last);
    match last {
        "build-dependencies" => Some(Kind::Build),
        "dependencies" => Some(Kind::Normal),
        "dev-dependencies" => Some(Kind::Dev),
        _ => None,
    }
}

fn inherits_lints(manifest: &str) -> bool {
    value_of(manifest, "lints", "workspace").as_deref() == Some("true")
        || value_of(manifest, "", "lints.workspace").as_deref() == Some("true")
}

fn value_of(manifest: &str, table: &str, key: &str) -> Option<String> {
    let entry =
        entries(manifest).into_iter().find(|entry| entry.table == table && entry.key == key);
    entry.map(|entry| entry.value)
}

/// One `key = value` and the table it stands in; without blanks and comments.
#[derive(Debug)]
struct Entry {
    table: String,
    key: String,
    value: String,
    line: usize,
}

fn entries(manifest: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut open_brackets = 0_i32;
    for (at, line) in manifest.lines().enumerate() {
        let line = without_comment_and_blanks(line);
        let depth = bracket_balance(&line);
        if open_brackets > 0 {
            // A value that runs over several lines.
            if let Some(last) = entries.last_mut() {
                last.value.push_str(&line);
            }
            open_brackets += depth;
        } else if let Some(name) = line.strip_prefix('[') {
            table = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.to_owned(), value.to_owned());
            entries.push(Entry { table: table.clone(), key, value, line: at + 1 });
            open_brackets = depth;
        }
    }
    entries
}

fn without_comment_and_blanks(line: &str) -> String {
    let mut quote = None;
    let mut kept = String::new();
    for c in line.chars() {
        match (c, quote) {
            ('#', None) => break,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => continue,
            _ => {}
        }
        kept.push(c);
    }
    kept
}

fn bracket_balance(line: &str) -> i32 {
    let mut in_text = false;
    line.chars().fold(0, |depth, c| match c {
        '"' => {
            in_text = !in_text;
            depth
        }
        '[' | '{' if !in_text => depth + 1,
        ']' | '}' if !in_text => depth - 1,
        _ => depth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(manifest: &str) -> Vec<String> {
        let tree = Tree::from([("crates/bucket-x/Cargo.toml", manifest)]);
        check(&tree).into_iter().map(|problem| problem.to_string()).collect()
    }

    const HEAD: &str = "[package]\nname = \"bucket-x\"\n[lints]\nworkspace = true\n";

    #[test]
    fn an_internal_dependency_that_is_not_inherited_is_reported() {
        let at = |line| format!("crates/bucket-x/Cargo.toml:{line}: ");
        let write = "write `bucket-core = { workspace = true }`";
        for bad in [
            "[dependencies]\nbucket-core = { path = \"../bucket-core\" }",
            "[dependencies]\nbucket-core = \"0.1\"",
            "[build-dependencies]\nbucket-core = { version = \"0.1\" }",
            "[target.'cfg(unix)'.dependencies]\nbucket-core = \"0.1\"",
            "[dependencies.bucket-core]\npath = \"../bucket-core\"",
            "[dependencies]\ncore = { package = \"bucket-core\", path = \"../bucket-core\" }",
        ] {
            let problems = whats(&format!("{HEAD}{bad}"));
            assert_eq!(problems, [at(6) + write], "{bad}");
        }
        for good in [
            "[dependencies]\nbucket-core = { workspace = true, features = [\n\"a\",\n\"b\" ] }",
            "[dependencies]\nbucket-core.workspace = true # Inherited.",
            "[dependencies.bucket-core]\nworkspace = true\noptional = true",
            "[dependencies]\nserde = \"1\"",
        ] {
            assert!(whats(&format!("{HEAD}{good}")).is_empty(), "{good}");
        }
    }

    #[test]
    fn an_internal_dev_dependency_with_a_version_is_reported() {
        for bad in [
            "bucket-core = { workspace = true }",
            "bucket-core = { path = \"../bucket-core\", version = \"0.1\" }",
            "bucket-core = { features = [\"testing\"] }",
        ] {
            let problems = whats(&format!("{HEAD}[dev-dependencies]\n{bad}"));
            assert_eq!(problems.len(), 1, "{bad}");
            assert!(problems[0].ends_with("without version"), "{bad}");
        }
        let good = "bucket-core = { path = \"../bucket-core\", features = [\"testing\"] }";
        assert!(whats(&format!("{HEAD}[dev-dependencies]\n{good}")).is_empty());
    }

    #[test]
    fn missing_lints_and_another_name_are_reported() {
        let problems =
            whats("[package]\nname = \"bucket-y\"\n[lints.rust]\nmissing_docs = \"warn\"");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("lints") && problems[1].contains("folder"), "{problems:?}");
    }

    #[test]
    fn a_dependency_of_xtask_is_reported() {
        let manifest = "[dependencies]\nserde = \"1\"\n[lints]\nworkspace = true";
        let problems = check(&Tree::from([("xtask/Cargo.toml", manifest)]));
        assert_eq!(problems, [Problem::new("xtask/Cargo.toml", 2, "xtask stays on std")]);
    }
}
