//! Power loss while the files of trimmed segments are written again: what was in them neither comes back
//! nor hides what is there now.

use super::script::{Rig, Script};
use super::{Workload, holds_for};
use crate::{SyncMethod, SyncPolicy, Wal, WalError};

const WORKLOAD: Workload = Script::run_in_reused_files;

#[test]
fn files_that_are_used_again_lose_nothing_and_show_nothing_old() {
    holds_for("always, files used again", WORKLOAD, |options| options, 12);
}

#[test]
fn files_that_are_used_again_without_a_sync_for_each_group_show_nothing_old() {
    let plant = |options: crate::WalOptions| {
        let options = options.sync_policy(SyncPolicy::None).expect("it has no bounds");
        options.write_through(true)
    };
    holds_for("none, files used again", WORKLOAD, plant, 6);
}

#[test]
fn files_that_are_used_again_past_the_page_cache_lose_nothing() {
    let plant = |options: crate::WalOptions| options.sync_method(SyncMethod::ODirectODsync);
    holds_for("O_DIRECT, files used again", WORKLOAD, plant, 6);
}

impl Script {
    /// Segments are trimmed and their files used again, by processes that die and one that closes.
    pub(super) fn run_in_reused_files(&mut self, rig: &mut Rig) -> Result<(), WalError> {
        let wal = self.start(rig)?;
        // Frames of the same sizes again and again, so that new ones lie where old ones were.
        self.fill(rig, &wal, 3)?;
        assert!(wal.stats().reused > 0, "{:?}", wal.stats());
        self.group(rig, &wal, &[700, 16, 9_000])?;
        self.kill(rig, wal);

        let wal = self.start(rig)?;
        self.fill(rig, &wal, 2)?;
        let under_way = self.submit(rig, &wal, &[9_000, 9_000])?;
        self.kill(rig, wal);
        drop(under_way);

        let wal = self.start(rig)?;
        self.fill(rig, &wal, 2)?;
        assert!(wal.stats().reused > 0, "{:?}", wal.stats());
        self.append(rig, &wal, 20)?;
        wal.close()?;

        let wal = self.start(rig)?;
        self.append(rig, &wal, 30)?;
        self.batch(rig, &wal, &[700, 16, 9_000, 1])?;
        self.kill(rig, wal);
        Ok(())
    }

    /// About as many segments as that, each let go of by a checkpoint.
    fn fill(&mut self, rig: &Rig, wal: &Wal, segments: u64) -> Result<(), WalError> {
        for _ in 0..segments {
            for _ in 0..3 {
                self.append(rig, wal, 9_000)?;
                self.append(rig, wal, 14_000)?;
            }
            self.checkpoint(rig, wal, self.last_lsn)?;
        }
        Ok(())
    }
}
