//! The worker: a process that opens a log, writes to it from several threads, and says on its standard
//! output what it was promised, until it is killed.
//!
//! A line is written in one piece and only after the call has returned that makes the promise, so that
//! whatever the parent reads has been promised.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bucket_wal::{Lsn, Wal, WalError};

use super::job::{Checkpoints, Job, Policy};
use super::line::{Line, Promise};
use super::record::{self, Id, MIN_LEN, Rng};

/// Runs the job that the arguments describe.
pub(super) fn main(args: &[String]) -> ExitCode {
    let outcome = Job::parse(args).and_then(|job| run(&job));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("worker: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(job: &Job) -> Result<(), String> {
    let position = job.position.as_ref().map(File::open).transpose();
    let position = position.map_err(|error| format!("cannot read the position: {error}"))?;
    let (wal, recovery) = match job.options()?.open(&job.dir) {
        Ok(opened) => opened,
        Err(error) => return Err(format!("cannot open the log: {}", chain(&error))),
    };
    let mut last = recovery.report().last_lsn;
    for record in wal.reader(recovery.replay_from()) {
        // Recovery says a number; what counts is what it lets anybody read.
        last = record.map_err(|error| format!("cannot read the log: {}", chain(&error)))?.lsn;
    }
    say(&Line::Opened { last: last.get() });
    let shared = Shared {
        job,
        wal: &wal,
        position,
        checkpoint_from: AtomicU64::new(recovery.replay_from().get()),
        in_checkpoint: AtomicBool::new(false),
    };
    if job.threads == 1 {
        Worker::new(&shared, 0).work();
    } else {
        std::thread::scope(|scope| {
            for thread in 0..job.threads {
                let shared = &shared;
                scope.spawn(move || Worker::new(shared, thread).work());
            }
        });
    }
    match wal.close() {
        Ok(()) => say(&Line::Closed),
        Err(WalError::Poisoned { durable_lsn, .. }) => {
            say(&Line::Poisoned { durable: durable_lsn.get() });
        }
        Err(error) => return Err(format!("cannot close the log: {}", chain(&error))),
    }
    Ok(())
}

struct Shared<'a> {
    job: &'a Job,
    wal: &'a Wal,
    position: Option<File>,
    /// Where the newest checkpoint starts; written by whoever holds `in_checkpoint`.
    checkpoint_from: AtomicU64,
    in_checkpoint: AtomicBool,
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    thread: u32,
    rng: Rng,
    seq: u64,
    /// Refusals since something was taken in.
    refused: u32,
}

