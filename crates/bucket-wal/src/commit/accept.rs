//! Taking records in: a number and a place in the open batch; under a policy that does not wait for the
//! disk, only when there is room for them.

use bucket_core::Clock;

use super::lead::Lead;
use super::state::Batch;
use super::{Shared, State, Ticket};
use crate::error::WalError;
use crate::frame::{Entry, MAX_RECORD_LEN};
use crate::lifecycle::SUBJECT_LEN;
use crate::lsn::Lsn;
use crate::options::SyncPolicy;
use crate::segment::ROOM;
use crate::sync::{Arc, MutexGuard};
use crate::writer::{CommitError, Unit, bound, encoded_bound};

/// A batch that has grown to this is committed by whoever makes it so, so that memory stays bounded.
const BATCH_LIMIT: usize = 64 << 20;
/// No entry of a frame's table is longer.
const MAX_ENTRY_LEN: usize = 9;

/// Records that are appended together, at least one, with their checks.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    payloads: &'a [&'a [u8]],
    entries: &'a [Entry],
    bytes: usize,
    /// They lead to space being freed, and may use the reserve.
    reserved: bool,
    /// The operation that they are about, which has to be pending.
    subject: Option<u64>,
}

impl<'a> Records<'a> {
    /// `entries` are those of the payloads, made outside of any lock.
    pub(crate) fn new(payloads: &'a [&'a [u8]], entries: &'a [Entry], reserved: bool) -> Self {
        let bytes = payloads.iter().map(|payload| payload.len()).sum();
        Self { payloads, entries, bytes, reserved, subject: None }
    }

    /// The same, about an operation that has to be pending.
    pub(crate) fn about(self, op: u64) -> Self {
        Self { subject: Some(op), ..self }
    }

    /// Fails when they are too much for one frame. Each counts with what its entry takes.
    pub(crate) fn check(payloads: &[&[u8]]) -> Result<(), WalError> {
        let bytes: usize = payloads.iter().map(|payload| payload.len()).sum();
        let entries = payloads.len().saturating_sub(1).saturating_mul(MAX_ENTRY_LEN);
        let (len, max) = (bytes.saturating_add(entries), MAX_RECORD_LEN);
        if len > max { Err(WalError::RecordTooLarge { len, max }) } else { Ok(()) }
    }
}

impl Shared {
    /// Appends the records and returns as the policy says: durable, or accepted. Returns the number of
    /// the last.
    pub(crate) fn append(self: &Arc<Self>, records: Records<'_>) -> Result<u64, WalError> {
        if self.policy != SyncPolicy::Always {
            return self.accept(records, |_, lsn| lsn);
        }
        let mut state = self.state.lock();
        state.check()?;
        let lsn = push(&mut state, records);
        self.came(&state);
        let done = Arc::clone(&state.open.done);
        self.wait_from(state, &done)?;
        Ok(lsn)
    }

    /// Accepts the records without waiting for the disk, and sees to it that they are written soon.
    pub(crate) fn submit(self: &Arc<Self>, records: Records<'_>) -> Result<Ticket, WalError> {
        if self.policy != SyncPolicy::Always {
            return self.accept(records, |state, lsn| self.ticket(state, lsn));
        }
        let mut state = self.state.lock();
        state.check()?;
        state.may_take(records)?;
        let lsn = push(&mut state, records);
        self.came(&state);
        let ticket = self.ticket(&state, lsn);
        if is_full(&state.open) {
            // The outcome reaches the record's own waiter.
            let _ = self.wait_from(state, &ticket.done);
        } else {
            self.wake_committer(state);
        }
        Ok(ticket)
    }

    /// A ticket for the newest record of the open batch.
    fn ticket(self: &Arc<Self>, state: &State, lsn: u64) -> Ticket {
        Ticket { shared: Arc::clone(self), lsn, done: Arc::clone(&state.open.done) }
    }

