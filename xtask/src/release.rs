//! `cargo xtask release --all --dry-run`: every published crate as the registry would get it.
//!
//! Cargo packages them against each other, in order, with nothing published. Without `--no-verify`
//! it also builds each from its package alone. What is in the packages is checked here. Nothing is
//! uploaded.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::cmd::Cmd;
use crate::packages::{self, Package};
use crate::{Outcome, Result, root, tools};

/// What may be left out, or let pass, to save time at a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Package also what is not committed.
    pub(crate) allow_dirty: bool,
    /// Build each crate from its package.
    pub(crate) verify: bool,
}

pub(crate) fn dry_run(options: Options) -> Result {
    tools::need("tar", &["tar"])?;
    let packages = packages::in_order(packages::published()?)?;
    let names =
        packages.iter().map(|package| Ok(format!("{}-{}", package.name, version(package)?)));
    let names = names.collect::<Result<Vec<_>>>()?;
    forget_earlier_runs(&names)?;

    // What `cargo publish --dry-run` does as well, but that leaves no package behind to look at.
    let mut cmd = Cmd::cargo("package --locked --target-dir").args([TARGET]);
    for package in &packages {
        cmd = cmd.args(["-p", &package.name]);
    }
    if options.allow_dirty {
        cmd = cmd.args(["--allow-dirty"]);
    }
    if !options.verify {
        cmd = cmd.args(["--no-verify"]);
    }
    cmd.run()?;

    let mut problems = Vec::new();
    println!("\n{:>3}  {:<32}{:>7}{:>11}", "", "package", "files", "size");
    for (at, name) in names.iter().enumerate() {
        let (files, len) = read(name)?;
        let kib = len.div_ceil(1_024);
        println!("{:>3}  {name:<32}{:>7}{kib:>7} KiB", at + 1, files.len());
        problems.extend(check(&files).into_iter().map(|problem| format!("{name} {problem}")));
    }
    if problems.is_empty() { Ok(Outcome::Done) } else { Err(problems.join("\nerror: ").into()) }
}

/// Removes what an earlier run has unpacked and built of these packages.
///
/// Cargo takes a version on a registry for something that never changes. The registry that it makes
/// up for packages that need each other is no exception, so without this a second run would check
/// today's packages against those of the first.
fn forget_earlier_runs(names: &[String]) -> Result<()> {
    let remove = |folder: PathBuf| match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for registry in folders(&tools::cargo_home()?.join("registry/src")) {
        // A registry on the web has its host in front of the dash.
        if registry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"-")) {
            names.iter().try_for_each(|name| remove(registry.join(name)))?;
        }
    }
    for built in folders(&root().join(TARGET).join("debug/.fingerprint")) {
        if built.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"bucket-")) {
            remove(built)?;
        }
    }
    remove(root().join(TARGET).join("package"))?;
    Ok(())
}

/// What is in `folder`; nothing when there is no such folder.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The paths of the files, and the length, of the package of this name.
fn read(name: &str) -> Result<(Vec<String>, u64)> {
    let path = root().join(TARGET).join("package").join(format!("{name}.crate"));
    let len = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    let listing = Cmd::new("tar").args(["-tzf", &path.to_string_lossy()]).output()?;
    let prefix = format!("{name}/");
    let files = listing.lines().filter_map(|line| line.strip_prefix(&prefix));
    Ok((files.map(str::to_owned).collect(), len))
}

/// The version as cargo knows it: most crates inherit it.
fn version(package: &Package) -> Result<String> {
    let id = Cmd::cargo("pkgid --locked").args(["-p", &package.name]).output()?;
    let version = id.trim().rsplit(['#', '@']).next().unwrap_or_default();
    Ok(version.to_owned())
}

/// What is wrong with a package of these files.
fn check(files: &[String]) -> Vec<String> {
    let missing = NEEDED.iter().filter(|needed| !files.iter().any(|file| file == *needed));
    let mut problems: Vec<_> = missing.map(|needed| format!("lacks {needed}")).collect();
    for file in files {
        // Tests and examples may stay: whoever patches a crate wants to run them.
        if file.split('/').any(|part| UNWANTED.contains(&part)) {
            problems.push(format!("contains {file}"));
        }
    }
    problems
}

/// Apart from all else that is built, because the same versions differ from run to run.
const TARGET: &str = "target/packaged";

const NEEDED: &[&str] =
    &["CHANGELOG.md", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Folders that are of use in the repository alone.
const UNWANTED: &[&str] = &["artifacts", "corpus", "fuzz", "proptest-regressions", "target"];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(more: &[&str]) -> Vec<String> {
        let files = NEEDED.iter().chain(more).map(|file| (*file).to_owned());
        check(&files.collect::<Vec<_>>())
    }

    #[test]
    fn a_package_without_a_licence_is_refused() {
        assert!(problems(&["src/lib.rs"]).is_empty());
        let without: Vec<_> = NEEDED.iter().map(|file| (*file).to_owned()).skip(1).collect();
        assert_eq!(check(&without), ["lacks CHANGELOG.md"]);
    }

    #[test]
    fn a_package_with_fuzz_targets_or_a_corpus_is_refused() {
        assert_eq!(problems(&["fuzz/Cargo.toml"]), ["contains fuzz/Cargo.toml"]);
        assert_eq!(problems(&["src/corpus/a"]), ["contains src/corpus/a"]);
        // A module about fuzzing is no folder of targets.
        assert!(problems(&["src/fuzzing.rs"]).is_empty());
    }

    #[test]
    fn a_crate_has_the_version_that_cargo_gives_it() {
        let packages = packages::published().unwrap();
        let version = version(&packages[0]).unwrap();
        assert_eq!(version.split('.').count(), 3, "{version}");
        assert!(version.chars().next().is_some_and(|c| c.is_ascii_digit()), "{version}");
    }
}
