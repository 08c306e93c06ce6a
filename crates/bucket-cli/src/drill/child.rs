//! The child: a bucket that does as it is told until it is killed.
//!
//! Orders come in over stdin, which is a socket, and answers go back the same way; stdout is the way to
//! the remote. An operation is answered only after the bucket has returned from it.

use std::io::{BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bucket_core::{ByteCount, Durability};
use bucket_remote::{Digest, Key};
use bucket_store::{Bucket, StoreError, WhenFull};
use sha2::{Digest as _, Sha256};

use super::WorkerArgs;
use super::plan::content;
use super::remote::SocketRemote;
use super::server::LATE_WINDOW;
use super::wire::{self, Accepted, Answer, OpName, Order, StatusLine};

/// How many operations run at once; the parent has no more outstanding.
pub(crate) const THREADS: usize = 16;

/// Runs the child until the parent hangs up.
pub(crate) fn work(args: &WorkerArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "drill worker: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(args: &WorkerArgs) -> Result<(), Box<dyn std::error::Error>> {
    let orders = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let remote = UnixStream::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let bucket = Arc::new(open(args, remote)?);

    let (answers, to_send) = mpsc::channel::<Answer>();
    let mut output = orders.try_clone()?;
    std::thread::Builder::new().name("drill-answers".into()).spawn(move || {
        for answer in to_send {
            if output.write_all(&wire::line(&answer)).is_err() {
                break;
            }
        }
    })?;

    // A thread that is free says so, so that no operation waits behind a slow one.
    let (free, idle) = mpsc::channel();
    let mut threads = Vec::new();
    for n in 0..THREADS {
        let (sender, mine) = mpsc::channel();
        threads.push(sender);
        let (bucket, answers, free) = (Arc::clone(&bucket), answers.clone(), free.clone());
        std::thread::Builder::new()
            .name(format!("drill-op-{n}"))
            .spawn(move || carry_out(&bucket, n, &mine, &free, &answers))?;
    }

    let mut input = BufReader::new(orders);
    // A parent that is gone is the end of the drill, and nothing to complain about.
    while let Ok(Some(order)) = wire::read_line(&mut input) {
        match order {
            Order::Status { .. } => drop(answers.send(status(&bucket))),
            Order::Flush { timeout_ms, .. } => {
                let (bucket, answers) = (Arc::clone(&bucket), answers.clone());
                std::thread::Builder::new().name("drill-flush".into()).spawn(move || {
                    let result = bucket.flush(Some(Duration::from_millis(timeout_ms)));
                    let flushed = result.is_ok();
                    let message = result.err().map(|e| e.to_string()).unwrap_or_default();
                    let _ = answers.send(Answer::Flushed { flushed, message });
                })?;
            }
            order @ Order::Op { .. } => {
                let Ok(n) = idle.recv() else { break };
                threads.get(n).map(|thread: &Sender<Order>| thread.send(order));
            }
        }
    }
    Ok(())
}

fn open(args: &WorkerArgs, remote: UnixStream) -> Result<Bucket, Box<dyn std::error::Error>> {
    let remote = Arc::new(SocketRemote::new(remote)?);
    // Small bounds, so that a drill of half a minute meets them all.
    let builder = Bucket::builder(remote)
        .workers(8)
        .op_timeout(Duration::from_secs(1))
        .late_window(LATE_WINDOW)
        .backoff(Duration::from_millis(20), Duration::from_secs(1))
        .segment_size(ByteCount::mib(4))
        .max_pending_bytes(ByteCount::mib(32))
        .when_full(WhenFull::Block { timeout: Duration::from_millis(200) });
    #[cfg(bucket_planted)]
    let builder = match args.bug.as_deref().map(super::self_test::bug) {
        // Most content as a file of its own: a short drill must meet each bug.
        Some(Some(bug)) => builder.planted(bug).inline_max(ByteCount::new(256)),
        Some(None) => return Err("no such bug".into()),
        None => builder,
    };
    Ok(builder.open(&args.dir)?)
}

/// The loop of one operation thread.
fn carry_out(
    bucket: &Bucket,
    n: usize,
    orders: &Receiver<Order>,
    free: &Sender<usize>,
    answers: &Sender<Answer>,
) {
    while free.send(n).is_ok() {
        let Ok(order) = orders.recv() else { return };
        let Order::Op { i, op, key, len, seed, path } = order else { continue };
        let answer = match run(bucket, i, op, &key, len, seed, path.as_deref()) {
            Ok(answer) => answer,
            Err(refusal) => refusal.answer(i),
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

/// Why an operation was not carried out.
enum Refusal {
    /// The order itself is of no use.
    Order(String),
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Refusal {
    fn answer(self, i: u64) -> Answer {
        match self {
            Self::Order(message) => {
                let (error, accepted) = ("order".into(), Accepted::No);
                Answer::Error { i, error, accepted, message }
            }
            Self::Store(error) => {
                let accepted = match error.durability() {
                    Durability::NotAccepted => Accepted::No,
                    _ => Accepted::Unknown,
                };
                let mut message = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    message = format!("{message}: {cause}");
                    source = cause.source();
                }
                Answer::Error { i, error: name(&error).into(), accepted, message }
            }
        }
    }
}

fn run(
    bucket: &Bucket,
    i: u64,
    op: OpName,
    key: &str,
    len: u64,
    seed: u64,
    path: Option<&str>,
) -> Result<Answer, Refusal> {
    let key = Key::new(key).map_err(|error| Refusal::Order(error.to_string()))?;
    let receipt = match (op, path) {
        (OpName::Get, _) => return read(bucket, i, &key),
        (OpName::Delete, _) => bucket.delete(&key)?,
        (OpName::Put, None) => bucket.put(&key, content(seed, i, len))?,
        (OpName::Put, Some(path)) => {
            let unreadable = |error| Refusal::Order(format!("{path}: {error}"));
            let mut file = std::fs::File::open(path).map_err(unreadable)?;
            bucket.put_reader(&key, &mut file, Some(len))?
        }
    };
    Ok(Answer::Ack {
        i,
        ack: true,
        lsn: receipt.lsn.get(),
        sha256: receipt.digest.map(|digest| digest.to_string()),
        op_id: receipt.op_id.to_string(),
    })
}

fn read(bucket: &Bucket, i: u64, key: &Key) -> Result<Answer, Refusal> {
    let body = match bucket.get(key) {
        Ok(body) => body,
        Err(StoreError::NotFound { .. }) => return Ok(Answer::Read { i, read: None }),
        Err(error) => return Err(error.into()),
    };
    let mut hasher = Sha256::new();
    std::io::copy(&mut body.reader(), &mut HashWriter(&mut hasher))
        .map_err(|source| StoreError::Read { source })?;
    let read = Some(Digest::new(hasher.finalize().into()).to_string());
    Ok(Answer::Read { i, read })
}

/// Feeds a hasher.
struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn status(bucket: &Bucket) -> Answer {
    let status = bucket.status();
    Answer::Status {
        status: StatusLine {
            pending_ops: status.pending_ops,
            pending_bytes: status.pending_bytes.get(),
            degraded: status.degraded,
            faulted: status.faulted,
            parked: status.parked.map(|reason| reason.to_string()),
            last_error: status.last_error,
        },
    }
}

fn name(error: &StoreError) -> &'static str {
    match error {
        StoreError::Closed => "closed",
        StoreError::Full { .. } => "full",
        StoreError::Io { .. } => "io",
        StoreError::Log(_) => "log",
        StoreError::NoSpace { .. } => "no_space",
        StoreError::Read { .. } => "read",
        StoreError::Remote(_) => "remote",
        StoreError::TooLarge { .. } => "too_large",
        _ => "other",
    }
}