    /// Takes the records in when there is room for them on the disk, so that what was accepted is not
    /// refused later. `made` is told the number and makes of it what is returned, before others can go on.
    fn accept<T>(
        self: &Arc<Self>,
        records: Records<'_>,
        made: impl FnOnce(&State, u64) -> T,
    ) -> Result<T, WalError> {
        let mut state = self.state.lock();
        loop {
            state.check()?;
            let is_late = match self.policy {
                SyncPolicy::Periodic { max_unsynced, .. } => {
                    let unsynced = state.unsynced.bytes;
                    unsynced > 0 && unsynced + records.bytes as u64 > max_unsynced.get()
                }
                _ => false,
            };
            if is_late {
                state = self.lead_or_wait(state, Lead::Sync);
            } else if is_full(&state.open) {
                state = self.lead_or_wait(state, Lead::Write);
            } else if has_room(&state, records) {
                break;
            } else if state.leading || !state.open.group.entries.is_empty() {
                // A leader leaves more room than was counted on, and makes what is open small.
                state = self.lead_or_wait(state, Lead::Write);
            } else {
                state = self.make_room(state, records)?;
            }
        }
        state.may_take(records)?;
        if state.unsynced.records == 0 {
            state.unsynced.since = self.clock.now();
        }
        state.unsynced.records += records.entries.len() as u64;
        state.unsynced.bytes += records.bytes as u64;
        if let SyncPolicy::Batch { records, bytes, .. } = self.policy {
            let reached = state.unsynced.records >= records || state.unsynced.bytes >= bytes.get();
            state.unsynced.due |= reached;
        }
        let lsn = push(&mut state, records);
        let made = made(&state, lsn);
        if self.write_through {
            while state.written_lsn < lsn && state.check().is_ok() {
                state = self.lead_or_wait(state, Lead::Write);
            }
            state.check()?;
        }
        if state.unsynced.due || !self.write_through || self.policy.has_delay() {
            self.wake_committer(state);
        }
        Ok(made)
    }

    /// Asks for space for the records, as a leader without a batch.
    fn make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        records: Records<'_>,
    ) -> Result<MutexGuard<'a, State>, WalError> {
        state.leading = true;
        let first_lsn = state.next_lsn;
        // What is left of a segment that may now end is not there for others.
        state.room = (0, 0);
        drop(state);
        let need = bound(records.entries.len(), records.bytes);
        let keep = if records.reserved { 0 } else { ROOM };
        let (made, room) = self.unless_it_panics(None, || {
            let mut writer = self.writer.lock();
            let made = writer.make_room(first_lsn, need, keep);
            (made, writer.room())
        });
        match &made {
            Ok(Some((header, _))) => self.tell_of_rotation(header),
            Err(error @ CommitError::Poisoned(_)) => self.tell_of_poison(error),
            _ => {}
        }
        let mut state = self.state.lock();
        state.room = room;
        match made {
            Ok(new_segment) => {
                if let Some(new_segment) = new_segment {
                    self.begin(&mut state, new_segment);
                }
                self.end_turn(&mut state);
                Ok(state)
            }
            Err(CommitError::NotWritten(error)) => {
                self.end_turn(&mut state);
                Err(error)
            }
            Err(error) => {
                self.poison(&mut state, &error);
                state.check()?;
                Ok(state)
            }
        }
    }
}

/// Gives the records their numbers and a place in the open batch. Returns the last number.
fn push(state: &mut State, records: Records<'_>) -> u64 {
    let count = records.entries.len();
    if let Some(lifecycle) = &mut state.lifecycle {
        let payloads = records.payloads.iter().copied();
        lifecycle.accepted(state.next_lsn, records.entries.iter().zip(payloads));
    }
    state.next_lsn += count as u64;
    let group = &mut state.open.group;
    group.reserved = records.reserved && (group.entries.is_empty() || group.reserved);
    group.entries.extend_from_slice(records.entries);
    for payload in records.payloads {
        group.payloads.extend_from_slice(payload);
    }
    group.units.push(Unit { count: count as u32, bytes: records.bytes as u32 });
    state.next_lsn - 1
}

