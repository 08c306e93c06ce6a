//! What a test needs and the machine lacks: said aloud, and a failure where nothing may be missing.

use std::path::PathBuf;

/// Something that has to be installed first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a test that cannot run says so: call `skip`"]
pub struct Missing {
    what: String,
    heavy: bool,
}

impl Missing {
    /// A program that the Debian package `package` brings.
    pub(crate) fn package(program: &str, package: &str) -> Self {
        let what = format!(
            "no `{program}`: `cargo xtask services` installs it, or on Debian `apt-get install \
             --no-install-recommends {package}`"
        );
        Self { what, heavy: false }
    }

    /// A right, usually that of root.
    pub(crate) fn right(what: &str) -> Self {
        Self { what: what.to_owned(), heavy: false }
    }

    /// Something else that `cargo xtask services` installs.
    pub(crate) fn tool(what: &str) -> Self {
        Self { what: format!("{what}: `cargo xtask services` installs it"), heavy: false }
    }

    /// Something so large that only the heavy run asks for it: where [`is_heavy`] holds it may not
    /// be missing either.
    pub(crate) fn heavy(what: &str) -> Self {
        let what = format!("{what}: `cargo xtask services --heavy` installs it");
        Self { what, heavy: !is_heavy() }
    }

    /// Says that a test cannot run here.
    ///
    /// # Panics
    ///
    /// Where `CI` is set, unless it is something that the light run leaves out.
    pub fn skip(&self) {
        if self.heavy {
            println!("SKIPPED, in CI's light run too (BUCKET_HEAVY=1 demands it): {}", self.what);
        } else {
            skip(&self.what);
        }
    }
}

/// Says that a test cannot run here; fails where `CI` is set.
///
/// # Panics
///
/// Where `CI` is set.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this must run in CI: {why}");
    println!("SKIPPED: {why}");
}

/// Whether the run includes what takes hundreds of megabytes.
fn is_heavy() -> bool {
    std::env::var("BUCKET_HEAVY").is_ok_and(|value| value == "1")
}

/// The folder of `name` among those in which `cargo xtask services` puts what is no Debian package,
/// each called by name and version.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)?;
    let entries = std::fs::read_dir(cargo_home.join("bucket-kit-tools")).ok()?.flatten();
    let folders = entries.filter(|entry| {
        let version = entry.file_name().to_string_lossy().strip_prefix(name).map(str::to_owned);
        version.is_some_and(|version| version.starts_with('-'))
    });
    folders.map(|entry| entry.path()).max()
}

/// The program called `name`, among our tools or in the search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = tool(name).map(|folder| folder.join("bin")).into_iter().collect();
    folders.extend(std::env::split_paths(&path));
    // Where Debian puts daemons, which the search path of an ordinary user may lack.
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
}
