//! `cargo xtask services [--heavy]`: installs the servers and tools that the tests of `bucket-e2e` start.
//!
//! Debian's packages as root; what is no package goes where the tools are. Whatever is there already is
//! left alone, so that the command is over at once the second time. Elsewhere it says what to install.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cmd::Cmd;
use crate::{Outcome, Result, tools};

pub(crate) fn run(heavy: bool) -> Result {
    if !cfg!(target_os = "linux") {
        return Ok(Outcome::Skipped("the tests start real servers on Linux only"));
    }
    if !ensure(&[PACKAGES, if heavy { HEAVY_PACKAGES } else { &[] }].concat())? {
        return Ok(Outcome::Skipped("servers for the tests are missing (see above)"));
    }
    if tools::S3S_FS.find_or_install()?.is_none() {
        return Ok(Outcome::Skipped(tools::S3S_FS.missing));
    }
    let ipfs = tools::folder(&tools::cargo_home()?).join(format!("ipfs-{IPFS_VERSION}"));
    // npm writes this file when everything else is in place.
    if heavy && !ipfs.join("node_modules/.package-lock.json").is_file() {
        fs::create_dir_all(&ipfs)?;
        Cmd::new("npm")
            .args(["install", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix"])
            .args([&*ipfs.to_string_lossy(), &format!("ipfs@{IPFS_VERSION}")])
            .run()?;
    }
    Ok(Outcome::Done)
}

/// Programs, and the package that has them all.
pub(crate) type Package = (&'static [&'static str], &'static str);

/// Installs the packages whose programs are missing; where that is not ours to do, says which they are, and
/// returns false.
pub(crate) fn ensure(packages: &[Package]) -> Result<bool> {
    let is_missing = |(programs, _): &&Package| !programs.iter().all(|program| is_there(program));
    let missing = packages.iter().filter(is_missing);
    let mut missing: Vec<&'static str> = missing.map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() || install_packages(&missing)? {
        return Ok(true);
    }
    println!(
        "to install, on Debian: apt-get install --no-install-recommends {}",
        missing.join(" ")
    );
    Ok(false)
}

/// Installs packages where that is ours to do; false where it is not.
pub(crate) fn install_packages(packages: &[&'static str]) -> Result<bool> {
    let install = |more: &[&'static str]| {
        let line = ["install", "--yes", "--no-install-recommends"];
        apt_get(line.iter().chain(more).chain(packages).copied())
    };
    let _policy = Policy::set();
    let Some(update) = apt_get(["update", "--quiet"]) else { return Ok(false) };
    update.run()?;
    // A download or a script may fail for once; `-f` repairs what was left half done.
    for more in [&[][..], &["-f"]] {
        match install(more).map(|cmd| cmd.run()) {
            Some(Err(error)) if more.is_empty() => println!("once more, because of {error}"),
            Some(result) => return result.map(|()| true),
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// `apt-get`, where it exists and we may: as root, and on a build machine also by `sudo`, which must
/// not ask. On a person's machine that is the person's to decide.
fn apt_get<'a>(args: impl IntoIterator<Item = &'a str>) -> Option<Cmd> {
    if !is_there("apt-get") {
        return None;
    }
    let cmd = if is_root() {
        Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive")
    } else if crate::in_ci() && Cmd::new("sudo").args(["-n", "true"]).succeeds_silently() {
        Cmd::new("sudo").args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
    } else {
        return None;
    };
    Some(cmd.args(args))
}

#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(not(unix))]
pub(crate) fn is_root() -> bool {
    false
}

/// Keeps Debian from starting the servers that it installs: the tests start their own.
#[derive(Debug)]
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn set() -> Self {
        let path = Path::new(POLICY);
        // A policy that somebody has set already is theirs.
        let is_ours = !path.exists() && is_root() && write_script(path).is_ok();
        Self { is_ours }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

fn write_script(path: &Path) -> std::io::Result<()> {
    fs::write(path, "#!/bin/sh\nexit 101\n")?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn is_there(program: &str) -> bool {
    folders().into_iter().any(|folder| folder.join(program).is_file())
}

/// Where programs lie: the search path, and where Debian puts servers.
fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec!["/usr/sbin".into(), "/sbin".into()];
    folders.extend(std::env::split_paths(&path));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    folders
}

const PACKAGES: &[Package] = &[
    (&["dbus-daemon"], "dbus"),
    (&["gnome-keyring-daemon"], "gnome-keyring"),
    (&["initdb", "postgres", "psql"], "postgresql"),
    (&["redis-server"], "redis-server"),
    (&["secret-tool"], "libsecret-tools"),
    (&["setpriv"], "util-linux"),
    (&["strace"], "strace"),
];

const HEAVY_PACKAGES: &[Package] = &[(&["node"], "nodejs"), (&["npm"], "npm")];

const IPFS_VERSION: &str = "0.66.1";

const POLICY: &str = "/usr/sbin/policy-rc.d";

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_program_is_found_in_the_search_path_and_only_there() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-anywhere"));
        assert!(!is_there(""), "a folder is no program");
    }

    #[test]
    fn every_package_has_a_program_to_know_it_by() {
        for (programs, package) in PACKAGES.iter().chain(HEAVY_PACKAGES) {
            assert!(!programs.is_empty() && !package.is_empty());
        }
    }
}