impl State {
    /// Whether the lifecycle has anything against the records.
    fn may_take(&self, records: Records<'_>) -> Result<(), WalError> {
        if let Some(op) = records.subject
            && !self.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.is_pending(op))
        {
            return Err(WalError::NotPending { lsn: Lsn::new(op) });
        }
        // A copy forward is longer by a number, and has to fit as well.
        let (len, max) = (records.bytes, MAX_RECORD_LEN - SUBJECT_LEN);
        if self.lifecycle.is_some() && records.subject.is_none() && len > max {
            return Err(WalError::RecordTooLarge { len, max });
        }
        Ok(())
    }
}

fn has_room(state: &State, records: Records<'_>) -> bool {
    let room = if records.reserved { state.room.1 } else { state.room.0 };
    let open = &state.open.group;
    let together =
        bound(open.entries.len() + records.entries.len(), open.payloads.len() + records.bytes);
    together.max(encoded_bound(open)) <= room
}

fn is_full(open: &Batch) -> bool {
    open.group.payloads.len() + open.group.entries.len() * size_of::<Entry>() >= BATCH_LIMIT
}

#[cfg(all(test, not(bucket_loom)))]
mod tests {
    use std::path::Path;
    use std::thread;
    use std::time::Duration;

    use bucket_core::{ByteCount, Clock};
    use bucket_vfs::sim::{Fault, FaultKind, SimDisk};

    use super::*;
    use crate::{Wal, WalOptions};

    const NEVER: Duration = Duration::from_secs(3_600);

    fn options(policy: SyncPolicy) -> WalOptions {
        Wal::options().vfs(SimDisk::new().mount()).sync_policy(policy).expect("no bound is zero")
    }

    fn open(policy: SyncPolicy) -> Wal {
        options(policy).open(Path::new("/log")).expect("an empty disk opens").0
    }

    /// Does it with so many records of so many bytes each.
    fn with_records<T>(count: usize, len: usize, run: impl FnOnce(Records<'_>) -> T) -> T {
        let payload = vec![7; len];
        let payloads = vec![&payload[..]; count];
        run(Records::new(&payloads, &vec![Entry::of(&payload); count], false))
    }

    /// Waits until so much is written and nothing is under way.
    fn is_quiet(wal: &Wal, written: u64) -> MutexGuard<'_, State> {
        loop {
            let state = wal.shared.state.lock();
            if state.written_lsn >= written && !state.leading {
                return state;
            }
            drop(state);
            thread::yield_now();
        }
    }

    #[test]
    fn a_batch_is_not_due_before_it_has_enough() {
        let batch = |records, bytes| SyncPolicy::Batch {
            records,
            bytes: ByteCount::new(bytes),
            delay: NEVER,
        };
        for policy in [batch(3, 1 << 30), batch(u64::MAX, 21)] {
            let wal = open(policy);
            for n in 1..=2 {
                wal.append(&[7; 10]).unwrap();
                let state = is_quiet(&wal, n);
                assert!(!state.unsynced.due, "{policy:?}: after {n}");
                assert_eq!(state.durable, 0, "{policy:?}: after {n}");
            }
            wal.append(&[7; 10]).unwrap();
            assert_eq!(is_quiet(&wal, 3).durable, 3, "{policy:?}");
        }
    }

    #[test]
    fn what_is_unsynced_is_as_old_as_its_first_record() {
        let wal = open(SyncPolicy::Batch { records: 9, bytes: ByteCount::mib(1), delay: NEVER });
        wal.append(b"first").unwrap();
        let since = wal.shared.state.lock().unsynced.since;
        while wal.shared.clock.now() <= since {
            thread::yield_now();
        }
        wal.append(b"second").unwrap();
        let state = wal.shared.state.lock();
        assert_eq!((state.unsynced.records, state.unsynced.since), (2, since));
    }

