//! One thread that does not wait for each record: it submits a window of them and waits for the last.

use std::path::Path;

use bucket_wal::Wal;

use super::RAW;
use super::ours::filled;
use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::disk::{DurableWrite, Sample, Shape};
use crate::session::{DiskPeer, DiskRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let peer = DiskPeer {
        setup: "one `pwrite` of the whole window and one `fdatasync`, into a file of zeros; no checksum, no \
                framing, no recovery.",
        ..RAW
    };
    type Pick = fn(&Sample) -> f64;
    let windows: [(&str, usize, crate::harness::disk::Open, Pick, f64); 2] = [
        ("1 KiB x 64", 64 << 10, open::<1024>, |sample| sample.rate * 64.0, 0.7),
        ("128 B x 512", 64 << 10, open::<128>, |sample| sample.rate * 512.0, 0.5),
    ];
    for (variant, payload, ours, pick, goal) in windows {
        let what = format!(
            "One thread submits a window of {variant} and waits until its last record is durable, then the \
             next. Ours: `Wal::submit` for each, `Ticket::wait` on the last, all defaults, in spare segments \
             that were filled with zeros in advance."
        );
        let row = DiskRow {
            id: "wal.pipelined",
            variant: variant.to_owned(),
            unit: "records/s",
            pick,
            goal: Goal::AtLeast(goal),
            alone: false,
        };
        session.disk(ours, &peer, Shape { threads: 1, payload }, &what, &[row])?;
    }
    Ok(())
}

/// Submits the payload in records of so many bytes.
struct Windows<const LEN: usize>(Wal);

impl<const LEN: usize> DurableWrite for Windows<LEN> {
    fn write(&self, _thread: usize, _n: u64, payload: &[u8]) -> Result<(), Failure> {
        let mut last = None;
        for record in payload.chunks(LEN) {
            last = Some(self.0.submit(record)?);
        }
        last.ok_or("an empty window")?.wait()?;
        Ok(())
    }
}

fn open<const LEN: usize>(dir: &Path, shape: Shape) -> Result<Box<dyn DurableWrite>, Failure> {
    let (wal, _) = filled(shape)?.open(dir.join("log"))?;
    Ok(Box::new(Windows::<LEN>(wal)))
}
