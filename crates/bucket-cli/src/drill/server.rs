//! The parent's remote: objects in memory, a phase of faults, and a log of what was really applied.
//!
//! One thread owns it all. A request lives on when the child that sent it has died, as it would in a
//! network; but none takes effect later than the remote promises.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, UNIX_EPOCH};

use bucket_core::{Clock, Ctx, OpId, OpKind, SystemClock, Tick};
use bucket_remote::testing::MemoryRemote;
use bucket_remote::{
    Body, Digest, GetOptions, Key, ListRequest, PutOptions, Remote, RemoteError, RemoteErrorKind,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::plan::{Phase, Rng};
use super::wire::{self, Call, Reply, Request, Response};

/// How late a request may take effect after its sender has given up or died.
pub(crate) const LATE_WINDOW: Duration = Duration::from_secs(2);

/// A handle to the remote. The thread ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Server(Sender<Message>);

/// A mutation that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutation {
    pub(crate) key: String,
    pub(crate) op_id: Option<OpId>,
    /// The digest of what was really sent, not of what was announced; `None` for a delete.
    pub(crate) content: Option<Digest>,
}

/// What the remote has at the end, and how it came to be.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) objects: BTreeMap<String, Digest>,
    pub(crate) history: Vec<Mutation>,
    pub(crate) faults: FaultCounts,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct FaultCounts {
    /// Requests that arrived.
    pub(crate) requests: u64,
    /// Refused while down.
    pub(crate) refused: u64,
    pub(crate) throttled: u64,
    /// Held back for 0.2 to 1.5 s.
    pub(crate) delayed: u64,
    /// Applied, and the reply was never sent.
    pub(crate) replies_lost: u64,
    /// Mutations that took effect after the child that sent them had died.
    pub(crate) applied_after_kill: u64,
    /// Mutations dropped because they would have come later than promised.
    pub(crate) expired: u64,
}

#[derive(Debug)]
enum Message {
    Finish(Sender<Final>),
    Phase(Phase),
    Request(Box<Arrived>),
    /// Carry out everything that is held back, and be quick from now on.
    Settle(Sender<()>),
}

#[derive(Debug)]
struct Arrived {
    request: Request,
    /// The digest of the body of a put.
    content: Option<Digest>,
    reply: Sender<Vec<u8>>,
    gone: Arc<AtomicBool>,
}

struct Core {
    store: MemoryRemote,
    clock: SystemClock,
    rng: Rng,
    phase: Phase,
    settled: bool,
    held: BTreeMap<(Tick, u64), (Arrived, bool)>,
    sequence: u64,
    history: Vec<Mutation>,
    faults: FaultCounts,
}

impl Server {
    pub(crate) fn start(seed: u64) -> io::Result<Self> {
        let (sender, messages) = mpsc::channel();
        let mut core = Core::new(seed);
        std::thread::Builder::new()
            .name("drill-remote".into())
            .spawn(move || core.run(&messages))?;
        Ok(Self(sender))
    }

    /// Serves a child; never blocks on it.
    pub(crate) fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let mut input = BufReader::new(stream.try_clone()?);
        let mut output = stream;
        let (reply, replies) = mpsc::channel::<Vec<u8>>();
        std::thread::Builder::new().name("drill-replies".into()).spawn(move || {
            for frame in replies {
                if wire::write_frame(&mut output, &frame).is_err() {
                    break;
                }
            }
        })?;
        let server = self.0.clone();
        std::thread::Builder::new().name("drill-requests".into()).spawn(move || {
            let gone = Arc::new(AtomicBool::new(false));
            while let Ok(Some(frame)) = wire::read_frame(&mut input) {
                let Some(request) = Request::decode(&frame) else { break };
                let content = match &request.call {
                    Call::Put { body, .. } => Some(digest(body)),
                    _ => None,
                };
                let (reply, gone) = (reply.clone(), Arc::clone(&gone));
                let arrived = Arrived { request, content, reply, gone };
                if server.send(Message::Request(Box::new(arrived))).is_err() {
                    break;
                }
            }
            gone.store(true, Ordering::Relaxed);
        })?;
        Ok(())
    }

    pub(crate) fn phase(&self, phase: Phase) {
        let _ = self.0.send(Message::Phase(phase));
    }

    /// Carries out everything that is held back. `None` if the remote's thread has died.
    pub(crate) fn settle(&self) -> Option<()> {
        let (done, settled) = mpsc::channel();
        self.0.send(Message::Settle(done)).ok()?;
        settled.recv().ok()
    }

    /// What it has come to. `None` if the remote's thread has died.
    pub(crate) fn finish(&self) -> Option<Final> {
        let (done, result) = mpsc::channel();
        self.0.send(Message::Finish(done)).ok()?;
        result.recv().ok()
    }
}

