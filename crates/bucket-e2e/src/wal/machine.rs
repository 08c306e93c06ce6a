//! A crash of the whole machine: the worker runs in a virtual one, with a kernel and a page cache of its own,
//! which is killed; what its disk then holds is looked at from outside.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::line::Line;
use super::mount::{Mounted, run};
use super::oracle::{Counts, Found, Loss, Oracle};
use super::power;
use super::process::Running;
use super::record::Rng;

/// A virtual machine that crashes.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The worker, with the libraries that it is linked with.
    pub(super) program: PathBuf,
    /// An unpacked package of a kernel, with its modules.
    pub(super) kernel: PathBuf,
    pub(super) file_system: String,
    pub(super) crashes: u32,
    pub(super) seed: u64,
}

/// What was seen; nothing was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crashed {
    crashes: u32,
    counts: Counts,
}

impl Machine {
    pub(super) fn run(&self) -> Result<Crashed, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let crashed = self.crash(scratch.path());
        crashed.map_err(|why| {
            let (name, seed) = (&self.file_system, self.seed);
            format!("{name}, seed {seed}: {why}\nkept: {}", scratch.keep().display())
        })
    }

    fn crash(&self, scratch: &Path) -> Result<Crashed, String> {
        let (image, first) = (scratch.join("image"), scratch.join("first.gz"));
        power::make(&image, &self.file_system)?;
        let kernel = self.pack(scratch, &first)?;
        let mut rng = Rng::new(&[self.seed]);
        let mut oracle = Oracle::new(Loss::Power, true);
        for n in 1..=self.crashes {
            oracle.new_run(n);
            let policy = ["always", "always", "batch", "none"][rng.below(4) as usize];
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
            command.args(["-accel", "tcg", "-cpu", "max", "-m", "512", "-no-reboot"]);
            command.args(["-display", "none", "-monitor", "none"]);
            command.arg("-kernel").arg(&kernel).arg("-initrd").arg(&first);
            let disk = format!("file={},if=virtio,format=raw,cache=writeback", image.display());
            command.args(["-drive", &disk]);
            let console = format!("file:{}", scratch.join("console").display());
            command.args(["-serial", &console, "-serial", "stdio"]);
            command.arg("-append").arg(format!(
                "console=ttyS0 quiet panic=-1 wal.fs={} wal.run={n} wal.seed={} wal.policy={policy}",
                self.file_system, self.seed
            ));
            let mut machine = Running::spawn(command)?;
            let mut opened = false;
            let mut hear = |oracle: &mut Oracle, line: &Line| {
                opened |= matches!(line, Line::Opened { .. });
                oracle.hear(line)
            };
            // Until the log is open; the machine boots in some ten seconds.
            let boot = Duration::from_secs(180);
            let runs = machine.listen(boot, 1, |line| hear(&mut oracle, line))?;
            let limit = Duration::from_millis(200 + rng.below(4_000));
            let runs = runs && machine.listen(limit, u64::MAX, |line| hear(&mut oracle, line))?;
            machine.kill(|line| hear(&mut oracle, line))?;
            if !runs || !opened {
                let console = fs::read(scratch.join("console")).unwrap_or_default();
                let console = String::from_utf8_lossy(&console).into_owned();
                return Err(format!("the machine ended or never came up:\n{console}"));
            }
            // Every other time the next machine recovers what this one left.
            if n == self.crashes || rng.below(2) == 0 {
                let mounted = Mounted::image(&scratch.join("mounted"), &image, &self.file_system)?;
                let found = Found::open(&mounted.path("log"), rng.below(2) == 0);
                let found = found.map_err(|why| format!("crash {n}: the log {why}"))?;
                oracle.check(&found).map_err(|why| format!("crash {n}: {why}"))?;
                oracle.keep(&found);
                mounted.unmount()?;
            }
        }
        Ok(Crashed { crashes: self.crashes, counts: oracle.counts })
    }

    /// Packs what the machine starts with; returns its kernel.
    fn pack(&self, scratch: &Path, packed: &Path) -> Result<PathBuf, String> {
        let text = |error: std::io::Error| error.to_string();
        let boot = fs::read_dir(self.kernel.join("boot")).map_err(text)?.flatten();
        let names = boot.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let version = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
        let version = version.max().ok_or("no kernel in the package")?;
        let root = scratch.join("first");
        for dir in ["bin", "dev", "mnt", "modules", "proc", "sys"] {
            fs::create_dir_all(root.join(dir)).map_err(text)?;
        }
        let copy = |from: &Path, to: &str| {
            let to = root.join(to.trim_start_matches('/'));
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir).map_err(text)?;
            }
            fs::copy(from, &to).map(|_| ()).map_err(|e| format!("{}: {e}", from.display()))
        };
        fs::write(root.join("init"), INIT).map_err(text)?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).map_err(text)?;
        copy(Path::new("/bin/busybox"), "bin/busybox")?;
        copy(&self.program, "bin/wal")?;
        for library in output(Command::new("ldd").arg(&self.program))?.split_whitespace() {
            if library.starts_with('/') {
                copy(Path::new(library), library)?;
            }
        }
        let mut order: Vec<String> = Vec::new();
        for module in ["virtio_pci", "virtio_blk", "crc32c_generic", &self.file_system] {
            let mut ask = Command::new("modprobe");
            ask.args(["-S", &version, "-d"]).arg(&self.kernel).args(["--show-depends", module]);
            for line in output(&mut ask)?.lines() {
                let Some(path) = line.strip_prefix("insmod ").map(str::trim) else { continue };
                let name = path.rsplit('/').next().unwrap_or(path).to_owned();
                if !order.contains(&name) {
                    copy(Path::new(path), &format!("modules/{name}"))?;
                    order.push(name);
                }
            }
        }
        fs::write(root.join("modules/order"), order.join("\n") + "\n").map_err(text)?;
        let pack = "find . | cpio --quiet -o -H newc | gzip -1 > \"$0\"";
        run(Command::new("sh").args(["-c", pack]).arg(packed).current_dir(&root))?;
        Ok(self.kernel.join("boot").join(format!("vmlinuz-{version}")))
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {}", output.status, said.trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { promised, read, copied, gone, .. } = self.counts;
        write!(
            f,
            "{} crashes; {promised} records durable, 0 lost; {read} read back, {copied} copied, {gone} gone \
             as they may be",
            self.crashes
        )
    }
}

const INIT: &str = include_str!("machine_init.sh");
