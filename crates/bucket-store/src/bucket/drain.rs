//! Draining: one attempt at one operation, what its outcome means, and the threads that do it.
//!
//! Every write says what it expects to find, where the remote can check that: a request that arrives
//! late then fails its condition instead of undoing something newer.

use std::io::Read;
use std::time::Duration;

use bucket_core::{Ctx, OpKind, Tick};
use bucket_remote::{Body, Digest, Meta, Precondition, PutOptions, RemoteErrorKind};
use bucket_wal::{Lsn, WalError};
use sha2::Digest as _;
use sha2::Sha256;

use crate::bucket::inner::{Inner, State};
use crate::bucket::job::{Job, Known, Next, Outcome, Parked, PendingChange, Refusal, Settled};
use crate::bucket::record::{Change, OpRecord, Payload, Settlement};
use crate::planted::Bug;
use crate::resilient::ResilientError;
use crate::sync::{Arc, MutexGuard};

/// How long a remote that refuses credentials, or is full, is left alone.
const PARK: Duration = Duration::from_secs(5);
/// How often a lost race for a condition is run again before the operation waits its turn.
const ROUNDS: u32 = 4;

/// The loop of one drain thread.
pub(crate) fn work(inner: &Arc<Inner>) {
    let mut state = inner.state.lock();
    while !state.stopping {
        if state.degraded.is_some() || state.faulted {
            inner.work.wait(&mut state);
            continue;
        }
        let now = inner.clock.now();
        match turn(inner, state, now) {
            (locked, Turn::Done) => state = locked,
            (locked, Turn::Wait(until)) => {
                state = locked;
                match until {
                    None => inner.work.wait(&mut state),
                    Some(until) => {
                        inner.work.wait_for(&mut state, until.since(now));
                    }
                }
            }
        }
    }
}

/// What came of one turn.
pub(crate) enum Turn {
    Done,
    /// Nothing is due before this, as far as is known.
    Wait(Option<Tick>),
}

/// Does one job, with the state unlocked, if one is due.
pub(crate) fn turn<'a>(
    inner: &'a Arc<Inner>,
    mut state: MutexGuard<'a, State>,
    now: Tick,
) -> (MutexGuard<'a, State>, Turn) {
    let mut replaced = Vec::new();
    let job = match state.engine.next(now, &mut replaced) {
        Next::Wait(until) => return (state, Turn::Wait(until)),
        Next::Start(job) => job,
    };
    drop(state);
    if replaced.iter().all(|settled| settle(inner, settled)) {
        run(inner, &job);
    }
    (inner.state.lock(), Turn::Done)
}

/// One job from attempt to settlement.
fn run(inner: &Arc<Inner>, job: &Job) {
    if inner.config.planted.has(Bug::SettleBeforeSent) {
        settle_early(inner, job);
    }
    let outcome = attempt(inner, job);
    if inner.config.planted.has(Bug::EvictUndrained)
        && let PendingChange::Put { blob: Some(name), .. } = &job.op.change
    {
        inner.blobs.remove(name);
    }
    let mut state = inner.state.lock();
    if let Some(what) = outcome.complaint() {
        state.last_error = Some(format!("{}: {what}", job.key));
    }
    let settled = state.engine.complete(job, outcome, inner.clock.now());
    drop(state);
    if let Some(settled) = settled
        && settle(inner, &settled)
    {
        let mut state = inner.state.lock();
        state.engine.go_on(&settled.key, inner.clock.now());
        drop(state);
        inner.changed.notify_all();
    }
    inner.work.notify_one();
}

/// Records durably that an operation is done with, and frees what it held. False when the log is of no
/// more use; the operation will then be sent again by the next owner, which does no harm.
fn settle(inner: &Arc<Inner>, settled: &Settled) -> bool {
    let note = settled.known.as_ref().map(|known| Settlement {
        key: settled.key.clone(),
        version: match known {
            Known::Version(version) => Some(version.clone()),
            Known::Absent | Known::Unknown => None,
        },
    });
    let encoded = note.as_ref().map(Settlement::encode);
    let lsn = loop {
        match log_settlement(inner, settled.op.lsn, encoded.as_deref()) {
            Ok(lsn) => break lsn,
            Err(WalError::NotPending { lsn })
                if inner.config.planted.has(Bug::SettleBeforeSent) =>
            {
                break lsn;
            }
            Err(WalError::NoSpace { .. }) if inner.release_reserve() => {}
            Err(WalError::NoSpace { .. }) if inner.cancel.sleep(Duration::from_secs(1)) => {}
            Err(WalError::NoSpace { .. } | WalError::Closed) => return false,
            Err(_) => {
                inner.state.lock().faulted = true;
                return false;
            }
        }
    };
    // Under one lock: a checkpoint has the settlement in its catalog, or replays it.
    let mut state = inner.state.lock();
    state.settled += 1;
    state.engine.settled(&settled.op, lsn);
    if let Some(note) = note {
        state.catalog.settle(&note.key, settled.op.lsn, note.version);
    }
    drop(state);
    inner.changed.notify_all();
    if let PendingChange::Put { blob: Some(name), .. } = &settled.op.change {
        inner.blobs.remove(name);
    }
    true
}

