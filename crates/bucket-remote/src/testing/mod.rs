//! Doubles and the conformance suite.

mod checks;
pub mod conformance;
mod faults;
mod faulty;
mod memory;
mod probe;

pub use faults::{CallStats, Faults};
pub use faulty::FaultyRemote;
pub use memory::{MemoryRemote, Mutation, MutationKind};

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, SystemTime};

    use bucket_core::{Cancel, Clock, Ctx, OpKind, Tick};

    use super::*;
    use crate::{
        Body, Caps, GetOptions, Key, ListRequest, Meta, Object, Page, Precondition, PutOptions,
        Remote, RemoteError, RemoteErrorKind, Version,
    };

    #[test]
    fn the_doubles_conform() {
        let remote = FaultyRemote::new(MemoryRemote::new());
        conformance::check(&remote).assert_passed();
        assert!(remote.inner().is_empty(), "the suite cleans up after itself");
        conformance::check(&MemoryRemote::new()).assert_passed();
    }

    /// Bugs that the suite must find.
    #[derive(Clone, Copy, Debug)]
    enum Bug {
        CutsBodies,
        DeletesUnconditionally,
        ForgetsIdentity,
        IgnoresCancel,
        IgnoresDeadline,
        IgnoresRanges,
        ListsOnePageOnly,
        PrefixIsDirectory,
        PutsUnconditionally,
        RepeatsVersions,
    }

    #[derive(Debug)]
    struct Buggy(MemoryRemote, Bug);

    impl Buggy {
        fn ctx(&self, ctx: &Ctx) -> Ctx {
            let mut ctx = ctx.clone();
            match self.1 {
                Bug::ForgetsIdentity => ctx.op_id = None,
                Bug::IgnoresCancel => ctx.cancel = Cancel::never(),
                Bug::IgnoresDeadline => ctx.deadline = None,
                _ => {}
            }
            ctx
        }

        fn meta(&self, mut meta: Meta) -> Meta {
            if matches!(self.1, Bug::RepeatsVersions) {
                meta.version = Version::new(format!("len {}", meta.len));
            }
            meta
        }
    }

    impl Remote for Buggy {
        fn caps(&self) -> Caps {
            self.0.caps()
        }

        fn check_key(&self, key: &Key) -> Result<(), RemoteError> {
            self.0.check_key(key)
        }

        fn put(
            &self,
            ctx: &Ctx,
            key: &Key,
            body: &Body,
            options: &PutOptions,
        ) -> Result<Version, RemoteError> {
            let (mut body, mut options) = (body.clone(), options.clone());
            match self.1 {
                Bug::CutsBodies => body = body.slice(0..1 << 20),
                Bug::PutsUnconditionally => options.precondition = Precondition::None,
                _ => {}
            }
            let version = self.0.put(&self.ctx(ctx), key, &body, &options)?;
            Ok(self.meta(Meta::new(key.clone(), version, body.len())).version)
        }

        fn get(&self, ctx: &Ctx, key: &Key, options: &GetOptions) -> Result<Object, RemoteError> {
            let mut options = options.clone();
            if matches!(self.1, Bug::IgnoresRanges) {
                options.range = None;
            }
            let object = self.0.get(&self.ctx(ctx), key, &options)?;
            Ok(Object::new(self.meta(object.meta), object.body))
        }

        fn head(&self, ctx: &Ctx, key: &Key) -> Result<Meta, RemoteError> {
            self.0.head(&self.ctx(ctx), key).map(|meta| self.meta(meta))
        }

        fn delete(
            &self,
            ctx: &Ctx,
            key: &Key,
            precondition: &Precondition,
        ) -> Result<(), RemoteError> {
            let precondition = match self.1 {
                Bug::DeletesUnconditionally => &Precondition::None,
                _ => precondition,
            };
            self.0.delete(&self.ctx(ctx), key, precondition)
        }

        fn list(&self, ctx: &Ctx, request: &ListRequest) -> Result<Page, RemoteError> {
            let mut page = self.0.list(&self.ctx(ctx), request)?;
            let prefix = request.prefix.trim_end_matches('/');
            match self.1 {
                Bug::ListsOnePageOnly => page.more = false,
                Bug::PrefixIsDirectory => page.entries.retain(|meta| {
                    let rest = meta.key.as_str().strip_prefix(prefix);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                }),
                _ => {}
            }
            page.entries = page.entries.into_iter().map(|meta| self.meta(meta)).collect();
            Ok(page)
        }
    }

    #[test]
    fn the_suite_finds_every_planted_bug() {
        for (bug, check) in [
            (Bug::CutsBodies, "large_and_empty_bodies"),
            (Bug::DeletesUnconditionally, "conditional_delete"),
            (Bug::ForgetsIdentity, "identity"),
            (Bug::IgnoresCancel, "cancelled"),
            (Bug::IgnoresDeadline, "expired_deadline"),
            (Bug::IgnoresRanges, "range_reads"),
            (Bug::ListsOnePageOnly, "list_pages"),
            (Bug::PrefixIsDirectory, "list_order_and_prefix"),
            (Bug::PutsUnconditionally, "racing_creators"),
            (Bug::RepeatsVersions, "versions_never_repeat"),
        ] {
            let report = conformance::check(&Buggy(MemoryRemote::new(), bug));
            let found = report.failed.iter().any(|failure| failure.check == check);
            assert!(found, "{bug:?} is not found by {check}: {report}");
        }
    }

    /// A clock that the latency of a test moves, in place of sleeping.
    #[derive(Debug, Default)]
    struct Time(AtomicU64);

    impl Time {
        fn remote(self: &Arc<Self>) -> FaultyRemote<MemoryRemote> {
            let (clock, time) = (Arc::clone(self), Arc::clone(self));
            let inner = MemoryRemote::new().with_clock(Arc::clone(&clock) as _);
            FaultyRemote::new(inner).with_time(clock, move |cancel, duration| {
                // Relaxed: the tests that move time are single-threaded.
                time.0.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
                !cancel.is_cancelled()
            })
        }
    }

    impl Clock for Time {
        fn now(&self) -> Tick {
            Tick::from_nanos(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    fn put(remote: &dyn Remote, ctx: &Ctx, name: &str) -> Result<Version, RemoteError> {
        remote.put(ctx, &Key::new(name).unwrap(), &"content".into(), &PutOptions::new())
    }

    const WRITE: Ctx = Ctx::new(OpKind::Write);

    #[test]
    fn a_late_mutation_takes_effect_when_it_is_released() {
        let remote = Arc::new(Time::default()).remote();
        let faults = remote.faults();
        let ctx = WRITE.with_deadline(Tick::from_nanos(5_000));
        faults.latency(Duration::from_nanos(3_000));
        put(&remote, &ctx, "in time").unwrap();
        for (late, released) in [(false, 0), (true, 1)] {
            let remote = Arc::new(Time::default()).remote();
            let faults = remote.faults();
            faults.latency(Duration::from_secs(1));
            faults.late(late);
            let error = put(&remote, &ctx, "late").unwrap_err();
            assert!(error.is_ambiguous() && error.kind == RemoteErrorKind::Timeout);
            assert!(remote.inner().is_empty());
            let error = put(&remote, &ctx, "never sent").unwrap_err();
            assert!(!error.is_ambiguous(), "the deadline passed before anything was sent");
            assert_eq!(faults.release_late(), released);
            assert_eq!(remote.inner().len(), released);
        }
    }

    #[test]
    fn a_lost_reply_is_ambiguous_and_a_refusal_is_not() {
        let remote = FaultyRemote::new(MemoryRemote::new());
        let faults = remote.faults();
        faults.lose_replies(1_000);
        assert!(put(&remote, &WRITE, "a").unwrap_err().is_ambiguous());
        assert_eq!(remote.inner().len(), 1);
        faults.lose_replies(0);
        faults.fail(1_000, RemoteErrorKind::Throttled);
        let error = put(&remote, &WRITE, "b").unwrap_err();
        assert!(!error.is_ambiguous() && error.kind == RemoteErrorKind::Throttled);
        faults.down(true);
        assert_eq!(put(&remote, &WRITE, "b").unwrap_err().kind, RemoteErrorKind::Unavailable);
        assert_eq!(remote.inner().len(), 1);
        assert_eq!(faults.stats().put, 3);
    }

    #[test]
    fn scripted_failures_come_in_order_and_end() {
        let remote = FaultyRemote::new(MemoryRemote::new());
        let faults = remote.faults();
        faults.fail_next(2, || RemoteError::refused(RemoteErrorKind::Conflict), false);
        faults.fail_next(1, || RemoteError::ambiguous(RemoteErrorKind::Timeout), true);
        let outcomes: Vec<_> = (0..4)
            .map(|n| put(&remote, &WRITE, &format!("{n}")).err().map(|error| error.kind))
            .collect();
        let (conflict, timeout) = (RemoteErrorKind::Conflict, RemoteErrorKind::Timeout);
        assert_eq!(outcomes, [Some(conflict), Some(conflict), Some(timeout), None]);
        assert_eq!(remote.inner().len(), 2);
    }

    #[test]
    fn the_same_seed_fails_the_same_calls() {
        let outcomes = |seed| {
            let remote = FaultyRemote::new(MemoryRemote::new());
            remote.faults().seed(seed);
            remote.faults().fail(300, RemoteErrorKind::Transient);
            (0..1_000).map(|_| put(&remote, &WRITE, "a").is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(outcomes(1), outcomes(1));
        assert_ne!(outcomes(1), outcomes(2));
        let failed = outcomes(3).into_iter().filter(|ok| !ok).count();
        assert!((250..350).contains(&failed), "{failed} of 1 000");
    }
}
