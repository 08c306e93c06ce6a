//! The parent: sends operations, switches faults, kills, restarts, and asks the oracle at the end.
//!
//! One thread does it all; the threads beside it only carry what arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufReader, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use bucket_core::{Clock, SystemClock, Tick};
use bucket_remote::{Digest, Key};
use indicatif::{ProgressBar, ProgressStyle};

use super::DrillArgs;
use super::child::THREADS;
use super::oracle::Oracle;
use super::plan::{Phase, Plan, Rng, content};
use super::report::{self, Outcome, Second};
use super::server::{Server, digest};
use super::wire::{self, Accepted, Answer, MAX_CONTENT, OpName, Order, StatusLine};

/// Runs a drill. An error says why it could not be set up.
pub(crate) fn run(args: &DrillArgs, seed: u64) -> Result<Outcome, String> {
    let inputs = args.input.as_deref().map(find_inputs).transpose()?;
    let dir = tempfile::Builder::new()
        .prefix("bucket-drill-")
        .tempdir()
        .map_err(|error| format!("cannot create a temporary directory: {error}"))?;
    let executable = std::env::current_exe()
        .map_err(|error| format!("cannot find this executable to start it again: {error}"))?;
    let server = Server::start(seed).map_err(|error| format!("cannot start a thread: {error}"))?;
    let duration = Duration::from_secs(args.duration);
    let mut drill = Drill::new(seed, duration, executable, dir.path(), server, inputs, args.json)?;
    #[cfg(bucket_planted)]
    drill.worker_args.extend(args.bug.iter().flat_map(|bug| ["--bug", bug]));
    let mut outcome = drill.run()?;
    drop(drill);
    if !outcome.holds() {
        outcome.kept = Some(dir.keep());
    }
    Ok(outcome)
}

struct Drill {
    clock: SystemClock,
    start: Tick,
    seed: u64,
    duration: Duration,
    executable: PathBuf,
    dir: PathBuf,
    /// What the worker is told beside its directory; only a planted bug so far.
    worker_args: Vec<&'static str>,
    server: Server,
    json: bool,
    bar: ProgressBar,

    plan: Plan,
    phase: Phase,
    phases_begun: usize,
    kills_done: usize,

    events: Receiver<Event>,
    sender: Sender<Event>,
    generation: u64,
    worker: Option<Worker>,
    status: StatusLine,
    flushed: Option<(bool, String)>,

    oracle: Oracle,
    rng: Rng,
    keys: Vec<String>,
    inputs: Option<Vec<Input>>,
    next: u64,
    outstanding: HashMap<u64, Outstanding>,
    busy: BTreeSet<String>,
    /// Bytes that may still be stored now, so that a fast disk is not filled.
    sent_bytes: u64,
    outcome: Outcome,
}

struct Worker {
    process: Child,
    orders: UnixStream,
    spawned: Tick,
    asked: Tick,
    ready: bool,
}

struct Outstanding {
    key: String,
    op: OpName,
}

/// A file of `--input`.
struct Input {
    path: String,
    len: u64,
    digest: Digest,
}

enum Event {
    Answer(Answer),
    /// The child has hung up, and everything that it said has been passed on.
    Gone(u64),
}

