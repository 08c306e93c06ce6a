//! [`SocketRemote`]: the child's side of the parent's remote.
//!
//! Many calls share one socket. One thread writes requests and knows who waits for which reply, one
//! reads replies; callers wait for theirs until their deadline.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, UNIX_EPOCH};

use bucket_core::{Clock, Ctx, SystemClock};
use bucket_remote::{
    Body, Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions, Remote,
    RemoteError, RemoteErrorKind, Version,
};

use super::wire::{self, Call, Reply, Request, Response};

/// A remote at the other end of a socket.
#[derive(Debug)]
pub(crate) struct SocketRemote {
    router: Sender<Route>,
    ids: AtomicU64,
    clock: SystemClock,
}

#[derive(Debug)]
enum Route {
    Forget(u64),
    /// The socket is closed.
    Gone,
    Reply(Response),
    Start {
        id: u64,
        frame: Vec<u8>,
        waiter: Sender<Response>,
    },
}

impl SocketRemote {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let (router, routes) = mpsc::channel();
        let mut input = BufReader::new(stream.try_clone()?);
        let replies = router.clone();
        std::thread::Builder::new().name("drill-replies".into()).spawn(move || {
            while let Ok(Some(frame)) = wire::read_frame(&mut input) {
                let Some(response) = Response::decode(&frame) else { break };
                if replies.send(Route::Reply(response)).is_err() {
                    break;
                }
            }
            let _ = replies.send(Route::Gone);
        })?;
        std::thread::Builder::new()
            .name("drill-requests".into())
            .spawn(move || route(stream, &routes))?;
        Ok(Self { router, ids: AtomicU64::new(0), clock: SystemClock::new() })
    }

    fn call(&self, ctx: &Ctx, call: Call) -> Result<Reply, RemoteError> {
        if ctx.cancel.is_cancelled() {
            return Err(RemoteError::refused(RemoteErrorKind::Cancelled));
        }
        if ctx.is_expired(self.clock.now()) {
            return Err(RemoteError::refused(RemoteErrorKind::Timeout));
        }
        let lost = match call.is_mutation() {
            true => RemoteError::ambiguous,
            false => RemoteError::refused,
        };
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let frame = Request { id, sent_us, op_id: ctx.op_id, call }.encode();
        let (waiter, reply) = mpsc::channel();
        if self.router.send(Route::Start { id, frame, waiter }).is_err() {
            return Err(RemoteError::refused(RemoteErrorKind::Unavailable));
        }
        let kind = loop {
            let left = ctx.remaining(self.clock.now()).unwrap_or(SLICE);
            match reply.recv_timeout(left.min(SLICE)) {
                Ok(response) => return response.result,
                Err(RecvTimeoutError::Disconnected) => break RemoteErrorKind::Unavailable,
                Err(RecvTimeoutError::Timeout) if ctx.cancel.is_cancelled() => {
                    break RemoteErrorKind::Cancelled;
                }
                Err(RecvTimeoutError::Timeout) if ctx.is_expired(self.clock.now()) => {
                    break RemoteErrorKind::Timeout;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let _ = self.router.send(Route::Forget(id));
        Err(lost(kind))
    }
}

/// Writes requests and hands out replies until the socket or the remote has gone. A waiter whose entry
/// is dropped hears that nobody will answer.
fn route(mut stream: UnixStream, routes: &Receiver<Route>) {
    let mut waiters: HashMap<u64, Sender<Response>> = HashMap::new();
    for route in routes {
        match route {
            Route::Forget(id) => drop(waiters.remove(&id)),
            Route::Gone => return,
            Route::Reply(response) => {
                // A reply that nobody waits for any more came too late.
                if let Some(waiter) = waiters.remove(&response.id) {
                    let _ = waiter.send(response);
                }
            }
            Route::Start { id, frame, waiter } => {
                waiters.insert(id, waiter);
                if wire::write_frame(&mut stream, &frame).is_err() {
                    return;
                }
            }
        }
    }
}

/// A reply of another shape than the request asks for.
fn mismatch<T>() -> Result<T, RemoteError> {
    Err(RemoteError::ambiguous(RemoteErrorKind::Transient))
}

impl Remote for SocketRemote {
    fn caps(&self) -> Caps {
        Caps::none().conditional().identity()
    }

    fn check_key(&self, _key: &Key) -> Result<(), RemoteError> {
        Ok(())
    }

    fn put(
        &self,
        ctx: &Ctx,
        key: &Key,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Version, RemoteError> {
        let invalid = |error| RemoteError::refused(RemoteErrorKind::Invalid).with_source(error);
        let body = body.to_bytes().map_err(invalid)?.to_vec();
        let (precondition, digest) = (options.precondition.clone(), options.digest);
        match self.call(ctx, Call::Put { key: key.clone(), precondition, digest, body })? {
            Reply::Version(version) => Ok(version),
            _ => mismatch(),
        }
    }

    fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
        let range = options.range.clone();
        match self.call(ctx, Call::Get { key: key.clone(), range })? {
            Reply::Object(object) => Ok(object),
            _ => mismatch(),
        }
    }

    fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
        match self.call(ctx, Call::Head { key: key.clone() })? {
            Reply::Meta(meta) => Ok(meta),
            _ => mismatch(),
        }
    }

    fn delete(&self, ctx: &Ctx, key: &Key, precondition: &Precondition) -> Result<(), RemoteError> {
        let precondition = precondition.clone();
        match self.call(ctx, Call::Delete { key: key.clone(), precondition })? {
            Reply::Done => Ok(()),
            _ => mismatch(),
        }
    }

    fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
        match self.call(ctx, Call::List(request.clone()))? {
            Reply::Page(page) => Ok(page),
            _ => mismatch(),
        }
    }
}

/// How often a waiter looks at its cancellation.
const SLICE: Duration = Duration::from_millis(50);
