//! Models of rotation while others append: each leader ends the segment that others count on, and begins
//! the next. The files, the bounds and what is left out are those of [`super::loom_commit`].

use std::sync::atomic::Ordering::SeqCst;

use loom::thread;

use super::loom_commit::{Disk, RECORDS, append, begin, explore, lazy};
use crate::segment::HEADER_LEN;
use crate::{Lsn, Wal, WalOptions};

/// Segments that one group fills.
fn tiny(mut options: WalOptions) -> WalOptions {
    options.segment_bytes = HEADER_LEN + 1;
    options
}

#[test]
fn what_is_acknowledged_is_synced_in_its_segment_while_segments_come_and_go() {
    explore(3, || two_rotate(Wal::options()));
}

/// Two threads append, and each group begins a segment.
fn two_rotate(options: WalOptions) {
    let (wal, disk) = begin(tiny(options));
    let two = {
        let (wal, disk) = (wal.clone(), disk.clone());
        thread::spawn(move || {
            [RECORDS[0], RECORDS[1]].map(|record| (wal.append(record), disk.has_synced(record)))
        })
    };
    let one = append(&wal, &disk, RECORDS[2]);
    let [first, second] = two.join().unwrap();
    let mut lsns = Vec::new();
    for ((lsn, synced), record) in [first, second, one.join().unwrap()].into_iter().zip(RECORDS) {
        let lsn = lsn.unwrap();
        assert!(synced, "acknowledged before it was synced");
        assert_eq!(wal.read(lsn).unwrap().payload, record);
        lsns.push(lsn.get());
    }
    lsns.sort_unstable();
    assert_eq!(lsns, [2, 3, 4], "each record has its own number");
    // Two records may share a group, and then a segment.
    let segments = wal.stats().segments;
    assert!((3..=4).contains(&segments), "{segments} segments");
    is_in_order(&disk);
}

/// Under a policy that does not wait, the segment that ends has records that no sync has covered.
#[test]
fn a_segment_is_named_after_everything_before_it_is_synced() {
    explore(3, || one_fills_and_one_rotates(lazy()));
}

fn one_fills_and_one_rotates(options: WalOptions) {
    let (wal, disk) = begin(tiny(options));
    let writer = append(&wal, &disk, RECORDS[0]);
    let waiter = {
        let (wal, disk) = (wal.clone(), disk.clone());
        thread::spawn(move || {
            let lsn = wal.append(RECORDS[1]).unwrap();
            wal.wait_durable(lsn).unwrap();
            disk.has_synced(RECORDS[1])
        })
    };
    let (lsn, _) = writer.join().unwrap();
    assert!(waiter.join().unwrap(), "acknowledged before it was synced");
    wal.wait_durable(lsn.unwrap()).unwrap();
    assert!(disk.has_synced(RECORDS[0]), "acknowledged before it was synced");
    let segments = wal.stats().segments;
    assert!((2..=3).contains(&segments) && wal.durable_lsn() == Lsn::new(3), "{segments} segments");
    is_in_order(&disk);
}

fn is_in_order(disk: &Disk) {
    assert!(!disk.0.named_early.load(SeqCst), "a header came before the data");
}

/// The same models with a bug planted, which loom has to find.
#[cfg(bucket_planted)]
mod planted {
    use super::super::loom_commit::planted::finds;
    use super::*;
    use crate::Bug;

    #[test]
    fn a_rotation_that_drops_the_lead_is_found() {
        finds("deadlock", || two_rotate(Wal::options().planted(Bug::NoHandOver)));
    }

    #[test]
    fn a_header_before_the_data_of_the_segment_before_is_found() {
        finds("a header came before the data", || {
            one_fills_and_one_rotates(lazy().planted(Bug::HeaderBeforeData));
        });
    }
}
