//! [`Mounted`]: a file system of our own, as long as it lasts.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(super) struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// A file system in memory, of so many KiB.
    pub(super) fn in_memory(at: &Path, kib: u64) -> Result<Self, String> {
        let size = format!("size={kib}k");
        Self::mount(at, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// The file system in a file, or in what serves one.
    pub(super) fn image(at: &Path, image: &Path, kind: &str) -> Result<Self, String> {
        let image = image.display().to_string();
        Self::mount(at, &["-t", kind, "-o", "loop", &image])
    }

    fn mount(at: &Path, args: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run(Command::new("mount").args(args).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Fails where what was not written yet cannot be.
    pub(super) fn unmount(self) -> Result<(), String> {
        let at = self.at.clone();
        std::mem::forget(self);
        run(Command::new("umount").arg(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that fails may still have it open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Runs a command to its end; what it says is shown only when it fails.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, said.trim_end()))
}