impl Drill {
    fn new(
        seed: u64,
        duration: Duration,
        executable: PathBuf,
        dir: &Path,
        server: Server,
        inputs: Option<Vec<Input>>,
        json: bool,
    ) -> Result<Self, String> {
        let clock = SystemClock::new();
        let (sender, events) = mpsc::channel();
        let keys = (0..KEYS).map(|n| format!("dir-{}/object-{n:03}", n % 7)).collect::<Vec<_>>();
        if let Some(bad) = keys.iter().find(|key| Key::new(key).is_err()) {
            return Err(format!("{bad:?} is no key"));
        }
        let mut bar = ProgressBar::hidden();
        if io::stderr().is_terminal() {
            bar = ProgressBar::new(duration.as_secs());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}") {
                bar.set_style(style);
            }
        }
        Ok(Self {
            start: clock.now(),
            clock,
            seed,
            duration,
            executable,
            dir: dir.join("bucket"),
            worker_args: Vec::new(),
            server,
            json,
            bar,
            plan: Plan::new(seed, duration),
            phase: Phase::Healthy,
            phases_begun: 0,
            kills_done: 0,
            events,
            sender,
            generation: 0,
            worker: None,
            status: StatusLine::default(),
            flushed: None,
            oracle: Oracle::default(),
            rng: Rng::new(seed),
            keys,
            inputs,
            next: 0,
            outstanding: HashMap::new(),
            busy: BTreeSet::new(),
            sent_bytes: 0,
            outcome: Outcome { seed, duration: duration.as_secs(), ..Outcome::default() },
        })
    }

    fn run(&mut self) -> Result<Outcome, String> {
        self.spawn().map_err(|error| format!("cannot start the worker: {error}"))?;
        self.wait_until(SET_UP, |drill| drill.is_ready());
        if !self.is_ready() {
            return Err("the worker does not answer".into());
        }
        // From here on the child may die when it likes.
        self.start = self.clock.now();
        while self.elapsed() < self.duration {
            self.advance();
            self.issue();
            self.wait(PACE);
            self.revive();
        }
        self.drain();
        Ok(std::mem::take(&mut self.outcome))
    }

    /// Switches faults and kills when the plan says so, and notes how things stand.
    fn advance(&mut self) {
        let elapsed = self.elapsed();
        while let Some((at, phase)) = self.plan.phases.get(self.phases_begun).copied()
            && at <= elapsed
        {
            self.phases_begun += 1;
            self.begin(phase);
        }
        if let Some(at) = self.plan.kills.get(self.kills_done)
            && *at <= elapsed
        {
            self.kills_done += 1;
            self.kill();
        }
        self.ask_for_status(Duration::from_millis(100));
        let (pending, phase) = (self.status.pending_ops, self.phase);
        self.second().pending = pending;
        if self.bar.position() != elapsed.as_secs() {
            self.bar.set_position(elapsed.as_secs());
            let (acks, kills) = (self.oracle.acknowledged(), self.outcome.kills);
            self.bar.set_message(format!(
                "{acks} acknowledged, {pending} pending, {kills} kills, remote {}",
                phase.name()
            ));
        }
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.server.phase(phase);
        let at = self.elapsed();
        self.outcome.phases.push((at, phase));
        report::event(self.json, "phase", at, phase.name());
    }

    /// Sends operations as far as threads, pace and volume allow.
    fn issue(&mut self) {
        if !self.is_ready() {
            return;
        }
        let elapsed = self.elapsed().as_secs_f64();
        let (pace, volume) = ((elapsed * OPS_PER_SECOND) as u64, elapsed * BYTES_PER_SECOND);
        // What was not sent while the child was away is not made up for.
        self.next = self.next.max(pace.saturating_sub(100));
        while self.next < pace && self.outstanding.len() < THREADS {
            // A third of everything meets on a few keys.
            let among = if self.rng.chance(330) { 12 } else { self.keys.len() as u64 };
            let key = self.keys[self.rng.below(among) as usize].clone();
            let gets = self.outstanding.values().filter(|o| o.op == OpName::Get).count();
            let op = match self.rng.below(100) {
                0..=59 => OpName::Put,
                60..=74 => OpName::Delete,
                _ if gets < THREADS / 2 => OpName::Get,
                _ => OpName::Put,
            };
            if self.busy.contains(&key) {
                self.next += 1;
                continue;
            }
            let room = (volume as u64 + FIRST_BYTES).saturating_sub(self.sent_bytes);
            self.send_op(key, op, room);
        }
    }

    fn send_op(&mut self, key: String, op: OpName, room: u64) {
        let i = self.next;
        self.next += 1;
        let (mut len, mut path, mut state) = (0, None, None);
        if op == OpName::Put {
            match &self.inputs {
                Some(inputs) => {
                    let input = &inputs[self.rng.below(inputs.len() as u64) as usize];
                    if input.len > room {
                        return;
                    }
                    (len, path) = (input.len, Some(input.path.clone()));
                    state = Some(input.digest);
                }
                None => {
                    len = self.rng.len();
                    if len > room {
                        len %= 4 << 10;
                    }
                    state = Some(digest(&content(self.seed, i, len)));
                }
            }
        }
        if op != OpName::Get {
            self.oracle.intend(i, &key, state);
        }
        self.sent_bytes += len;
        self.outcome.sent_bytes += len;
        self.outcome.operations += 1;
        self.busy.insert(key.clone());
        self.outstanding.insert(i, Outstanding { key: key.clone(), op });
        let seed = self.seed;
        self.send(&Order::Op { i, op, key, len, seed, path });
    }

    /// What cannot be sent was not received: the child has died, which is noticed elsewhere.
    fn send(&mut self, order: &Order) {
        if let Some(worker) = &mut self.worker {
            let _ = worker.orders.write_all(&wire::line(order));
        }
    }

    fn ask_for_status(&mut self, every: Duration) {
        let now = self.clock.now();
        let Some(worker) = &mut self.worker else { return };
        if worker.ready && now.since(worker.asked) >= every {
            worker.asked = now;
            self.send(&Order::Status { status: true });
        }
    }

    /// Waits for what the child says, this long at most.
    fn wait(&mut self, timeout: Duration) {
        match self.events.recv_timeout(timeout) {
            Ok(event) => self.take(event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    fn wait_until(&mut self, timeout: Duration, done: impl Fn(&Self) -> bool) {
        let start = self.clock.now();
        while !done(self) && self.worker.is_some() && self.clock.now().since(start) < timeout {
            self.wait(Duration::from_millis(20));
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Gone(generation) => {
                if generation == self.generation {
                    self.bury();
                }
            }
            // A child is buried only after the last thing that it said.
            Event::Answer(answer) => self.hear(answer),
        }
    }

    fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Status { status } => {
                self.status = status;
                let now = self.clock.now();
                if let Some(worker) = &mut self.worker
                    && !worker.ready
                {
                    worker.ready = true;
                    if self.generation > 1 {
                        self.outcome.recoveries.push(now.since(worker.spawned));
                    }
                }
            }
            Answer::Flushed { flushed, message } => self.flushed = Some((flushed, message)),
            Answer::Ack { i, sha256, op_id, .. } => {
                self.oracle.acknowledge(i, op_id.parse().ok(), parse(sha256.as_deref()));
                self.second().acks += 1;
                self.free(i);
            }
            Answer::Read { i, read } => {
                if let Some(Outstanding { key, .. }) = self.free(i) {
                    self.outcome.reads += 1;
                    self.oracle.read(&key, parse(read.as_deref()));
                }
            }
            Answer::Error { i, error, accepted, message } => {
                let Some(Outstanding { key, op }) = self.free(i) else { return };
                match (op, error.as_str()) {
                    (OpName::Get, "remote" | "order") => {}
                    (OpName::Get, _) => self.oracle.read_failed(&key, &message),
                    _ if accepted == Accepted::No => self.oracle.refuse(i),
                    // It may have happened: that is what the oracle assumes anyway.
                    _ => {}
                }
                let name = match op {
                    OpName::Delete => "delete",
                    OpName::Get => "get",
                    OpName::Put => "put",
                };
                *self.outcome.errors.entry(format!("{name}: {error}")).or_default() += 1;
            }
        }
    }

    fn free(&mut self, i: u64) -> Option<Outstanding> {
        let outstanding = self.outstanding.remove(&i)?;
        self.busy.remove(&outstanding.key);
        Some(outstanding)
    }

    /// Kills the child and starts it again.
    fn kill(&mut self) {
        let at = self.elapsed();
        if let Some(worker) = &mut self.worker {
            // On Unix this is SIGKILL.
            if worker.process.kill().is_ok() {
                self.outcome.kills += 1;
                self.second().kills += 1;
                self.outcome.killed_at.push(at);
                report::event(self.json, "kill", at, "SIGKILL");
            }
            // Everything that it said before counts, so it is heard out.
            self.wait_until(GOODBYE, |drill| drill.worker.is_none());
        }
        self.bury();
        self.restart();
    }

    /// The child is dead. Whether its unanswered operations have happened is not known.
    fn bury(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            let _ = worker.process.kill();
            let _ = worker.process.wait();
        }
        self.outstanding.clear();
        self.busy.clear();
    }

    /// Starts the child again if it has died by itself, which it never should.
    fn revive(&mut self) {
        if self.worker.is_none() {
            self.outcome.crashes += 1;
            report::event(self.json, "crash", self.elapsed(), "the worker ended by itself");
            self.restart();
        }
    }

    fn restart(&mut self) {
        if self.outcome.crashes <= MAX_CRASHES && self.spawn().is_err() {
            self.outcome.crashes += 1;
        }
    }

    fn spawn(&mut self) -> io::Result<()> {
        let (orders, theirs) = UnixStream::pair()?;
        let (remote, their_remote) = UnixStream::pair()?;
        let spawned = self.clock.now();
        let process = Command::new(&self.executable)
            .arg("drill-worker")
            .arg("--dir")
            .arg(&self.dir)
            .args(&self.worker_args)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(their_remote)))
            .spawn()?;
        self.generation += 1;
        // A child that does not read is as good as dead; the parent must not hang on it.
        orders.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut input = BufReader::new(orders.try_clone()?);
        let worker = Worker { process, orders, spawned, asked: spawned, ready: false };
        self.worker = Some(worker);
        let (sender, generation) = (self.sender.clone(), self.generation);
        std::thread::Builder::new().name("drill-answers".into()).spawn(move || {
            while let Ok(Some(answer)) = wire::read_line(&mut input) {
                if sender.send(Event::Answer(answer)).is_err() {
                    return;
                }
            }
            let _ = sender.send(Event::Gone(generation));
        })?;
        self.server.serve(remote)?;
        self.send(&Order::Status { status: true });
        Ok(())
    }

    /// Faults off, a last restart, a flush, a look through the bucket, and the judgement.
    fn drain(&mut self) {
        self.begin(Phase::Healthy);
        self.kill();
        let start = self.clock.now();
        self.wait_until(SET_UP, Self::is_ready);
        let timeout_ms = DRAIN.as_millis() as u64;
        self.bar.set_message("draining");
        self.flushed = None;
        self.send(&Order::Flush { flush: true, timeout_ms });
        let patience = DRAIN + Duration::from_secs(5);
        self.wait_until(patience, |drill| drill.flushed.is_some());
        let drained = self.flushed.take().unwrap_or_else(|| (false, "no answer".into()));
        if drained.0 {
            self.outcome.drain = Some(self.clock.now().since(start));
        }
        // The network may still hold old requests; whatever they do, they do before the look.
        let settled = self.server.settle();
        for key in self.keys.clone() {
            let i = self.next;
            self.next += 1;
            self.busy.insert(key.clone());
            self.outstanding.insert(i, Outstanding { key: key.clone(), op: OpName::Get });
            let op = OpName::Get;
            self.send(&Order::Op { i, op, key, len: 0, seed: 0, path: None });
            self.wait_until(PATIENCE, |drill| drill.outstanding.len() < THREADS);
        }
        self.wait_until(PATIENCE, |drill| drill.outstanding.is_empty());
        self.send(&Order::Status { status: true });
        self.wait(Duration::from_millis(500));
        self.bar.finish_and_clear();
        self.bury();
        let (Some(()), Some(end)) = (settled, self.server.finish()) else {
            self.outcome.trouble = Some("the drill's remote has died".into());
            return;
        };
        self.oracle.judge(&end.objects, &end.history);
        self.conclude(drained, &end);
    }

    fn conclude(&mut self, drained: (bool, String), end: &super::server::Final) {
        let (oracle, outcome) = (&self.oracle, &mut self.outcome);
        if !drained.0 {
            outcome.trouble = Some(format!("not drained: {}", drained.1));
        }
        if let Some(damage) = &self.status.degraded {
            outcome.trouble = Some(format!("the log is damaged: {damage}"));
        }
        outcome.count(oracle);
        outcome.mutations = end.history.len() as u64;
        outcome.faults = end.faults;
        let mut evidence = BTreeMap::new();
        for violation in oracle.violations().iter().take(20) {
            let key = &violation.key;
            evidence.insert(key.clone(), oracle.evidence(key, &end.history));
        }
        outcome.evidence = evidence;
        outcome.violations = oracle.violations().to_vec();
    }

    fn is_ready(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.ready)
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.start)
    }

    /// The entry of this second in the timeline.
    fn second(&mut self) -> &mut Second {
        let n = (self.elapsed().as_secs() as usize).min(MAX_SECONDS);
        let (phase, timeline) = (self.phase.name(), &mut self.outcome.timeline);
        while timeline.len() <= n {
            timeline.push(Second { second: timeline.len() as u64, phase, ..Second::default() });
        }
        &mut timeline[n]
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        self.bury();
    }
}

