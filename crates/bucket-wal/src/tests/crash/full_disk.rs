//! Power loss while checkpoints are written, and a log is opened, in files that were in reserve.

use std::path::Path;

use bucket_vfs::sim::SimDisk;

use super::holds_for;
use super::script::{Rig, Script};
use crate::{Wal, WalError};

#[test]
fn what_is_done_without_space_survives_as_with_it() {
    holds_for(
        "on a full disk",
        Script::run_on_a_full_disk,
        |options| options.reserve_files(true),
        4,
    );
}

impl Script {
    /// The disk is full whenever a checkpoint is taken or the log is opened.
    fn run_on_a_full_disk(&mut self, rig: &mut Rig) -> Result<(), WalError> {
        let wal = self.start(rig)?;
        for _ in 0..3 {
            self.stretch(rig, &wal)?;
        }
        self.kill(rig, wal);

        for _ in 0..2 {
            fill(&rig.disk);
            let wal = self.start(rig)?;
            rig.disk.set_capacity(None);
            self.stretch(rig, &wal)?;
            self.kill(rig, wal);
        }
        Ok(())
    }

    /// More than a segment, and a checkpoint that lets it go.
    fn stretch(&mut self, rig: &Rig, wal: &Wal) -> Result<(), WalError> {
        for len in [30_000, 30_000, 16] {
            self.append(rig, wal, len)?;
        }
        fill(&rig.disk);
        let taken = self.checkpoint(rig, wal, self.last_lsn);
        rig.disk.set_capacity(None);
        taken?;
        self.append(rig, wal, 20)
    }
}

/// Leaves no byte free, only what is given back.
fn fill(disk: &SimDisk) {
    disk.set_capacity(Some(LARGE));
    let free = disk.mount().available_bytes(Path::new("/")).expect("the machine is on");
    disk.set_capacity(Some(LARGE - free));
}

const LARGE: u64 = 1 << 40;
