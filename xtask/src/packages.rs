//! The crates under `crates/` that are meant for the registry.

use std::fs;
use std::path::PathBuf;

use crate::tidy::{Kind, dependencies};
use crate::{Result, root};

/// A published crate.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) has_lib: bool,
    /// The crates of ours that must be on the registry before this one.
    needs: Vec<String>,
}

/// Every crate under `crates/` whose manifest does not say `publish = false`, by name.
pub(crate) fn published() -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        if is_published(&manifest) {
            // The folder has the name of the crate: tidy sees to it.
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let has_lib = folder.join("src/lib.rs").exists();
            packages.push(Package { name, has_lib, needs: needs(&manifest) });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// `packages` with every crate behind those that it needs; by name where that leaves a choice.
pub(crate) fn in_order(mut packages: Vec<Package>) -> Result<Vec<Package>> {
    let mut ordered: Vec<Package> = Vec::new();
    while !packages.is_empty() {
        let is_there = |name: &String| ordered.iter().any(|package| package.name == *name);
        match packages.iter().position(|package| package.needs.iter().all(is_there)) {
            Some(next) => ordered.push(packages.remove(next)),
            None => {
                let names: Vec<_> = packages.iter().map(|package| &*package.name).collect();
                return Err(format!(
                    "these need each other, or one that is not published: {}",
                    names.join(", ")
                )
                .into());
            }
        }
    }
    Ok(ordered)
}

/// The manifests of ours that are workspaces of their own: fuzz targets, and comparisons with peers.
pub(crate) fn outside() -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("benches/peers")];
    for entry in fs::read_dir(root().join("crates"))? {
        folders.push(PathBuf::from("crates").join(entry?.file_name()).join("fuzz"));
    }
    folders.sort();
    let manifests = folders.into_iter().map(|folder| folder.join("Cargo.toml"));
    Ok(manifests.filter(|manifest| root().join(manifest).exists()).collect())
}

/// The internal dependencies that cargo keeps when it publishes.
fn needs(manifest: &str) -> Vec<String> {
    dependencies(manifest)
        .into_iter()
        .filter(|dependency| dependency.is_internal() && dependency.kind != Kind::Dev)
        .map(|dependency| dependency.name)
        .collect()
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

    #[test]
    fn a_crate_comes_behind_what_it_needs() {
        let ordered = in_order(vec![
            package("bucket-a", &["bucket-c"]),
            package("bucket-b", &[]),
            package("bucket-c", &["bucket-b"]),
            package("bucket-d", &["bucket-b"]),
        ]);
        let names: Vec<_> = ordered.unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["bucket-b", "bucket-c", "bucket-a", "bucket-d"]);
    }

    #[test]
    fn a_circle_and_a_need_that_is_not_published_are_errors() {
        let circle = vec![package("bucket-a", &["bucket-b"]), package("bucket-b", &["bucket-a"])];
        assert!(in_order(circle).unwrap_err().to_string().contains("bucket-a, bucket-b"));
        assert!(in_order(vec![package("bucket-a", &["bucket-e2e"])]).is_err());
    }

    #[test]
    fn a_crate_that_only_tests_use_is_not_needed() {
        let manifest = "[dependencies]\nserde = \"1\"\nbucket-a = { workspace = true }\n\
                        [dev-dependencies]\nbucket-b = { path = \"../bucket-b\" }\n";
        assert_eq!(needs(manifest), ["bucket-a"]);
    }

    #[test]
    fn ours_can_be_published_and_the_bottom_comes_first() {
        let ordered = in_order(published().unwrap()).unwrap();
        assert_eq!(ordered[0].name, "bucket-core");
    }

    #[test]
    fn the_fuzz_targets_are_a_workspace_beside_ours() {
        let ours = PathBuf::from("crates/bucket-wal/fuzz/Cargo.toml");
        assert!(outside().unwrap().contains(&ours));
    }

    fn package(name: &str, needs: &[&str]) -> Package {
        let needs = needs.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.into(), has_lib: true, needs }
    }
}
