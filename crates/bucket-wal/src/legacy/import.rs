//! [`Survey::import`]: each operation becomes a record of a new log.

use std::io;
use std::path::Path;

use super::LegacyError;
use super::line::parse_line;
use super::survey::{Reader, Survey};
use crate::error::WalError;
use crate::options::WalOptions;
use crate::sync::Arc;

impl Survey {
    /// Refuses a target that has content.
    ///
    /// # Errors
    ///
    /// [`LegacyError::NotEmpty`], and [`LegacyError::Log`] when the target cannot be read.
    pub fn check_target(options: &WalOptions, to: impl AsRef<Path>) -> Result<(), LegacyError> {
        let path = to.as_ref();
        let found = match options.vfs.read_dir(path) {
            Ok(entries) if entries.is_empty() => return Ok(()),
            Ok(_) => options.inspect(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(WalError::io("list", path, error).into()),
        };
        let found = if let Some(other) = found.other_files.first() {
            format!("{} and perhaps more", other.display())
        } else if found.segments.is_empty() && found.checkpoints.is_empty() {
            return Ok(());
        } else {
            format!("a log of {} records", found.records())
        };
        Err(LegacyError::NotEmpty { path: path.to_owned(), found })
    }

    /// Writes every operation as a record of a new log in `to`, opened with `options`, in order, and
    /// closes it. Returns how many
    /// are durable there. `on_progress` hears the records written so far.
    ///
    /// # Durability
    ///
    /// Once this returns, all of them survive a power loss. An import that was interrupted leaves a log
    /// with the first of them; a second one into the same directory is refused.
    ///
    /// # Errors
    ///
    /// [`LegacyError::NotEmpty`], [`LegacyError::Changed`] when the old log is still written to, and
    /// [`LegacyError::Log`].
    pub fn import(
        &self,
        options: WalOptions,
        to: impl AsRef<Path>,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<u64, LegacyError> {
        let to = to.as_ref();
        Self::check_target(&options, to)?;
        let vfs = Arc::clone(&options.vfs);
        let (wal, recovery) = options.open(to)?;
        // Between the look and the lock somebody may have written.
        if recovery.report().first_lsn.is_some() {
            let found = format!("a log up to record {}", recovery.report().last_lsn);
            return Err(LegacyError::NotEmpty { path: to.to_owned(), found });
        }
        let mut reader = Reader::new(&*vfs);
        let (mut unsynced, mut count) = (0, 0);
        for op in &self.operations {
            let path = &self.segments[op.segment as usize].path;
            let line = reader.read(path, op)?;
            let is_same = parse_line(&line).is_ok_and(|l| l.sequence_number == op.sequence_number);
            if !is_same {
                return Err(LegacyError::Changed { path: path.clone(), offset: op.offset });
            }
            let ticket = wal.submit(&line)?;
            unsynced += line.len();
            count += 1;
            if unsynced >= GROUP {
                ticket.wait()?;
                unsynced = 0;
                on_progress(count);
            }
        }
        wal.sync()?;
        wal.close()?;
        on_progress(count);
        Ok(count)
    }
}

/// Bytes that are on their way before the import waits for the disk.
const GROUP: usize = 4 << 20;
