//! [`Request`]: what a policy holds while it serves one request: it can call, sleep and see the time.
//!
//! A policy is a future and the engine its executor. All requests share one [`Port`], which works
//! because one future at a time is polled: it leaves there what it asks for and finds the answer
//! when it is polled again.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bucket_core::{Class, Tick};

/// One request on its way. Given to [`Policy::request`](crate::Policy::request).
#[derive(Debug)]
pub struct Request<'a> {
    port: &'a Port,
}

impl<'a> Request<'a> {
    pub(crate) const fn new(port: &'a Port) -> Self {
        Self { port }
    }

    /// The time on the virtual clock; the run began at [`Tick::ZERO`].
    pub fn now(&self) -> Tick {
        self.port.now.get()
    }

    /// Calls the service and waits for the outcome.
    pub const fn call(&mut self) -> Call<'_> {
        self.ask_call(None)
    }

    /// Calls the service and waits until `deadline` at most. If no outcome is there by then, the
    /// class is [`Class::UnknownOutcome`]; the service works on, as it cannot know.
    pub const fn call_until(&mut self, deadline: Option<Tick>) -> Call<'_> {
        self.ask_call(deadline)
    }

    /// Waits.
    pub const fn sleep(&mut self, duration: Duration) -> Sleep<'_> {
        Sleep(Asking { port: self.port, ask: Some(Ask::Sleep(duration)) })
    }

    const fn ask_call(&self, deadline: Option<Tick>) -> Call<'_> {
        Call(Asking { port: self.port, ask: Some(Ask::Call { deadline }) })
    }
}

/// A call under way. Made by [`Request::call`].
#[derive(Debug)]
#[must_use = "a call is made when it is awaited"]
pub struct Call<'a>(Asking<'a>);

impl Future for Call<'_> {
    type Output = Class;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Class> {
        self.0.poll()
    }
}

/// A pause. Made by [`Request::sleep`].
#[derive(Debug)]
#[must_use = "nothing waits until it is awaited"]
pub struct Sleep<'a>(Asking<'a>);

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll().map(drop)
    }
}

/// Where the policy that is polled and the engine meet.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) now: Cell<Tick>,
    pub(crate) asked: Cell<Option<Ask>>,
    pub(crate) answer: Cell<Option<Class>>,
}

impl Port {
    pub(crate) const fn new() -> Self {
        Self { now: Cell::new(Tick::ZERO), asked: Cell::new(None), answer: Cell::new(None) }
    }
}

/// What a policy wants of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Call { deadline: Option<Tick> },
    Sleep(Duration),
}

#[derive(Debug)]
struct Asking<'a> {
    port: &'a Port,
    /// `None` once the engine has it.
    ask: Option<Ask>,
}

impl Asking<'_> {
    fn poll(&mut self) -> Poll<Class> {
        if let Some(ask) = self.ask.take() {
            let other = self.port.asked.replace(Some(ask));
            assert!(other.is_none(), "{ONE_AT_A_TIME}");
            return Poll::Pending;
        }
        self.port.answer.take().map_or(Poll::Pending, Poll::Ready)
    }
}

pub(crate) const ONE_AT_A_TIME: &str = "a policy awaits one call or sleep of its request at a time";
