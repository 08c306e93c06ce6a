//! Programs that a harness runs to their end: bounded, with their streams at hand.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs `command` for at most `seconds`, with `stdin`, and returns what it wrote to stdout.
pub(super) fn run(command: &Command, stdin: &[u8], seconds: u32) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut bounded = Command::new("timeout");
    bounded.args(["--signal=KILL", &seconds.to_string()]);
    bounded.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    bounded.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = bounded.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // Few bytes, which fit into the pipe; who does not want them may close it.
        let _ = pipe.write_all(stdin);
    }
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{name}: {}: {}", output.status, text(&output.stderr)))
    }
}

/// `command`, run as `user` when there is one.
pub(super) fn as_user(user: Option<&str>, command: &Command) -> Command {
    let Some(user) = user else { return copy(command, Command::new(command.get_program())) };
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]);
    wrapped.arg(command.get_program());
    copy(command, wrapped)
}

fn copy(from: &Command, mut to: Command) -> Command {
    to.args(from.get_args());
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    to
}

/// Creates `folder` below the new directory `root`, owned by `user`, who may pass through `root`.
pub(super) fn create_folder(root: &Path, folder: &Path, user: Option<&str>) -> Result<(), String> {
    let create = || -> std::io::Result<()> {
        std::fs::create_dir(folder)?;
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))?;
        if let Some(user) = user {
            std::fs::set_permissions(root, PermissionsExt::from_mode(0o711))?;
            let (uid, gid) = (id("-u", user)?, id("-g", user)?);
            chown(folder, Some(uid), Some(gid))?;
        }
        Ok(())
    };
    create().map_err(|error| format!("cannot create {}: {error}", folder.display()))
}

fn id(which: &str, user: &str) -> std::io::Result<u32> {
    let output = Command::new("id").args([which, user]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| std::io::Error::other(format!("there is no user {user}")))
}

/// Whether this process runs as root.
pub(super) fn is_root() -> bool {
    static IS_ROOT: OnceLock<bool> = OnceLock::new();
    *IS_ROOT.get_or_init(|| std::fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0))
}
