//! A write that is refused for want of space: what was submitted behind it must not count, though it
//! has found room.

use std::pin::pin;
use std::task::{Context, Waker};

use bucket_vfs::sim::{Fault, FaultKind, SimDisk};
use bucket_wal::Lsn;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use crate::support::{Store, entry, log_id, options, run, view};

#[test]
fn entries_behind_one_that_was_refused_are_neither_acknowledged_nor_found_again() {
    let disk = SimDisk::new();
    let big = "x".repeat(50_000);
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
    run(store.blocking_append([entry(1, 0, &big)])).unwrap();

    // The next one needs a new segment, which cannot be made. Another comes meanwhile, and by its turn
    // there is room again.
    disk.inject(Fault::new(FaultKind::Stall).on(".tmp"));
    disk.inject(Fault::new(FaultKind::NoSpace).on(".tmp"));
    let (mut refusing, mut following) = (store.clone(), store.clone());
    let mut context = Context::from_waker(Waker::noop());
    let mut refused = pin!(refusing.blocking_append([entry(1, 1, &big)]));
    assert!(refused.as_mut().poll(&mut context).is_pending());
    disk.wait_until_stalled();
    let mut followed = pin!(following.blocking_append([entry(1, 2, "small")]));
    assert!(followed.as_mut().poll(&mut context).is_pending());
    disk.release();
    run(refused).unwrap_err();
    run(followed).unwrap_err();

    assert_eq!(disk.armed_faults(), 0);
    run(store.blocking_append([entry(1, 3, "later")])).unwrap_err();
    run(store.save_committed(Some(log_id(1, 0)))).unwrap_err();
    disk.kill();
    let (wal, _) = options(disk.mount()).open("/raft").unwrap();
    let lens: Vec<_> = wal.reader(Lsn::new(1)).map(|r| r.unwrap().payload.len()).collect();
    assert!(lens.len() == 2 && lens[1] < 1_000, "the small one is not in the log: {lens:?}");
    wal.close().unwrap();

    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
    assert_eq!(run(store.get_log_state()).unwrap().last_log_id, Some(log_id(1, 0)));
    run(store.blocking_append([entry(2, 1, "again"), entry(2, 2, "and on")])).unwrap();
    let before = run(view(&mut store));
    store.close().unwrap();
    let (mut store, _) = Store::open_with(options(disk.mount()), "/raft").unwrap();
    assert_eq!(run(view(&mut store)), before);
}
