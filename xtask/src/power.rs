//! `cargo xtask power [FILE-SYSTEM…]`: the log on a disk that loses its power at every flush, on real file
//! systems; and the same with a planted bug, which must be caught.

use crate::cmd::Cmd;
use crate::services::{self, Package};
use crate::{Outcome, Result};

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
    for name in if file_systems.is_empty() { &all } else { file_systems } {
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
    Ok(Outcome::Done)
}

const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

const PACKAGES: &[Package] = &[
    (&["mkfs.btrfs"], "btrfs-progs"),
    (&["mkfs.ext4"], "e2fsprogs"),
    (&["qemu-storage-daemon"], "qemu-utils"),
    (&["setpriv"], "util-linux"),
    (&["mkfs.xfs"], "xfsprogs"),
];