/// Gives the settlement to the log and waits until it is durable. Without a note the operation never
/// reached the remote.
fn log_settlement(inner: &Inner, op: Lsn, note: Option<&[u8]>) -> Result<Lsn, WalError> {
    // Number and account under one lock, so that no checkpoint comes between.
    let mut state = inner.state.lock();
    let ticket = match note {
        Some(note) => inner.wal.complete_with(op, note)?,
        None => inner.wal.abort(op, "replaced")?,
    };
    let lsn = ticket.lsn();
    state.engine.settling(lsn);
    inner.logged(&mut state, note.map_or(0, <[u8]>::len));
    drop(state);
    let durable = ticket.wait();
    if matches!(durable, Err(WalError::NoSpace { .. })) {
        inner.state.lock().engine.not_settled(lsn);
    }
    durable
}

/// The bug: says that the remote has what it was not given yet.
fn settle_early(inner: &Inner, job: &Job) {
    let note = Settlement { key: job.key.clone(), version: None }.encode();
    if let Ok(lsn) = log_settlement(inner, job.op.lsn, Some(&note)) {
        inner.state.lock().engine.not_settled(lsn);
    }
}

/// One attempt: looks where it must, sends where it should, and says what came of it.
fn attempt(inner: &Inner, job: &Job) -> Outcome {
    let deadline = inner.clock.now().after(inner.config.op_timeout);
    let op = match job.op.change {
        PendingChange::Put { .. } => OpKind::Write,
        PendingChange::Delete => OpKind::Delete,
    };
    // As an attempt, so that the guards below do not repeat it: the engine has to hear of every attempt
    // without an answer, also of one that is followed by a success.
    let ctx = Ctx::new(op)
        .with_op_id(job.op.op_id)
        .with_cancel(inner.cancel.clone())
        .for_attempt(1, Some(deadline));
    let result = match &job.op.change {
        PendingChange::Put { digest, .. } => put(inner, &ctx, job, *digest),
        PendingChange::Delete => delete(inner, &ctx, job),
    };
    result.unwrap_or_else(|error| outcome_of(&error))
}

