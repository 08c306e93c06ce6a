//! Appends that return when the record is durable: alone, from eight threads, from sixty-four.

use super::{RAW, okaywal, only_the_best_counts, ours, raft_engine, sqlite, walrus};
use crate::goal::Goal;
use crate::harness::Failure;
use crate::harness::disk::{Sample, Shape};
use crate::session::{DiskPeer, DiskRow, Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    one_thread(session)?;
    for (id, threads, payload, goal) in [
        ("wal.8t", 8, 1 << 10, 1.5),
        ("wal.64t", 64, 128, 1.5),
        ("wal.64t", 64, 1 << 10, 1.5),
        ("wal.8t.large", 8, 64 << 10, 2.0),
    ] {
        in_company(session, id, Shape { threads, payload }, goal)?;
    }
    Ok(())
}

fn one_thread(session: &mut Session<'_>) -> Result<(), Failure> {
    let small = [
        (RAW, Goal::AtLeast(0.97)),
        (okaywal::PEER, Goal::AtLeast(0.97)),
        (raft_engine::PEER, Goal::AtLeast(1.05)),
        (sqlite::PEER, Goal::AtLeast(1.1)),
        (walrus::PEER, Goal::Reported),
    ];
    let large = [
        (RAW, Goal::AtLeast(0.92)),
        (okaywal::PEER, Goal::AtLeast(1.15)),
        (raft_engine::PEER, Goal::Reported),
        (sqlite::PEER, Goal::Reported),
    ];
    for (id, payload, goals) in [
        ("wal.1t.small", 128, &small[..]),
        ("wal.1t.small", 1 << 10, &small[..]),
        ("wal.1t.large", 64 << 10, &large[..]),
    ] {
        let size = size(payload);
        let what = format!(
            "One thread appends {size} and waits until it is durable. Ours: `Wal::append`, {FILLED}"
        );
        for (peer, goal) in goals {
            let mut rows = vec![rate(id, size.to_owned(), *goal)];
            if peer.name == RAW.name && id == "wal.1t.small" {
                rows.push(DiskRow {
                    id: "wal.tail",
                    variant: format!("1 thread, {size}, p99"),
                    unit: "µs",
                    pick: |sample| sample.p99,
                    goal: Goal::AtMost(1.3),
                    alone: false,
                });
            }
            session.disk(ours::open_filled, peer, Shape { threads: 1, payload }, &what, &rows)?;
        }
        let what = format!(
            "One thread appends {size} and waits until it is durable. Ours: `Wal::append`, all defaults, a \
             fresh log, which fills its files as it goes."
        );
        let rows = [rate(id, format!("{size}, fresh"), Goal::Reported)];
        session.disk(ours::open, &RAW, Shape { threads: 1, payload }, &what, &rows)?;
    }
    Ok(())
}

fn in_company(
    session: &mut Session<'_>,
    id: &'static str,
    shape: Shape,
    goal: f64,
) -> Result<(), Failure> {
    let (threads, size) = (shape.threads, size(shape.payload));
    let what = format!(
        "{threads} threads append {size} each and wait until it is durable. The goal holds against the best \
         peer. Ours: `Wal::append`, {FILLED}"
    );
    let peers: &[DiskPeer] = match id {
        // What it would leave behind fills the disk.
        "wal.8t.large" => &[RAW, okaywal::PEER, raft_engine::PEER, sqlite::PEER],
        _ => &[RAW, okaywal::PEER, raft_engine::PEER, sqlite::PEER, walrus::PEER],
    };
    let first = session.rows.len();
    for peer in peers {
        session.disk(
            ours::open_filled,
            peer,
            shape,
            &what,
            &[rate(id, size.to_owned(), Goal::AtLeast(goal))],
        )?;
    }
    only_the_best_counts(&mut session.rows[first..]);
    if threads == 64 {
        let row = DiskRow {
            id: "wal.tail",
            variant: format!("64 threads, {size}, p99 over p50"),
            unit: "p99/p50",
            pick: |sample| sample.p99 / sample.p50,
            goal: Goal::AtMost(3.0),
            alone: true,
        };
        session.disk(ours::open_filled, &RAW, shape, &what, &[row])?;
    }
    Ok(())
}

/// As the files of all peers.
const FILLED: &str = "all defaults, in spare segments that were filled with zeros in advance.";

fn rate(id: &'static str, variant: String, goal: Goal) -> DiskRow {
    let pick: fn(&Sample) -> f64 = |sample| sample.rate;
    DiskRow { id, variant, unit: "records/s", pick, goal, alone: false }
}

pub(super) const fn size(payload: usize) -> &'static str {
    match payload {
        128 => "128 B",
        0x400 => "1 KiB",
        0x1_0000 => "64 KiB",
        _ => "some bytes",
    }
}
