//! [`Crew`]: the threads of a replay, and who reads and who consumes which piece.
//!
//! Each thread takes what comes next: a piece that is ready for it to consume, else one to read and check,
//! as long as not too many wait to be consumed. Pieces are consumed in order by every consumer, each of
//! which takes the records of its own parts.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::piece::{Delivery, Piece, Planner, Verified};
use super::{ReplayError, Replayed, Reporter};
use crate::commit::Shared;
use crate::reader::RecordRef;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};

/// The threads of a replay.
pub(super) struct Crew<'a, E> {
    shared: Arc<Shared>,
    lsns: RangeInclusive<u64>,
    part_of: Option<&'a PartOf<'a>>,
    consumers: usize,
    /// So many pieces may be read and not consumed.
    window: u64,
    board: Mutex<Board<E>>,
    changed: Condvar,
}

type PartOf<'a> = dyn Fn(&RecordRef<'_>) -> usize + Sync + 'a;

/// What a consumer takes records with.
pub(super) type Apply<'a, E> = dyn FnMut(usize, RecordRef<'_>) -> Result<(), E> + 'a;

/// A thread that consumes: its number, what it does with a record, and how it tells the caller.
pub(super) type Role<'a, 'r, E> = (usize, &'a mut Apply<'a, E>, Option<&'a mut Reporter<'r>>);

struct Board<E> {
    planner: Planner,
    /// The pieces that not everybody has consumed; `None` while it is being read.
    pieces: VecDeque<Option<Arc<Verified>>>,
    /// The number of the first of them.
    base: u64,
    /// For each consumer the number of the piece that it consumes next.
    next: Vec<u64>,
    /// There are no more pieces to be read.
    is_planned: bool,
    /// The first error, the number of its record, and the piece that it is in: later ones are of no use.
    failure: Option<(u64, u64, ReplayError<E>)>,
    panicked: bool,
    done: Replayed,
    spare: Vec<Verified>,
    waiting: usize,
}

enum Job {
    Read(u64, Piece, Verified),
    Consume(u64, Arc<Verified>),
    Nothing,
}

impl<'a, E> Crew<'a, E> {
    pub(super) fn new(
        shared: Arc<Shared>,
        planner: Planner,
        lsns: RangeInclusive<u64>,
        threads: usize,
        consumers: usize,
        part_of: Option<&'a PartOf<'a>>,
    ) -> Self {
        let board = Board {
            planner,
            pieces: VecDeque::new(),
            base: 0,
            next: vec![0; consumers],
            is_planned: false,
            failure: None,
            panicked: false,
            done: Replayed::default(),
            spare: Vec::new(),
            waiting: 0,
        };
        let (board, changed) = (Mutex::new(board), Condvar::new());
        let window = 2 * threads as u64 + 1;
        Self { shared, lsns, part_of, consumers, window, board, changed }
    }

    /// What one thread does until there is nothing left for it.
    pub(super) fn work(&self, mut role: Option<Role<'_, '_, E>>) {
        let alarm = Alarm(self);
        let me = role.as_ref().map(|(me, ..)| *me);
        loop {
            match self.next_job(me) {
                Job::Nothing => break,
                Job::Read(n, piece, memory) => {
                    let verified = memory.read(&self.shared, &piece, &self.lsns, self.part_of);
                    let mut board = self.board.lock();
                    let at = (n - board.base) as usize;
                    if let Some(slot) = board.pieces.get_mut(at) {
                        *slot = Some(Arc::new(verified));
                    }
                    self.tell(&board);
                }
                Job::Consume(n, verified) => {
                    if let Some(role) = &mut role {
                        self.consume(n, verified, role);
                    }
                }
            }
        }
        std::mem::forget(alarm);
    }

    pub(super) fn into_result(self) -> Result<Replayed, ReplayError<E>> {
        let mut board = self.board.lock();
        match board.failure.take() {
            Some((.., failure)) => Err(failure),
            None => Ok(board.done),
        }
    }

    fn next_job(&self, me: Option<usize>) -> Job {
        let mut board = self.board.lock();
        loop {
            if board.panicked {
                return Job::Nothing;
            }
            if let Some(me) = me {
                let n = board.next[me];
                if board.failure.as_ref().is_some_and(|(_, last, _)| n > *last) {
                    return Job::Nothing;
                }
                match board.pieces.get((n - board.base) as usize) {
                    Some(Some(verified)) => return Job::Consume(n, Arc::clone(verified)),
                    None if board.is_planned => return Job::Nothing,
                    _ => {}
                }
            }
            if board.failure.is_none()
                && !board.is_planned
                && (board.pieces.len() as u64) < self.window
            {
                let n = board.base + board.pieces.len() as u64;
                match board.planner.next_piece() {
                    Some(Ok(piece)) => {
                        board.pieces.push_back(None);
                        let memory = board.spare.pop().unwrap_or_default();
                        return Job::Read(n, piece, memory);
                    }
                    Some(Err((lsn, error))) => {
                        let failed = Arc::new(Verified::failed(lsn, error));
                        board.pieces.push_back(Some(failed));
                        self.tell(&board);
                    }
                    None => {
                        board.is_planned = true;
                        self.tell(&board);
                    }
                }
                continue;
            }
            // Whoever only reads has nothing left to do.
            if me.is_none() && (board.is_planned || board.failure.is_some()) {
                return Job::Nothing;
            }
            board.waiting += 1;
            self.changed.wait(&mut board);
            board.waiting -= 1;
        }
    }

    fn consume(&self, n: u64, verified: Arc<Verified>, role: &mut Role<'_, '_, E>) {
        let (me, apply, reporter) = role;
        let (mut done, mut failure) = (Replayed::default(), None);
        for delivery in verified.deliveries() {
            match delivery {
                Delivery::Record(part, record) if part % self.consumers == *me => {
                    done.records += 1;
                    done.payload_bytes += record.payload.len() as u64;
                    let lsn = record.lsn;
                    if let Err(error) = apply(part, record) {
                        failure = Some((lsn.get(), ReplayError::Apply { lsn, error }));
                        break;
                    }
                }
                Delivery::Record(..) => {}
                Delivery::Damaged((lsn, error)) => {
                    // One of them tells the caller, and stops if the caller does not want to know.
                    if let Some(reporter) = reporter {
                        done.damaged += 1;
                        if let Err(error) = reporter.damage(error.clone()) {
                            failure = Some((*lsn, ReplayError::Wal(error)));
                            break;
                        }
                    }
                }
            }
        }
        if let Some(reporter) = reporter {
            reporter.progress(verified.len);
        }
        let mut board = self.board.lock();
        board.done.records += done.records;
        board.done.payload_bytes += done.payload_bytes;
        board.done.damaged += done.damaged;
        board.next[*me] = n + 1;
        if let Some((lsn, failure)) = failure
            && board.failure.as_ref().is_none_or(|(first, ..)| lsn < *first)
        {
            board.failure = Some((lsn, n, failure));
        }
        drop(verified);
        let slowest = board.next.iter().copied().min().unwrap_or(n);
        while board.base < slowest {
            board.base += 1;
            let consumed = board.pieces.pop_front().flatten().and_then(Arc::into_inner);
            board.spare.extend(consumed);
        }
        self.tell(&board);
    }

    fn tell(&self, board: &MutexGuard<'_, Board<E>>) {
        if board.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

/// Lets the others go when this thread panics.
struct Alarm<'c, 'a, E>(&'c Crew<'a, E>);

impl<E> Drop for Alarm<'_, '_, E> {
    fn drop(&mut self) {
        self.0.board.lock().panicked = true;
        self.0.changed.notify_all();
    }
}
