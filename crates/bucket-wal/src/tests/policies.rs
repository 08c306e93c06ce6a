//! Sync policies: when a sync happens, what waits for it, and what is refused before it is accepted.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bucket_core::ByteCount;
use bucket_vfs::sim::{Fault, FaultKind, SimDisk, Survivors};

use crate::{InvalidOptions, Lsn, SyncPolicy, Wal, WalError, WalOptions};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

fn options(disk: &SimDisk, policy: SyncPolicy) -> WalOptions {
    Wal::options().vfs(disk.mount()).sync_policy(policy).unwrap()
}

fn open(disk: &SimDisk, policy: SyncPolicy) -> Wal {
    options(disk, policy).open(Path::new("/log")).unwrap().0
}

fn batch(records: u64, bytes: u64, delay: Duration) -> SyncPolicy {
    SyncPolicy::Batch { records, bytes: ByteCount::new(bytes), delay }
}

/// Looks until the record is durable; the thread of the log has to see to it.
fn becomes_durable(wal: &Wal, lsn: Lsn) {
    for _ in 0..10_000_000_u32 {
        if wal.durable_lsn() >= lsn {
            return;
        }
        std::thread::yield_now();
    }
    panic!("record {lsn} never became durable: {:?}", wal.stats());
}

/// How many records there are after a power loss that spares nothing.
fn survivors(disk: &SimDisk) -> usize {
    let disk = disk.fork();
    disk.crash(Survivors::None);
    let wal = open(&disk, SyncPolicy::Always);
    wal.reader(Lsn::new(1)).map(Result::unwrap).count()
}

#[test]
fn a_batch_is_synced_when_it_has_enough_records() {
    let disk = SimDisk::new();
    let wal = open(&disk, batch(10, 1 << 20, NEVER));
    for _ in 0..9 {
        wal.append(b"record").unwrap();
    }
    assert_eq!((wal.stats().syncs, survivors(&disk)), (0, 0));
    let tenth = wal.append(b"record").unwrap();
    becomes_durable(&wal, tenth);
    assert_eq!((wal.stats().syncs, survivors(&disk)), (1, 10));
}

#[test]
fn a_batch_is_synced_when_it_has_enough_bytes() {
    let disk = SimDisk::new();
    let wal = open(&disk, batch(u64::MAX, 10_000, NEVER));
    wal.append(&[1; 9_999]).unwrap();
    assert_eq!(wal.durable_lsn(), Lsn::ZERO);
    let second = wal.append(&[2; 1]).unwrap();
    becomes_durable(&wal, second);
    assert_eq!(wal.stats().syncs, 1);
}

#[test]
fn a_batch_or_a_period_ends_when_its_time_has_come() {
    let time = Duration::from_millis(20);
    let periodic = SyncPolicy::Periodic { interval: time, max_unsynced: ByteCount::mib(1) };
    for policy in [batch(u64::MAX, 1 << 30, time), periodic] {
        let disk = SimDisk::new();
        let wal = open(&disk, policy);
        for n in 1..=3 {
            let lsn = wal.append(b"record").unwrap();
            becomes_durable(&wal, lsn);
            assert_eq!(survivors(&disk), n, "{policy:?}");
        }
    }
}

#[test]
fn a_period_bounds_what_a_power_loss_may_take() {
    let disk = SimDisk::new();
    let max_unsynced = ByteCount::new(1_000);
    let wal = open(&disk, SyncPolicy::Periodic { interval: NEVER, max_unsynced });
    for n in 1..=50_u64 {
        wal.append(&[7; 300]).unwrap();
        let lost = n - survivors(&disk) as u64;
        assert!(lost * 300 <= 1_000, "{lost} of {n} records are not durable");
    }
    // A record that is longer than the bound by itself is taken, after everything else is durable.
    wal.append(&[7; 5_000]).unwrap();
    assert_eq!(survivors(&disk), 50);
}

#[test]
fn a_period_may_leave_as_much_unsynced_as_it_says() {
    let disk = SimDisk::new();
    let max_unsynced = ByteCount::new(1_000);
    let wal = open(&disk, SyncPolicy::Periodic { interval: NEVER, max_unsynced });
    for _ in 0..4 {
        wal.append(&[7; 250]).unwrap();
    }
    assert_eq!((wal.stats().syncs, survivors(&disk)), (0, 0));
    wal.append(&[7; 1]).unwrap();
    assert_eq!((wal.stats().syncs, survivors(&disk)), (1, 4));
}

/// Looks until the record is written; the thread of the log has to see to it.
fn becomes_written(wal: &Wal, lsn: Lsn) {
    for _ in 0..10_000_000_u32 {
        if wal.written_lsn() >= lsn {
            return;
        }
        std::thread::yield_now();
    }
    panic!("record {lsn} was never written: {:?}", wal.stats());
}