pub(crate) fn digest(content: &[u8]) -> Digest {
    Digest::new(Sha256::digest(content).into())
}

impl Core {
    fn new(seed: u64) -> Self {
        Self {
            store: MemoryRemote::new(),
            clock: SystemClock::new(),
            rng: Rng::new(seed ^ 0x0052_454d_4f54_4500),
            phase: Phase::Healthy,
            settled: false,
            held: BTreeMap::new(),
            sequence: 0,
            history: Vec::new(),
            faults: FaultCounts::default(),
        }
    }

    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let now = self.clock.now();
            while let Some(entry) = self.held.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let (arrived, lose_reply) = entry.remove();
                self.carry_out(arrived, lose_reply);
            }
            let first = self.held.first_key_value();
            let wait = first.map_or(Duration::from_secs(60), |((at, _), _)| at.since(now));
            match messages.recv_timeout(wait) {
                Ok(Message::Finish(done)) => {
                    self.release();
                    let _ = done.send(self.result());
                }
                Ok(Message::Phase(phase)) => self.phase = phase,
                Ok(Message::Request(arrived)) => self.accept(*arrived),
                Ok(Message::Settle(done)) => {
                    (self.phase, self.settled) = (Phase::Healthy, true);
                    self.release();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Decides the fate of a request as it arrives.
    fn accept(&mut self, arrived: Arrived) {
        self.faults.requests += 1;
        let refuse = |error| {
            let response = Response { id: arrived.request.id, result: Err(error) };
            if let Some(frame) = response.encode() {
                let _ = arrived.reply.send(frame);
            }
        };
        let (mut delay, mut lose_reply) = (self.rng.between(0, 5), false);
        match self.phase {
            Phase::Down => {
                self.faults.refused += 1;
                return refuse(RemoteError::refused(RemoteErrorKind::Unavailable));
            }
            Phase::Throttled if self.rng.chance(800) => {
                self.faults.throttled += 1;
                let after = Duration::from_millis(self.rng.between(50, 400));
                let error = RemoteError::refused(RemoteErrorKind::Throttled);
                return refuse(error.with_retry_after(after));
            }
            // Some are quick in between, so that not only an open breaker is drilled.
            Phase::Slow if self.rng.chance(500) => {
                self.faults.delayed += 1;
                delay = self.rng.between(200, 1_500);
            }
            Phase::Lost => lose_reply = self.rng.chance(400),
            Phase::Healthy | Phase::Slow | Phase::Throttled => {}
        }
        if self.settled {
            return self.carry_out(arrived, false);
        }
        let at = self.clock.now().after(Duration::from_millis(delay));
        self.sequence += 1;
        self.held.insert((at, self.sequence), (arrived, lose_reply));
    }

    /// Everything that is held back happens now: the network may deliver at any time.
    fn release(&mut self) {
        while let Some((_, (arrived, lose_reply))) = self.held.pop_first() {
            self.carry_out(arrived, lose_reply);
        }
    }

    fn carry_out(&mut self, arrived: Arrived, lose_reply: bool) {
        let Arrived { request, content, reply, gone } = arrived;
        let (id, mutation) = (request.id, request.call.is_mutation());
        if mutation {
            let now = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            if now.saturating_sub(Duration::from_micros(request.sent_us)) > LATEST {
                self.faults.expired += 1;
                return;
            }
        }
        let before = self.history.len();
        let result = self.apply(request, content);
        if self.history.len() > before && gone.load(Ordering::Relaxed) {
            self.faults.applied_after_kill += 1;
        }
        if lose_reply {
            self.faults.replies_lost += 1;
        } else if let Some(frame) = (Response { id, result }).encode() {
            let _ = reply.send(frame);
        }
    }

    fn apply(&mut self, request: Request, content: Option<Digest>) -> Result<Reply, RemoteError> {
        let mut ctx = Ctx::new(OpKind::Write);
        ctx.op_id = request.op_id;
        let op_id = request.op_id;
        match request.call {
            Call::Delete { key, precondition } => {
                // One thread owns the store, so nothing comes between look and delete.
                let existed = self.store.head(&ctx, &key).is_ok();
                self.store.delete(&ctx, &key, &precondition)?;
                if existed {
                    self.history.push(Mutation { key: key.to_string(), op_id, content: None });
                }
                Ok(Reply::Done)
            }
            Call::Get { key, range } => {
                let options = range.map_or_else(GetOptions::new, |r| GetOptions::new().range(r));
                self.store.get(&ctx, &key, &options).map(Reply::Object)
            }
            Call::Head { key } => self.store.head(&ctx, &key).map(Reply::Meta),
            Call::List(request) => self.store.list(&ctx, &request).map(Reply::Page),
            Call::Put { key, precondition, digest, body } => {
                let mut options = PutOptions::new().precondition(precondition);
                options.digest = digest;
                let version = self.store.put(&ctx, &key, &Body::from(body), &options)?;
                self.history.push(Mutation { key: key.to_string(), op_id, content });
                Ok(Reply::Version(version))
            }
        }
    }

    fn result(&self) -> Final {
        let (mut objects, mut after): (_, Option<Key>) = (BTreeMap::new(), None);
        let ctx = Ctx::new(OpKind::Read);
        while let Ok(page) = self.store.list(&ctx, &ListRequest::new("").after(after.take())) {
            for meta in &page.entries {
                if let Ok(object) = self.store.get(&ctx, &meta.key, &GetOptions::new())
                    && let Ok(content) = object.body.to_bytes()
                {
                    objects.insert(meta.key.to_string(), digest(&content));
                }
            }
            after = page.entries.last().map(|meta| meta.key.clone());
            if !page.more {
                break;
            }
        }
        Final { objects, history: self.history.clone(), faults: self.faults }
    }
}

/// Below [`LATE_WINDOW`], because the sender's clock starts a little after the request.
const LATEST: Duration = Duration::from_millis(1_900);

#[cfg(test)]
mod tests {
    use bucket_remote::Precondition;

    use super::*;

    fn put(core: &mut Core, text: &str, age: Duration) -> Receiver<Vec<u8>> {
        let (reply, replies) = mpsc::channel();
        let now = core.clock.wall().duration_since(UNIX_EPOCH).unwrap();
        let (key, body) = (Key::new("k").unwrap(), text.as_bytes().to_vec());
        let content = Some(digest(&body));
        let (precondition, sent_us) = (Precondition::None, (now - age).as_micros() as u64);
        let call = Call::Put { key, precondition, digest: None, body };
        let request = Request { id: 1, sent_us, op_id: Some(OpId::new(1)), call };
        core.accept(Arrived { request, content, reply, gone: Arc::default() });
        replies
    }

    fn core(phase: Phase) -> Core {
        let mut core = Core::new(1);
        core.phase = phase;
        core
    }

    #[test]
    fn a_remote_that_is_down_applies_nothing_and_says_so() {
        let mut core = core(Phase::Down);
        let reply = put(&mut core, "a", Duration::ZERO).try_recv().unwrap();
        let error = Response::decode(&reply).unwrap().result.unwrap_err();
        assert!(error.kind == RemoteErrorKind::Unavailable && !error.is_ambiguous());
        core.release();
        assert!(core.result().objects.is_empty());
    }

    #[test]
    fn a_lost_reply_belongs_to_a_request_that_was_applied() {
        let mut core = core(Phase::Lost);
        let replies: Vec<_> = (0..100).map(|_| put(&mut core, "a", Duration::ZERO)).collect();
        core.release();
        let lost = replies.iter().filter(|reply| reply.try_recv().is_err()).count() as u64;
        assert_eq!((core.history.len(), core.faults.replies_lost), (100, lost));
        assert!((20..90).contains(&lost), "{lost}");
    }

    #[test]
    fn a_slow_request_is_applied_later_also_for_a_dead_child() {
        let mut core = core(Phase::Slow);
        drop(put(&mut core, "a", Duration::ZERO));
        assert!(core.result().objects.is_empty());
        core.release();
        assert_eq!(core.result().objects["k"], digest(b"a"));
    }

    #[test]
    fn a_request_that_is_later_than_promised_is_dropped() {
        let mut core = core(Phase::Healthy);
        let reply = put(&mut core, "a", LATE_WINDOW);
        core.release();
        assert!(reply.try_recv().is_err() && core.history.is_empty());
        assert_eq!(core.faults.expired, 1);
    }
}