/// The log takes nothing more.
struct Stop;

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared<'a>, thread: u32) -> Self {
        let job = shared.job;
        let rng = Rng::new(&[job.seed, u64::from(job.run), u64::from(thread)]);
        Self { shared, thread, rng, seq: 0, refused: 0 }
    }

    fn work(mut self) {
        let ops = self.shared.job.ops;
        let mut done = 0;
        while (ops == 0 || done < ops) && self.operation().is_ok() {
            done += 1;
        }
    }

    fn operation(&mut self) -> Result<(), Stop> {
        match self.rng.below(100) {
            0..45 => self.append(),
            45..65 => self.append_batch(),
            65..85 if self.shared.job.tickets > 0 => self.submit(),
            85..95 => self.watermark(),
            95.. if self.thread == 0 && self.shared.job.checkpoints == Checkpoints::Often => {
                self.checkpoint()
            }
            _ => self.append(),
        }
    }

    fn append(&mut self) -> Result<(), Stop> {
        let id = self.next_id(0, 1);
        match self.shared.wal.append(&id.content()) {
            Ok(lsn) => self.record(self.promise_of_append(), lsn.get(), id),
            Err(error) => return self.refused(&[id], &error),
        }
        Ok(())
    }

    fn append_batch(&mut self) -> Result<(), Stop> {
        let of = 2 + self.rng.below(5) as u32;
        let ids: Vec<Id> = (0..of).map(|nth| self.next_id(nth, of)).collect();
        let contents: Vec<_> = ids.iter().map(|id| id.content()).collect();
        match self.shared.wal.append_batch(contents.iter().map(Vec::as_slice)) {
            Ok(last) => {
                let first = last.get() + 1 - u64::from(of);
                for (lsn, id) in (first..).zip(ids) {
                    self.record(self.promise_of_append(), lsn, id);
                }
                Ok(())
            }
            Err(error) => self.refused(&ids, &error),
        }
    }

    fn submit(&mut self) -> Result<(), Stop> {
        let n = 1 + self.rng.below(self.shared.job.tickets);
        let mut tickets = Vec::new();
        for _ in 0..n {
            let id = self.next_id(0, 1);
            match self.shared.wal.submit(&id.content()) {
                Ok(ticket) => {
                    if self.shared.job.policy != Policy::Always {
                        self.record(self.promise_of_append(), ticket.lsn().get(), id);
                    }
                    tickets.push((id, ticket));
                }
                Err(error) => self.refused(&[id], &error)?,
            }
        }
        for (id, ticket) in tickets {
            let lsn = ticket.lsn().get();
            match ticket.wait() {
                Ok(_) => self.record(Promise::Durable, lsn, id),
                Err(error) => self.refused(&[id], &error)?,
            }
        }
        Ok(())
    }

    /// Says how far the promises about all records reach, half of the time after asking for more.
    fn watermark(&mut self) -> Result<(), Stop> {
        let wal = self.shared.wal;
        let moved = match self.rng.below(4) {
            0 => wal.sync().map(|_| ()),
            1 => wal.wait_durable(wal.written_lsn()),
            _ => Ok(()),
        };
        if let Err(error) = moved {
            return self.refused(&[], &error);
        }
        let (written, durable) = (wal.written_lsn().get(), wal.durable_lsn().get());
        say(&Line::UpTo { promise: Promise::Written, lsn: written, at: self.position() });
        say(&Line::UpTo { promise: Promise::Durable, lsn: durable, at: self.position() });
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Stop> {
        let shared = self.shared;
        if shared.in_checkpoint.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
            return Ok(());
        }
        let back =
            if shared.job.checkpoints == Checkpoints::Often { self.rng.below(50) } else { 0 };
        let newest = (shared.wal.durable_lsn().get() + 1).saturating_sub(back);
        let from = newest.max(shared.checkpoint_from.load(Ordering::Relaxed));
        say(&Line::CheckpointBegun { from });
        let taken = shared.wal.checkpoint(Lsn::new(from), record::state(from));
        if taken.is_ok() {
            shared.checkpoint_from.store(from, Ordering::Relaxed);
            say(&Line::Checkpoint { from, at: self.position() });
        }
        shared.in_checkpoint.store(false, Ordering::Release);
        match taken {
            Ok(()) => Ok(()),
            Err(error @ (WalError::Poisoned { .. } | WalError::Closed)) => {
                self.refused(&[], &error)
            }
            Err(error) => {
                say(&Line::NoCheckpoint { why: word(&error) });
                Ok(())
            }
        }
    }

    /// Says that the records were not accepted, and makes room where that is the reason.
    fn refused(&mut self, ids: &[Id], error: &WalError) -> Result<(), Stop> {
        match error {
            WalError::Poisoned { durable_lsn, .. } => {
                say(&Line::Poisoned { durable: durable_lsn.get() });
                return Err(Stop);
            }
            WalError::Closed => return Err(Stop),
            _ => {}
        }
        for id in ids {
            say(&Line::Refused { thread: id.thread, seq: id.seq, why: word(error) });
        }
        self.refused += 1;
        if self.refused > PATIENCE {
            return Err(Stop);
        }
        if matches!(error, WalError::NoSpace { .. })
            && self.shared.job.checkpoints == Checkpoints::WhenFull
        {
            // The two newest are kept, with all that the older one needs.
            self.checkpoint()?;
            self.checkpoint()?;
        }
        Ok(())
    }

    /// What a call promises that does not wait for the disk, unless the policy makes it.
    fn promise_of_append(&self) -> Promise {
        match (self.shared.job.policy, self.shared.job.write_through) {
            (Policy::Always, _) => Promise::Durable,
            (_, true) => Promise::Written,
            (_, false) => Promise::Accepted,
        }
    }

    fn record(&mut self, promise: Promise, lsn: u64, id: Id) {
        self.refused = 0;
        say(&Line::Record { promise, lsn, id, at: self.position() });
    }

    fn next_id(&mut self, nth: u32, of: u32) -> Id {
        let most = match self.rng.below(100) {
            0..70 => 300,
            70..98 => 5_000,
            // Longer than a small segment.
            _ => 90_000,
        };
        let len = MIN_LEN as u32 + self.rng.below(most) as u32;
        let (run, thread, seq) = (self.shared.job.run, self.thread, self.seq);
        self.seq += 1;
        Id { run, thread, seq, nth, of, len }
    }

    /// How many writes the disk's log has by now; 0 without one.
    fn position(&self) -> u64 {
        let Some(file) = &self.shared.position else { return 0 };
        let mut entries = [0; 8];
        match file.read_exact_at(&mut entries, POSITION_OFFSET) {
            Ok(()) => u64::from_le_bytes(entries),
            // Nothing is claimed about a promise made at the end of time.
            Err(_) => u64::MAX,
        }
    }
}

/// Writes a line in one piece. Whoever listened is gone when that fails, and so is the reason to live.
fn say(line: &Line) {
    let text = format!("{line}\n");
    if std::io::stdout().lock().write_all(text.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

/// The error in one word.
fn word(error: &WalError) -> String {
    match error {
        WalError::NoSpace { .. } => "no-space".to_owned(),
        WalError::Io { op, source, .. } => format!("{op}:{:?}", source.kind()),
        other => format!("{other:?}").split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A thread gives up after this many refusals on end.
const PATIENCE: u32 = 20;

/// Where the number of entries stands in the superblock of a log of writes.
const POSITION_OFFSET: u64 = 16;