    /// What does not fit would be refused after it was accepted.
    #[test]
    fn there_is_room_only_for_all_that_is_open_together() {
        let wal = open(SyncPolicy::None);
        wal.append(b"opens the segment").unwrap();
        wal.sync().unwrap();
        for len in [0, 1, 100] {
            let mut state = wal.shared.state.lock();
            state.open.group.entries.clear();
            state.open.group.payloads.clear();
            state.open.group.entries.push(Entry::of(&vec![7; len]));
            state.open.group.payloads.extend(vec![7; len]);
            let need = bound(2, 2 * len);
            with_records(1, len, |records| {
                state.room = (need, need);
                assert!(has_room(&state, records), "{len}");
                state.room = (need - 1, need - 1);
                assert!(!has_room(&state, records), "{len}");
            });
            state.open = Batch::new(state.next_lsn);
        }
    }

    #[test]
    fn a_batch_is_full_by_its_records_as_well_as_by_their_bytes() {
        let mut open = Batch::new(1);
        open.group.payloads = vec![7; BATCH_LIMIT - 1];
        assert!(!is_full(&open));
        open.group.payloads.push(7);
        assert!(is_full(&open));
        open.group.payloads.clear();
        open.group.entries = vec![Entry::of(b""); BATCH_LIMIT.div_ceil(size_of::<Entry>())];
        assert!(is_full(&open));
        open.group.entries.pop();
        assert!(!is_full(&open));
    }

    #[test]
    fn an_operation_leaves_room_for_the_number_that_its_copy_carries() {
        let options = options(SyncPolicy::None).lifecycle(true);
        let (wal, _) = options.open(Path::new("/log")).unwrap();
        let state = wal.shared.state.lock();
        let longest = MAX_RECORD_LEN - SUBJECT_LEN;
        with_records(1, longest, |records| state.may_take(records)).unwrap();
        let error = with_records(1, longest + 1, |records| state.may_take(records)).unwrap_err();
        assert!(
            matches!(error, WalError::RecordTooLarge { len, max } if len == longest + 1 && max == longest)
        );
    }

    /// Records may have been accepted behind a batch that is refused, and are not refused with it.
    #[test]
    fn a_batch_that_is_refused_takes_no_other_with_it() {
        let (wal, _) = options(SyncPolicy::Always).lifecycle(true).open(Path::new("/log")).unwrap();
        let mut state = wal.shared.state.lock();
        with_records(2, 10, |records| push(&mut state, records));
        let refused = state.take_open();
        with_records(1, 10, |records| push(&mut state, records));
        state.gave_up(&refused);
        let pending = |lsn| state.lifecycle.as_ref().unwrap().is_pending(lsn);
        assert_eq!([1, 2, 3].map(pending), [false, false, true]);
        assert_eq!(state.stats.refused, 2);
    }

    /// Who submits faster than the disk takes it would fill the memory.
    #[test]
    fn a_batch_that_is_full_has_whoever_submits_wait_for_the_disk() {
        let disk = SimDisk::new();
        let (wal, _) = Wal::options().vfs(disk.mount()).open(Path::new("/log")).unwrap();
        let record = vec![7; MAX_RECORD_LEN];
        wal.append(b"first").unwrap();
        disk.inject(Fault::new(FaultKind::Stall));
        thread::scope(|scope| {
            let leader = scope.spawn(|| wal.append(b"second"));
            disk.wait_until_stalled();
            let submitter = scope.spawn(|| {
                (0..2 * BATCH_LIMIT / MAX_RECORD_LEN).for_each(|_| drop(wal.submit(&record)));
            });
            let waits = || wal.shared.state.lock().open.done.has_waiters();
            while !waits() && !submitter.is_finished() {
                thread::yield_now();
            }
            let waits = waits();
            disk.release();
            leader.join().unwrap().unwrap();
            submitter.join().unwrap();
            assert!(waits, "all of it was taken while the disk stood still");
        });
        wal.sync().unwrap();
        assert_eq!(wal.stats().records, 2 + 8);
    }
}