fn put(inner: &Inner, ctx: &Ctx, job: &Job, digest: Digest) -> Result<Outcome, ResilientError> {
    let caps = inner.remote.caps();
    let mut known = job.known.clone();
    let mut look = job.verify || job.confirm;
    let mut body = None;
    for _ in 0..ROUNDS {
        if look {
            let found = look_at(inner, ctx, job)?;
            if is_ours(job, digest, found.as_ref()) {
                let now_known = found.map_or(Known::Absent, |meta| Known::Version(meta.version));
                return Ok(Outcome::Applied { now_known, conditional: caps.conditional_put });
            }
            known = found.map_or(Known::Absent, |meta| Known::Version(meta.version));
            if job.confirm {
                return Ok(Outcome::Unconfirmed { now_known: known });
            }
        }
        if body.is_none() {
            match load(inner, job, digest) {
                Some(loaded) => body = Some(loaded),
                None => return Ok(Outcome::Refused { why: Refusal::ContentGone }),
            }
        }
        let Some(body) = &body else { break };
        let precondition = match (&known, caps.conditional_put) {
            (Known::Version(version), true) => Precondition::IfMatch(version.clone()),
            (_, true) => Precondition::IfAbsent,
            (_, false) => Precondition::None,
        };
        let options = PutOptions::new().precondition(precondition).digest(digest);
        match inner.remote.put(ctx, &job.key, body, &options) {
            Ok(version) => {
                let conditional = caps.conditional_put;
                return Ok(Outcome::Applied { now_known: Known::Version(version), conditional });
            }
            // Somebody else's write, or an own one that was not known: look, and go on from there.
            Err(error) if condition_false(&error) => look = true,
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Failed { retry_after: None })
}

fn delete(inner: &Inner, ctx: &Ctx, job: &Job) -> Result<Outcome, ResilientError> {
    let conditional = inner.remote.caps().conditional_delete;
    let applied = Outcome::Applied { now_known: Known::Absent, conditional };
    for _ in 0..ROUNDS {
        let mut precondition = Precondition::None;
        if conditional || job.confirm {
            match look_at(inner, ctx, job)? {
                None => return Ok(applied),
                Some(meta) if job.confirm => {
                    return Ok(Outcome::Unconfirmed { now_known: Known::Version(meta.version) });
                }
                Some(meta) => precondition = Precondition::IfMatch(meta.version),
            }
        }
        match inner.remote.delete(ctx, &job.key, &precondition) {
            Ok(()) => return Ok(applied),
            Err(error) if condition_false(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Failed { retry_after: None })
}

/// What the remote has under the key, `None` for nothing.
fn look_at(inner: &Inner, ctx: &Ctx, job: &Job) -> Result<Option<Meta>, ResilientError> {
    match inner.remote.head(ctx, &job.key) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.is_not_found() => Ok(None),
        // A look changes nothing, so its failure is never ambiguous.
        Err(ResilientError::Remote { attempts, mut source }) => {
            source.applied = bucket_remote::Applied::No;
            Err(ResilientError::Remote { attempts, source })
        }
        Err(error) => Err(error),
    }
}

/// Whether what the remote has is what this operation wrote.
fn is_ours(job: &Job, digest: Digest, found: Option<&Meta>) -> bool {
    found.is_some_and(|meta| {
        meta.is_write_of(job.op.op_id, Some(digest))
            || (job.confirm && job.known == Known::Version(meta.version.clone()))
    })
}

fn condition_false(error: &ResilientError) -> bool {
    error
        .remote()
        .is_some_and(|error| error.kind == RemoteErrorKind::ConditionFalse && !error.is_ambiguous())
}

/// The content of the operation, checked against the digest that was acknowledged; `None` when it is
/// not what was accepted.
fn load(inner: &Inner, job: &Job, digest: Digest) -> Option<Body> {
    let PendingChange::Put { len, blob, .. } = &job.op.change else { return None };
    let body = match blob {
        Some(name) => inner.blobs.body(name, *len).ok()?,
        None => {
            let record = inner.wal.read(job.op.lsn).ok()?;
            inline_body(&record.payload)?
        }
    };
    let (mut hasher, mut reader, mut chunk) = (Sha256::new(), body.reader(), vec![0; 64 << 10]);
    loop {
        match reader.read(&mut chunk).ok()? {
            0 => break,
            n => hasher.update(&chunk[..n]),
        }
    }
    (Digest::new(hasher.finalize().into()) == digest).then_some(body)
}

/// The content that is in the record of an accepted put.
pub(crate) fn inline_body(record: &[u8]) -> Option<Body> {
    match OpRecord::decode(record)?.change {
        Change::Put { payload: Payload::Inline(bytes), .. } => Some(Body::from(bytes.to_vec())),
        _ => None,
    }
}

fn outcome_of(error: &ResilientError) -> Outcome {
    use RemoteErrorKind as Kind;
    let source = match error {
        ResilientError::BreakerOpen { retry_in } => {
            let retry_in = retry_in.unwrap_or(PARK).max(Duration::from_millis(1));
            return Outcome::Park { retry_in, reason: Parked::BreakerOpen };
        }
        ResilientError::Remote { source, .. } => source,
        ResilientError::Connect { .. } | ResilientError::PoolExhausted { .. } => {
            return Outcome::Failed { retry_after: None };
        }
    };
    if source.is_ambiguous() {
        return Outcome::Ambiguous;
    }
    match source.kind {
        Kind::Auth => Outcome::Park { retry_in: PARK, reason: Parked::Auth },
        Kind::Quota => Outcome::Park { retry_in: PARK, reason: Parked::Quota },
        Kind::Corrupt | Kind::Invalid | Kind::NotFound | Kind::TooLarge | Kind::Unsupported => {
            Outcome::Refused { why: Refusal::Remote(source.kind) }
        }
        _ => Outcome::Failed { retry_after: source.retry_after },
    }
}
