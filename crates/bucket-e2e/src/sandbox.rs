//! The binary, built once, and sandboxes to run it in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The binary `bucket`, in the profile that the tests were built with.
///
/// # Panics
///
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows where it is");
        let dir = test.ancestors().nth(2).expect("tests lie two levels below the profile");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "bucket-cli", "--bin", "bucket"]);
        if dir.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().expect("cargo runs").success(), "the binary does not build");
        dir.join("bucket")
    })
}

/// A directory with profiles of its own.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done {
    /// The exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Sandbox {
    /// An empty sandbox.
    ///
    /// # Panics
    ///
    /// When there is no room for temporary files.
    #[expect(clippy::new_without_default, reason = "it creates a directory")]
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A sandbox with a bucket `p` in `local` over the directory `remote`, with these extra options.
    pub fn with_bucket(options: &[&str]) -> Self {
        let sandbox = Self::new();
        let (dir, remote) = (sandbox.path("local"), sandbox.path("remote"));
        let remote = format!("fs:{}", remote.display());
        let mut args = vec!["init", "p", "--remote", &remote, "--dir"];
        let dir = dir.display().to_string();
        args.push(&dir);
        args.extend(options);
        sandbox.run(&args).expect_code(0);
        sandbox
    }

    /// A path in the sandbox.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command, ready to be run in this sandbox.
    pub fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(self.dir.path());
        command.env("BUCKET_PROFILES", self.path("profiles.toml")).env_remove("BUCKET_FORMAT");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the command.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn spawn(&self, args: &[impl AsRef<OsStr>]) -> Child {
        self.command(args).spawn().expect("the binary starts")
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn run(&self, args: &[impl AsRef<OsStr>]) -> Done {
        let output = self.command(args).output().expect("the binary starts");
        Done {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Takes the remote away, as if its disk were not mounted.
    ///
    /// # Panics
    ///
    /// When it is away already.
    pub fn take_remote_down(&self) {
        std::fs::rename(self.path("remote"), self.path("remote.away")).expect("it is up");
    }

    /// Brings the remote back.
    ///
    /// # Panics
    ///
    /// When it is not away.
    pub fn bring_remote_back(&self) {
        std::fs::rename(self.path("remote.away"), self.path("remote")).expect("it is away");
    }
}

impl Done {
    /// Checks the exit code, and that nothing panicked.
    ///
    /// # Panics
    ///
    /// When it is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// The JSON objects on stdout.
    ///
    /// # Panics
    ///
    /// When a line is not JSON.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).expect("every line is a JSON object");
        self.stdout.lines().map(parse).collect()
    }
}
