//! The sync methods: the one that tuning finds on this disk, and the two that it chooses from beside the
//! default.

use std::path::Path;
use std::sync::OnceLock;

use bucket_wal::{SyncMethod, Wal};

use super::RAW;
use super::ours::{Ours, filled};
use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Open, Shape};
use crate::session::{DiskRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let methods: [(Open, &str, Goal); 3] = [
        (open_tuned, "tuned", Goal::AtLeast(1.15)),
        (open_o_dsync, "O_DSYNC", Goal::Reported),
        (open_o_direct, "O_DIRECT", Goal::Reported),
    ];
    for (payload, size) in [(128, "128 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB")] {
        for (open, method, goal) in methods {
            // The goal is for small records.
            let goal = if payload > 1 << 10 { Goal::Reported } else { goal };
            let what = format!(
                "One thread appends {size} and waits until it is durable. Ours: `Wal::append`, in spare \
                 segments that were filled with zeros in advance, by the sync method {method}."
            );
            let row = DiskRow {
                id: "wal.1t.best",
                variant: format!("{size}, {method}"),
                unit: "records/s",
                pick: |sample| sample.rate,
                goal,
                alone: false,
            };
            session.disk(open, &RAW, Shape { threads: 1, payload }, &what, &[row])?;
        }
    }
    Ok(())
}

/// Tunes once: the disk is the same in every round.
fn open_tuned(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    static TUNED: OnceLock<SyncMethod> = OnceLock::new();
    let method = match TUNED.get() {
        Some(method) => *method,
        None => {
            let tuning = Wal::options().tune(dir.join("tune"))?;
            println!("{tuning}");
            *TUNED.get_or_init(|| tuning.sync_method)
        }
    };
    open(dir, shape, method)
}

fn open_o_dsync(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    open(dir, shape, SyncMethod::ODsync)
}

fn open_o_direct(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    open(dir, shape, SyncMethod::ODirectODsync)
}

/// A log that writes by this method; none that fell back to another is measured in its place.
fn open(dir: &Path, shape: Shape, method: SyncMethod) -> Result<Box<dyn DurableWrite>, Failure> {
    let (wal, _) = filled(shape)?.sync_method(method).open(dir.join("log"))?;
    wal.append(b"opens what the method needs")?;
    if wal.stats().sync_method != method {
        return Err(format!("{} does not offer {method}", dir.display()).into());
    }
    Ok(Box::new(Ours(wal)))
}
