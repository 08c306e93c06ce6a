//! `cargo xtask deny`: licences, sources, duplicates, and known vulnerabilities of what we depend on.
//!
//! The vulnerabilities are those of the RustSec database. `BUCKET_ADVISORY_DB` names a copy, a
//! folder or a `.tgz`; without it the database is fetched. Where neither can be had the rest still
//! counts, and the result says what was not checked: a machine without network is no reason to fail.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cmd::Cmd;
use crate::{Outcome, Result, root, tools};

pub(crate) fn run() -> Result {
    let Some(deny) = tools::DENY.find_or_install()? else {
        return Ok(Outcome::Skipped(tools::DENY.missing));
    };
    let deny = deny.args(["--all-features", "--locked"]);
    deny.clone().args(["check", "bans", "licenses", "sources"]).run()?;

    if let Some(copy) = std::env::var_os(DATABASE).filter(|copy| !copy.is_empty()) {
        let config = unpack(&std::path::absolute(copy)?)?;
        let config = config.to_string_lossy();
        deny.args(["--offline", "--config", &config, "check", "advisories"]).run()?;
    } else if let Err(error) = deny.clone().args(["fetch", "db"]).output() {
        eprintln!("{error}");
        return Ok(Outcome::Partly(
            "advisories NOT CHECKED: they cannot be fetched, and BUCKET_ADVISORY_DB names no copy",
        ));
    } else {
        deny.args(["check", "advisories"]).run()?;
    }
    Ok(Outcome::Done)
}

/// Lays out the database that `copy` holds as cargo-deny looks for it, and returns the path of a
/// configuration that names the place.
fn unpack(copy: &Path) -> Result<PathBuf> {
    tools::need("git", &["git"])?;
    tools::need("tar", &["tar"])?;
    let home = root().join("target").join("advisory-db");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let unpacked = home.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let database = if copy.is_dir() {
        copy_folder(&database_in(copy)?, &unpacked)?;
        unpacked
    } else {
        let (archive, into) = (copy.to_string_lossy(), unpacked.to_string_lossy());
        Cmd::new("tar").args(["-xzf", &archive, "-C", &into]).run()?;
        database_in(&unpacked)?
    };
    let newest = newest_date(&database)?.ok_or("the database holds no dated advisory")?;
    println!("advisories: the newest in {} is of {newest}", copy.display());

    // cargo-deny takes nothing but a clone, so a copy becomes one; its age above is the true one.
    let clone = home.join(CLONE);
    fs::rename(database, &clone)?;
    let git = |line: &str| {
        let folder = clone.to_string_lossy();
        Cmd::new("git").args(["-C", &folder]).args(line.split_whitespace()).output()
    };
    git("init --quiet")?;
    git("add --all --force")?;
    git("-c user.name=xtask -c user.email=xtask@localhost -c commit.gpgsign=false \
         commit --quiet --message copy")?;

    let config = home.join("deny.toml");
    fs::write(&config, with_database(&fs::read_to_string(root().join("deny.toml"))?, &home)?)?;
    Ok(config)
}

/// `folder` or the only folder in it: what holds the folder of advisories.
fn database_in(folder: &Path) -> Result<PathBuf> {
    if folder.join("crates").is_dir() {
        return Ok(folder.to_path_buf());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("crates").is_dir() {
            return Ok(path);
        }
    }
    Err(format!("{} holds no advisory database: there is no `crates` in it", folder.display())
        .into())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // The copy gets a history of its own.
        if entry.file_name() == ".git" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The date of the newest advisory.
fn newest_date(database: &Path) -> Result<Option<String>> {
    let mut newest = None;
    for entry in fs::read_dir(database.join("crates"))? {
        let folder = entry?.path();
        for file in fs::read_dir(&folder).into_iter().flatten() {
            let text = fs::read_to_string(file?.path())?;
            let date = text.lines().find_map(|line| line.strip_prefix("date = "));
            newest = newest.max(date.map(|date| date.trim_matches('"').to_owned()));
        }
    }
    Ok(newest)
}

/// The configuration `text` with the place of the database in it.
fn with_database(text: &str, home: &Path) -> Result<String> {
    let table = "[advisories]\n";
    let (before, after) = text.split_once(table).ok_or("deny.toml has no [advisories]")?;
    // Single quotes: a path of Windows has backslashes.
    Ok(format!("{before}{table}db-path = '{}'\n{after}", home.display()))
}

const DATABASE: &str = "BUCKET_ADVISORY_DB";

/// The name under which the pinned cargo-deny keeps its clone of the database of its default address.
const CLONE: &str = "advisory-db-3157b0e258782691";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_database_goes_into_its_table() {
        let text = "[graph]\nx = 1\n[advisories]\nyanked = \"deny\"\n";
        let with = with_database(text, Path::new("/a/b")).unwrap();
        assert_eq!(with, "[graph]\nx = 1\n[advisories]\ndb-path = '/a/b'\nyanked = \"deny\"\n");
        assert!(with_database("[graph]\n", Path::new("/a")).is_err());
        let ours = fs::read_to_string(root().join("deny.toml")).unwrap();
        assert!(with_database(&ours, Path::new("/a")).is_ok());
    }

    #[test]
    fn a_folder_without_advisories_is_no_database() {
        assert!(database_in(&root().join("docs")).is_err());
        // Any folder with `crates` in it will do for the search, ours too.
        assert_eq!(database_in(&root()).unwrap(), root());
    }
}