#[test]
fn what_is_accepted_is_written_and_in_time_synced_though_nobody_waits() {
    let time = Duration::from_millis(20);
    let periodic = SyncPolicy::Periodic { interval: time, max_unsynced: ByteCount::mib(1) };
    for write_through in [false, true] {
        for policy in [SyncPolicy::None, batch(u64::MAX, 1 << 30, time), periodic] {
            let disk = SimDisk::new();
            let options = options(&disk, policy).write_through(write_through);
            let (wal, _) = options.open(Path::new("/log")).unwrap();
            for _ in 0..2 {
                let lsn = wal.append(b"record").unwrap();
                becomes_written(&wal, lsn);
                if policy != SyncPolicy::None {
                    becomes_durable(&wal, lsn);
                }
            }
            assert_eq!(wal.stats().written_lsn, Lsn::new(2));
        }
    }
}

/// Whoever polls does not wait for a time that may never come.
#[test]
fn a_ticket_that_is_polled_becomes_durable_whatever_the_policy() {
    let periodic = SyncPolicy::Periodic { interval: NEVER, max_unsynced: ByteCount::mib(1) };
    let batch = batch(u64::MAX, 1 << 30, NEVER);
    for policy in [SyncPolicy::Always, SyncPolicy::None, batch, periodic] {
        let disk = SimDisk::new();
        let wal = open(&disk, policy);
        let mut ticket = wal.submit(b"record").unwrap();
        let mut context = Context::from_waker(Waker::noop());
        if Pin::new(&mut ticket).poll(&mut context).is_pending() {
            becomes_durable(&wal, Lsn::new(1));
        }
        assert_eq!(survivors(&disk), 1, "{policy:?}");
    }
}

#[test]
fn without_a_policy_only_those_who_wait_cause_a_sync() {
    let disk = SimDisk::new();
    let wal = open(&disk, SyncPolicy::None);
    let first = wal.submit(b"one").unwrap();
    let second = wal.append(b"two").unwrap();
    assert_eq!(wal.stats().syncs, 0);
    assert!(!first.is_durable());
    wal.wait_durable(second).unwrap();
    assert!(first.is_durable());
    assert_eq!((wal.stats().syncs, survivors(&disk)), (1, 2));
    wal.append(b"three").unwrap();
    assert_eq!(wal.sync().unwrap(), Lsn::new(3));
    let ticket = wal.submit(b"four").unwrap();
    assert_eq!(ticket.wait().unwrap(), Lsn::new(4));
    assert_eq!((wal.stats().syncs, survivors(&disk)), (3, 4));
    assert!(matches!(wal.wait_durable(Lsn::new(5)), Err(WalError::NotFound { .. })));
    // Nothing is left to do, so nothing is done.
    wal.sync().unwrap();
    assert_eq!(wal.stats().syncs, 3);
    wal.append(b"five").unwrap();
    wal.close().unwrap();
    assert_eq!(survivors(&disk), 5);
}

#[test]
fn what_is_written_through_survives_the_process_and_not_the_machine() {
    let disk = SimDisk::new();
    let options = options(&disk, SyncPolicy::None).write_through(true);
    let (wal, _) = options.open(Path::new("/log")).unwrap();
    for n in 1..=20 {
        let lsn = wal.append(b"record").unwrap();
        assert_eq!((lsn, wal.written_lsn()), (Lsn::new(n), Lsn::new(n)));
    }
    assert_eq!(survivors(&disk), 0);
    let killed = disk.fork();
    let after = open(&killed, SyncPolicy::Always);
    assert_eq!(after.reader(Lsn::new(1)).count(), 20);
}

