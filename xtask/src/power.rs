//! `cargo xtask power [FILE-SYSTEM…]`: the log on a disk that loses its power at every flush, on real file
//! systems; the same with a planted bug, which must be caught; and in a virtual machine that crashes.

use std::fs;
use std::path::PathBuf;

use crate::cmd::Cmd;
use crate::services::{self, Package};
use crate::{Outcome, Result, tools};

pub(crate) fn run(file_systems: &[String]) -> Result {
    if !cfg!(target_os = "linux") {
        return Ok(Outcome::Skipped("disks lose their power on Linux only"));
    }
    if !services::is_root() {
        return Ok(Outcome::Skipped("mounting a disk needs root"));
    }
    if !services::ensure(PACKAGES)? {
        return Ok(Outcome::Skipped("programs for disks are missing (see above)"));
    }
    let all = FILE_SYSTEMS.map(str::to_owned);
    let file_systems = if file_systems.is_empty() { &all } else { file_systems };
    for name in file_systems {
        Cmd::cargo("run --locked --release -p bucket-e2e --bin wal -- power")
            .args([&**name])
            .run()?;
    }
    // It must fail, and for this reason; whether the others do depends on what a file system adds.
    let planted = Cmd::cargo("run --locked --release -p bucket-e2e --bin wal")
        .args(["--target-dir", "target/planted", "--", "power", "ext4", "AcknowledgeBeforeSync"])
        .env("RUSTFLAGS", "--cfg bucket_planted");
    let mut caught = false;
    let outcome = planted.run_and_read_stderr(|line| {
        eprintln!("{line}");
        caught |= line.contains("LOST");
    });
    if outcome.is_ok() || !caught {
        return Err("the loss of power did not show a planted bug".into());
    }
    println!("caught: wal AcknowledgeBeforeSync: loss of power on ext4");
    let Some(kernel) = kernel()? else {
        return Ok(Outcome::Partly("no kernel for a virtual machine: Debian on x86-64 has one"));
    };
    for name in file_systems {
        Cmd::cargo("run --locked --release -p bucket-e2e --bin wal -- machine")
            .args([&*kernel.to_string_lossy(), name, CRASHES])
            .run()?;
    }
    Ok(Outcome::Done)
}

/// Debian's own kernel, unpacked where the tools are; `None` where there is none for us.
fn kernel() -> Result<Option<PathBuf>> {
    if !cfg!(target_arch = "x86_64") || !services::ensure(MACHINE_PACKAGES)? {
        return Ok(None);
    }
    let ask = Cmd::new("apt-cache").args(["depends", "linux-image-amd64"]);
    let Ok(answer) = ask.output() else { return Ok(None) };
    let mut depends = answer.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let Some(package) = depends.next() else { return Ok(None) };
    let Some(version) = package.strip_prefix("linux-image-") else { return Ok(None) };
    let folder = tools::folder(&tools::cargo_home()?).join(package);
    // What depmod writes when everything else is in place.
    if !folder.join("lib/modules").join(version).join("modules.dep").is_file() {
        fs::create_dir_all(&folder)?;
        let unpack = "cd \"$0\" && apt-get download \"$1\" && dpkg -x \"$1\"_*.deb . && \
                      rm \"$1\"_*.deb && depmod -b . \"$2\"";
        Cmd::new("sh").args(["-c", unpack, &*folder.to_string_lossy(), package, version]).run()?;
    }
    Ok(Some(folder))
}

const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

const PACKAGES: &[Package] = &[
    (&["mkfs.btrfs"], "btrfs-progs"),
    (&["mkfs.ext4"], "e2fsprogs"),
    (&["qemu-storage-daemon"], "qemu-utils"),
    (&["setpriv"], "util-linux"),
    (&["mkfs.xfs"], "xfsprogs"),
];

const MACHINE_PACKAGES: &[Package] = &[
    (&["busybox"], "busybox-static"),
    (&["cpio"], "cpio"),
    (&["depmod", "modprobe"], "kmod"),
    (&["qemu-system-x86_64"], "qemu-system-x86"),
];

/// For each file system; one takes a dozen seconds.
const CRASHES: &str = "6";
