//! What must be installed beyond cargo: found, or installed where that can be done.
//!
//! Tools have their exact version, so that a new release changes nothing here. They live under
//! cargo's home, a folder for each version: there they survive `cargo clean`, serve every checkout,
//! and never replace what a person has installed.

use std::path::{Path, PathBuf};

use crate::cmd::Cmd;
use crate::{Result, services};

/// Fails, with what to do, when a program is missing that the build needs.
pub(crate) fn check() -> Result<()> {
    need("cc", &["gcc", "libc6-dev"])
}

/// A program that is a crate of its own.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    features: &'static str,
    /// The reason of a skip.
    pub(crate) missing: &'static str,
}

pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    features: "",
    missing: "cargo-deny is missing and could not be installed",
};

pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    features: "",
    missing: "cargo-fuzz is missing and could not be installed",
};

pub(crate) const HACK: Tool = Tool {
    name: "cargo-hack",
    version: "0.6.46",
    features: "",
    missing: "cargo-hack is missing and could not be installed",
};

/// An S3 server for the tests. 0.15 and later ask for a newer compiler than ours.
pub(crate) const S3S_FS: Tool = Tool {
    name: "s3s-fs",
    version: "0.14.1",
    features: "binary",
    missing: "s3s-fs is missing and could not be installed",
};

impl Tool {
    /// The tool as a command with its first arguments; `None` where it cannot be installed.
    pub(crate) fn find_or_install(&self) -> Result<Option<Cmd>> {
        let home = self.home(&cargo_home()?);
        let program =
            home.join("bin").join(format!("{}{}", self.name, std::env::consts::EXE_SUFFIX));
        if program.exists() {
            return Ok(Some(self.command(&program)));
        }
        let on_path = self.command(Path::new(self.name));
        if on_path.clone().args(["--version"]).output().is_ok_and(|text| self.is_ours(&text)) {
            return Ok(Some(on_path));
        }
        eprintln!("{} {} is missing. Installing it once takes minutes.", self.name, self.version);
        // Built without optimisation: that takes half the time, and no run here takes long.
        let installed = Cmd::cargo("install --locked --debug --root")
            .args([&*home.to_string_lossy(), "--version", self.version])
            .args(["--features", self.features, self.name])
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .run();
        if let Err(error) = installed {
            eprintln!("error: {error}");
            return Ok(None);
        }
        Ok(Some(self.command(&program)))
    }

    fn home(&self, cargo_home: &Path) -> PathBuf {
        folder(cargo_home).join(format!("{}-{}", self.name, self.version))
    }

    /// `cargo-deny deny`: as cargo starts it.
    fn command(&self, program: &Path) -> Cmd {
        let subcommand = self.name.trim_start_matches("cargo-");
        Cmd::new(&program.to_string_lossy()).args([subcommand])
    }

    /// True when `text`, which a tool prints about itself, names the version that is wanted.
    fn is_ours(&self, text: &str) -> bool {
        text.split_whitespace().last() == Some(self.version)
    }
}

/// Where everything that is installed here goes; `bucket-e2e` looks for its servers in it.
pub(crate) fn folder(cargo_home: &Path) -> PathBuf {
    cargo_home.join("bucket-kit-tools")
}

/// Where cargo keeps what it installs.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    cargo_home.ok_or_else(|| "neither CARGO_HOME nor a home directory is known".into())
}

/// Fails, with what to do, when `program` is missing and its packages cannot be installed.
pub(crate) fn need(program: &str, debian_packages: &[&'static str]) -> Result<()> {
    let present = || Cmd::new(program).args(["--version"]).succeeds_silently();
    if cfg!(windows) || present() {
        return Ok(());
    }
    if services::install_packages(debian_packages)? && present() {
        return Ok(());
    }
    Err(advice(program, debian_packages).into())
}

fn advice(program: &str, debian_packages: &[&str]) -> String {
    format!(
        "there is no `{program}`. On Debian, as root: `apt-get install --yes {}`; \
         on a Mac: `xcode-select --install`",
        debian_packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_an_error_that_says_what_to_install() {
        assert!(advice("cc", &["gcc"]).contains("apt-get install --yes gcc"));
        // This test was linked.
        assert!(check().is_ok());
    }

    #[test]
    fn a_tool_of_another_version_is_not_ours() {
        assert!(HACK.is_ours(&format!("cargo-hack {}\n", HACK.version)));
        assert!(!HACK.is_ours("cargo-hack 0.6.45\n"));
        assert!(!HACK.is_ours(""));
    }

    #[test]
    fn versions_do_not_share_a_folder() {
        let home = HACK.home(Path::new("/home/x/.cargo"));
        let name = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert_eq!(name, format!("cargo-hack-{}", HACK.version));
    }
}
