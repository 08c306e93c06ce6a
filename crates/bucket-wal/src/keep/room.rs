//! Room for a checkpoint on a full disk: what spare files take, then the reserve, which the segments that
//! go make good.

use std::io;

use bucket_vfs::write_atomic;

use super::Checkpoints;
use crate::commit::Shared;
use crate::error::{WalError, is_no_space};
use crate::manifest::{self, Manifest};

impl Shared {
    /// Writes a manifest durably.
    pub(super) fn write_manifest(
        &self,
        checkpoints: &mut Checkpoints,
        manifest: &mut Manifest,
    ) -> Result<(), WalError> {
        let (vfs, bytes) = (&*self.vfs, manifest.encode());
        let path = manifest::path_of(&self.dir, manifest.generation);
        let lacks_space = |written: &io::Result<()>| written.as_ref().is_err_and(is_no_space);
        let mut written = write_atomic(vfs, &path, &bytes);
        if lacks_space(&written) && self.spares.release(vfs) {
            written = write_atomic(vfs, &path, &bytes);
        }
        // Should that fail as well: what is wrong is that the disk is full.
        if lacks_space(&written) && checkpoints.reserve.write(vfs, &path, &bytes) {
            written = Ok(());
        }
        written.map_err(|error| WalError::io("write", &path, error))
    }

    /// Does something that writes a manifest. Where there is no space, what could go before has to go; not
    /// to an archive, which may be slow, and which one at a time is to be given segments.
    pub(super) fn with_room(
        &self,
        mut attempt: impl FnMut() -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        let result = attempt();
        let lacks_space = matches!(result, Err(WalError::NoSpace { .. }));
        if !lacks_space || self.rules.archive.is_some() {
            return result;
        }
        if self.trim().is_ok_and(|removed| removed > 0) { attempt() } else { result }
    }

    /// Makes what the reserve lacks of whatever space there is.
    pub(super) fn renew_reserve(&self) -> Result<(), WalError> {
        let mut checkpoints = self.checkpoints()?;
        if !checkpoints.reserve.is_whole() {
            checkpoints.reserve.make(&*self.vfs, &self.dir);
        }
        Ok(())
    }
}