fn parse(digest: Option<&str>) -> Option<Digest> {
    // A digest that is none is the digest of no content: the oracle reports it.
    digest.map(|text| text.parse().unwrap_or_else(|_| Digest::new([0; 32])))
}

/// The regular files below `dir`, with what they contain.
fn find_inputs(dir: &Path) -> Result<Vec<Input>, String> {
    let unreadable = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let (mut dirs, mut inputs) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|error| unreadable(&dir, error))? {
            let entry = entry.map_err(|error| unreadable(&dir, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| unreadable(&path, error))?;
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() && inputs.len() < MAX_INPUTS {
                let path = std::path::absolute(&path).map_err(|error| unreadable(&path, error))?;
                let len = entry.metadata().map_err(|error| unreadable(&path, error))?.len();
                let Some(text) = path.to_str() else { continue };
                if len <= MAX_CONTENT {
                    let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, error))?;
                    let (len, digest) = (bytes.len() as u64, digest(&bytes));
                    inputs.push(Input { path: text.to_owned(), len, digest });
                }
            }
        }
    }
    if inputs.is_empty() {
        return Err(format!("{} has no file of up to 16 MiB", dir.display()));
    }
    Ok(inputs)
}

const KEYS: usize = 200;
const OPS_PER_SECOND: f64 = 600.0;
const BYTES_PER_SECOND: f64 = 4e6;
/// What may be stored before the pace begins to count.
const FIRST_BYTES: u64 = 8 << 20;
const PACE: Duration = Duration::from_millis(2);
/// How long the child may take to open its bucket.
const SET_UP: Duration = Duration::from_secs(20);
/// How long what a killed child has said may take to arrive.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long a read of a healthy remote may take.
const PATIENCE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(60);
const MAX_CRASHES: u64 = 5;
const MAX_INPUTS: usize = 2_000;
const MAX_SECONDS: usize = 90_000;
