//! Stores: small objects put one by one, acknowledged when they are on the local disk.

mod object_store;
mod ours;

use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::disk::{Open, Shape};
use crate::session::{DiskRow, Session};
use crate::wal::RAW;

pub(crate) const IDS: &[&str] = &["store.put"];

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let shape = Shape { threads: 1, payload: 4 << 10 };
    let sides: [(&str, &str, Open); 2] = [
        (
            "local",
            "Nothing is drained meanwhile, as while the remote is away: what the local disk acknowledges.",
            ours::local,
        ),
        (
            "draining",
            "Eight workers drain meanwhile into a remote in memory that answers at once, and settle in the \
             same log.",
            ours::draining,
        ),
    ];
    for (name, how, open) in sides {
        let what = format!(
            "One thread puts 4 KiB under 1 000 names in turn. Ours: `Bucket::put`, all defaults. {how}"
        );
        let row = |variant: String, unit, pick, goal| DiskRow {
            id: "store.put",
            variant,
            unit,
            pick,
            goal,
            alone: false,
        };
        let latencies = [
            row(format!("{name}, p50"), "µs", |sample| sample.p50, Goal::AtMost(1.25)),
            row(format!("{name}, p99"), "µs", |sample| sample.p99, Goal::AtMost(1.5)),
        ];
        session.disk(open, &RAW, shape, &what, &latencies)?;
        let rate = row(format!("{name}, rate"), "puts/s", |sample| sample.rate, Goal::AtLeast(2.0));
        session.disk(open, &object_store::PEER, shape, &what, &[rate])?;
    }
    Ok(())
}

/// How many names the puts go round.
const NAMES: u64 = 1_000;