#[test]
fn a_batch_of_records_has_consecutive_numbers_and_is_bounded() {
    let disk = SimDisk::new();
    let wal = open(&disk, SyncPolicy::Always);
    let records: Vec<Vec<u8>> = (0..300_u16).map(|n| n.to_le_bytes().to_vec()).collect();
    let last = wal.append_batch(records.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(last, Lsn::new(300));
    assert_eq!(wal.stats().groups, 1);
    let found: Vec<_> = wal.reader(Lsn::new(1)).map(|record| record.unwrap().payload).collect();
    assert_eq!(found, records);
    assert_eq!(wal.append_batch([]).unwrap(), last);
    let large = vec![0; 9 << 20];
    let error = wal.append_batch([&large[..], &large[..]]).unwrap_err();
    assert!(matches!(error, WalError::RecordTooLarge { .. }));
    assert_eq!(wal.append(b"next").unwrap(), last.next());
}

#[test]
fn no_space_is_refused_before_acceptance_and_what_was_accepted_stays() {
    let disk = SimDisk::new();
    let wal = open(&disk, SyncPolicy::None);
    wal.append(b"first").unwrap();
    disk.set_capacity(Some(200 << 10));
    let mut accepted = 1;
    let error = loop {
        match wal.append(&[1; 3_000]) {
            Ok(lsn) => accepted = lsn.get(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WalError::NoSpace { .. }), "{error}");
    assert!(accepted > 5, "{accepted}");
    // What frees space may use the reserve.
    let settled = wal.submit_reserved(b"settled").unwrap();
    wal.sync().unwrap();
    assert!(settled.is_durable());
    assert_eq!(wal.stats().refused, 0);
    assert_eq!(survivors(&disk) as u64, accepted + 1);
    disk.set_capacity(None);
    wal.append(&[1; 3_000]).unwrap();
    wal.close().unwrap();
    assert_eq!(survivors(&disk) as u64, accepted + 2);
}

#[test]
fn a_failed_sync_poisons_the_log_and_wakes_who_waits_with_what_is_durable() {
    let disk = SimDisk::new();
    let wal = open(&disk, SyncPolicy::None);
    wal.append(b"safe").unwrap();
    let safe = wal.sync().unwrap();
    let ticket = wal.submit(b"lost").unwrap();
    disk.inject(Fault::new(FaultKind::SyncErrorKept));
    for error in [wal.sync().unwrap_err(), ticket.wait().unwrap_err()] {
        let WalError::Poisoned { durable_lsn, .. } = error else { panic!("{error:?}") };
        assert_eq!(durable_lsn, safe);
    }
    assert!(matches!(wal.append(b"late"), Err(WalError::Poisoned { .. })));
    assert_eq!(wal.durable_lsn(), safe);
}

#[test]
fn a_segment_is_durable_before_the_next_one_begins() {
    let disk = SimDisk::new();
    disk.keep_history();
    let options = options(&disk, SyncPolicy::None).segment_size(ByteCount::kib(64)).unwrap();
    let (wal, _) = options.open(Path::new("/log")).unwrap();
    while wal.stats().segments < 3 {
        wal.append(&[1; 5_000]).unwrap();
    }
    // Whatever the crash leaves, the second segment says how much of the first counts.
    for operation in 1..=disk.operations() {
        for survivors in [Survivors::All, Survivors::None, Survivors::Random(operation)] {
            let disk = disk.at_operation(operation).unwrap();
            disk.crash(survivors);
            open(&disk, SyncPolicy::Always);
        }
    }
}

#[test]
fn a_bound_of_zero_is_refused() {
    let zero = ByteCount::new(0);
    for policy in [
        batch(0, 1, NEVER),
        batch(1, 0, NEVER),
        batch(1, 1, Duration::ZERO),
        SyncPolicy::Periodic { interval: Duration::ZERO, max_unsynced: ByteCount::new(1) },
        SyncPolicy::Periodic { interval: NEVER, max_unsynced: zero },
    ] {
        let error = Wal::options().sync_policy(policy).unwrap_err();
        assert!(matches!(error, InvalidOptions::SyncPolicy { .. }), "{policy:?}");
        assert!(error.to_string().starts_with("sync_policy: "), "{error}");
    }
}

/// Each commit used to look through all batches since the last sync for somebody who waits, so that a log
/// that seldom syncs became slower with every record, and kept memory for each.
#[test]
fn a_batch_that_nobody_has_a_ticket_of_is_forgotten_once_it_is_written() {
    let disk = SimDisk::new();
    let options = options(&disk, SyncPolicy::None).write_through(true);
    let (wal, _) = options.open(Path::new("/log")).unwrap();
    for _ in 0..100 {
        wal.append(b"record").unwrap();
    }
    assert_eq!(wal.remembered(), 0);
    let ticket = wal.submit(b"record").unwrap();
    assert_eq!(wal.remembered(), 1);
    assert!(!ticket.is_durable());
    wal.sync().unwrap();
    assert!(ticket.is_durable());
    assert_eq!(wal.remembered(), 0);
}

/// The leader that is under way when the log is closed may still be refused.
#[test]
fn closing_says_that_something_was_refused_meanwhile() {
    let disk = SimDisk::new();
    let wal = open(&disk, SyncPolicy::Always);
    wal.append(b"first").unwrap();
    disk.inject(Fault::new(FaultKind::Stall));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| wal.append(b"second"));
        disk.wait_until_stalled();
        drop(wal.submit(&[7; 1 << 20]).unwrap());
        let closer = scope.spawn(|| wal.clone().close());
        wal.until_it_waits(&closer);
        disk.set_capacity(Some(0));
        disk.release();
        leader.join().unwrap().unwrap();
        let closed = closer.join().unwrap();
        assert!(matches!(closed, Err(WalError::NoSpace { .. })), "{closed:?}");
    });
    assert_eq!(wal.stats().refused, 1);
    disk.set_capacity(None);
    wal.append(b"third").unwrap();
    assert_eq!(survivors(&disk), 3);
}
