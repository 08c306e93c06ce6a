//! What must be installed beyond cargo, and what to do when it is not.

use crate::Result;
use crate::cmd::Cmd;

/// Fails, with what to do, when a tool is missing that the build needs.
pub(crate) fn check() -> Result<()> {
    check_linker(Cmd::new("cc").args(["--version"]).succeeds_silently())
}

fn check_linker(present: bool) -> Result<()> {
    if present || cfg!(windows) {
        return Ok(());
    }
    Err("rustc links through `cc`, and there is none. On Debian, as root: \
         `apt-get install --yes gcc libc6-dev`; on a Mac: `xcode-select --install`"
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(windows))]
    #[test]
    fn a_missing_linker_is_an_error_that_says_what_to_install() {
        assert!(check_linker(true).is_ok());
        assert!(check_linker(false).unwrap_err().to_string().contains("apt-get install"));
    }
}
