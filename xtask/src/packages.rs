//! The crates under `crates/` that are meant for the registry.

use std::fs;

use crate::{Result, root};

/// A published crate.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) has_lib: bool,
}

/// Every crate under `crates/` whose manifest does not say `publish = false`, by name.
pub(crate) fn published() -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(root().join("crates"))? {
        let path = entry?.path();
        let Ok(manifest) = fs::read_to_string(path.join("Cargo.toml")) else {
            continue;
        };
        if is_published(&manifest) {
            // The folder has the name of the crate: tidy sees to it.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            packages.push(Package { name, has_lib: path.join("src/lib.rs").exists() });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

fn is_published(manifest: &str) -> bool {
    !manifest.lines().any(|line| line.replace(' ', "").starts_with("publish=false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_the_registry_counts() {
        assert!(is_published("[package]\nname = \"a\"\n"));
        assert!(!is_published("[package]\nname = \"a\"\npublish = false # Tests only.\n"));
        let names: Vec<_> = published().unwrap().into_iter().map(|package| package.name).collect();
        assert!(names.contains(&"bucket-core".to_owned()), "{names:?}");
        assert!(!names.contains(&"bucket-e2e".to_owned()), "{names:?}");
    }
}
