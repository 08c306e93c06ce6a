//! Damage to the log: opened as far as it can be read, told, and kept for whoever wants to look.

use std::io;
use std::path::Path;

use bucket_vfs::{OpenMode, Vfs, write_atomic};
use bucket_wal::{CheckpointPolicy, Recovery, RecoveryPolicy, Wal};

use crate::bucket::config::BucketBuilder;
use crate::bucket::error::StoreError;
use crate::bucket::inner::Inner;
use crate::bucket::status;
use crate::sync::Arc;

/// Damage that was found and not accepted yet. Appending goes on behind damage, and a later opening may
/// not see it any more.
pub(crate) const FOUND_DAMAGE: &str = "found-damage";
pub(crate) const ACCEPTED_DAMAGE: &str = "accepted-damage";
const QUARANTINE: &str = "quarantine";

impl Inner {
    /// Lets a person say that the damage has been seen: keeps copies of the damaged files and goes on.
    pub(crate) fn accept_damage(&self) -> Result<(), StoreError> {
        if self.state.lock().degraded.is_none() {
            return Ok(());
        }
        let (vfs, quarantine) = (&*self.vfs, self.dir.join(QUARANTINE));
        let io = |error| StoreError::io("copy the log to", &quarantine, error);
        match vfs.create_dir(&quarantine) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
        let log = self.dir.join("wal");
        for entry in vfs.read_dir(&log).map_err(io)? {
            let name = entry.name.to_string_lossy();
            if name.ends_with(".wal") || name.ends_with(".man") {
                copy(vfs, &log.join(&entry.name), &quarantine.join(&entry.name)).map_err(io)?;
            }
        }
        let needed = self.state.lock().engine.blobs().cloned().collect();
        self.blobs.quarantine(&needed, &quarantine).map_err(io)?;
        vfs.sync_dir(&quarantine).map_err(io)?;
        let path = self.dir.join(ACCEPTED_DAMAGE);
        if let Some(damage) = &self.visible_damage {
            write_atomic(vfs, &path, damage.as_bytes())
                .map_err(|error| StoreError::io("write", &path, error))?;
        }
        vfs.remove_file(&self.dir.join(FOUND_DAMAGE))
            .and_then(|()| vfs.sync_dir(&self.dir))
            .map_err(|error| StoreError::io("remove found-damage from", &self.dir, error))?;
        self.state.lock().degraded = None;
        self.work.notify_all();
        Ok(())
    }
}

/// Opens the log, damaged or not; returns a description of the damage, if there is any, and hands it out
/// before anything is done about it.
pub(crate) fn open_log(
    dir: &Path,
    config: &BucketBuilder,
    before_salvage: impl FnOnce(&str) -> Result<(), StoreError>,
) -> Result<(Wal, Recovery, Option<String>), StoreError> {
    let options = Wal::options()
        .vfs(Arc::clone(&config.vfs))
        .lifecycle(true)
        // The keeper does both: a checkpoint of the log alone would know of no catalog.
        .housekeeping_by_hand(true)
        .checkpoints(CheckpointPolicy::never())
        .segment_size(config.segment_size)
        .map_err(|error| StoreError::Directory { path: dir.to_owned(), why: error.to_string() })?;
    #[cfg(bucket_planted)]
    let options = if config.planted.has(crate::Bug::SurvivorBeforeDurable) {
        options.planted(bucket_wal::Bug::SurvivorBeforeDurable)
    } else {
        options
    };
    match options.clone().open(dir.join("wal")) {
        Ok((wal, recovery)) => Ok((wal, recovery, None)),
        Err(error) if error.is_damage() => {
            let seen = options.inspect(dir.join("wal"))?;
            let lines: Vec<_> = seen.damage.iter().map(status::damage_line).collect();
            let damage = if lines.is_empty() { error.to_string() } else { lines.join("\n") };
            before_salvage(&damage)?;
            let (wal, recovery) =
                options.recovery(RecoveryPolicy::Salvage).open(dir.join("wal"))?;
            Ok((wal, recovery, Some(damage)))
        }
        Err(error) => Err(error.into()),
    }
}

fn copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> io::Result<()> {
    let source = vfs.open(from, OpenMode::Read)?;
    match vfs.remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let target = vfs.open(to, OpenMode::CreateNew)?;
    let (mut offset, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        match source.read_at(&mut chunk, offset)? {
            0 => return target.sync_data(),
            n => {
                target.write_all_at(&chunk[..n], offset)?;
                offset += n as u64;
            }
        }
    }
}
