//! The checks of the conformance suite: what each promise of [`Remote`](crate::Remote) means.

use std::collections::HashSet;
use std::sync::{Arc, Barrier};

use bucket_core::{Cancel, Ctx, OpId, OpKind, Tick};

use super::probe::{Counting, LIST, Outcome, READ, SHA256_OF_ABC, Suite, WRITE, ensure, refused};
use crate::{Body, GetOptions, ListRequest, Precondition, PutOptions, RemoteErrorKind as Kind};

impl Suite<'_> {
    pub(super) fn round_trip(&self) -> Outcome {
        let key = self.key("a")?;
        let version = self.put(&key, "first")?;
        self.holds(&key, b"first", &version)?;
        let next = self.put(&key, "second, and longer")?;
        ensure!(next != version, "an overwrite kept version {version}");
        self.holds(&key, b"second, and longer", &next)?;
        self.delete(&key, Precondition::None)?;
        self.absent(&key)
    }

    pub(super) fn large_and_empty_bodies(&self) -> Outcome {
        let large: Vec<u8> =
            (0..=1 << 20_u32).map(|n: u32| (n.wrapping_mul(31) >> 3) as u8).collect();
        for (name, content) in [("empty", Vec::new()), ("large", large)] {
            let key = self.key(name)?;
            let version = self.put(&key, content.clone())?;
            self.holds(&key, &content, &version)?;
        }
        Ok(())
    }

    pub(super) fn range_body_is_sent_whole(&self) -> Outcome {
        let key = self.key("a")?;
        let version = self.put(&key, Body::from_range(Arc::new(Counting), 1_000, 5_003))?;
        let expected: Vec<u8> = (1_000..6_003).map(Counting::at).collect();
        self.holds(&key, &expected, &version)
    }

    pub(super) fn range_reads(&self) -> Outcome {
        let key = self.key("a")?;
        self.put(&key, "0123456789")?;
        for (range, expected) in [
            (0..10, "0123456789"),
            (2..5, "234"),
            (0..1, "0"),
            (9..10, "9"),
            (7..100, "789"),
            (10..20, ""),
            (50..60, ""),
            (3..3, ""),
        ] {
            let options = GetOptions::new().range(range.clone());
            let object = self.remote.get(&READ, &key, &options)?;
            let content = object.body.to_bytes()?;
            ensure!(content == expected, "bytes {range:?} are {content:?}, not {expected:?}");
            ensure!(object.meta.len == 10, "the length with a range is {}", object.meta.len);
        }
        Ok(())
    }

    pub(super) fn versions_never_repeat(&self) -> Outcome {
        let key = self.key("a")?;
        let mut seen = HashSet::new();
        for content in ["A", "B", "A", "A"] {
            let version = self.put(&key, content)?;
            ensure!(seen.insert(version.clone()), "version {version} came twice");
            self.delete(&key, Precondition::None)?;
            let version = self.put(&key, content)?;
            ensure!(seen.insert(version.clone()), "version {version} came back after a delete");
        }
        Ok(())
    }

    pub(super) fn missing_object(&self) -> Outcome {
        let key = self.key("missing")?;
        self.absent(&key)?;
        self.delete(&key, Precondition::None)?;
        let below = self.key("missing/below")?;
        self.delete(&below, Precondition::None)?;
        self.put(&self.key("beside")?, "")?;
        self.absent(&self.key("beside/below")?)
    }

    pub(super) fn unusual_keys(&self) -> Outcome {
        let long = "x".repeat(200);
        let mut held = Vec::new();
        for name in [
            "with space",
            " lead and trail ",
            "日本語/ключ",
            "é",
            "...",
            "..a",
            "a..b",
            ".hidden",
            "a.",
            "100%",
            "%2F",
            "a+b",
            "a&b=c?d#e",
            "tilde~",
            "quote'\"",
            "back\\slash",
            "col:on",
            "*",
            &long,
        ] {
            let key = self.key(name)?;
            match self.remote.check_key(&key) {
                Ok(()) => held.push((self.put(&key, name.to_owned())?, key)),
                Err(error) => {
                    ensure!(
                        error.kind == Kind::Invalid,
                        "check_key({name:?}) says {:?}",
                        error.kind
                    );
                    let put = self.remote.put(&WRITE, &key, &"".into(), &PutOptions::new());
                    refused(put, Kind::Invalid)?;
                }
            }
        }
        ensure!(!held.is_empty(), "not a single key is accepted");
        for (version, key) in &held {
            let name = &key.as_str()[self.prefix.len()..];
            self.holds(key, name.as_bytes(), version).map_err(|why| format!("{name:?}: {why}"))?;
        }
        let mut expected: Vec<_> = held.into_iter().map(|(_, key)| key).collect();
        expected.sort();
        let listed: Vec<_> = self.listed("", 1_000)?.into_iter().map(|meta| meta.key).collect();
        ensure!(listed == expected, "listed are {listed:?}, not {expected:?}");
        Ok(())
    }

    pub(super) fn list_order_and_prefix(&self) -> Outcome {
        let names = ["a-b", "a.b", "a/b", "a/b.c", "a/c/d", "a0", "ab", "b", "ba"];
        let mut versions = Vec::new();
        for name in names.iter().rev() {
            versions.insert(0, self.put(&self.key(name)?, *name)?);
        }
        for prefix in ["", "a", "a/", "a/b", "a/c/", "a/c/d", "a/c/d/", "b", "c", "-"] {
            let expected: Vec<_> = names.iter().filter(|name| name.starts_with(prefix)).collect();
            let metas = self.listed(prefix, 1_000)?;
            let listed: Vec<_> =
                metas.iter().map(|meta| &meta.key.as_str()[self.prefix.len()..]).collect();
            let same = listed.iter().eq(expected.iter().copied());
            ensure!(same, "prefix {prefix:?} lists {listed:?}, not {expected:?}");
        }
        for (meta, version) in self.listed("", 1_000)?.iter().zip(&versions) {
            let len = meta.key.as_str().len() - self.prefix.len();
            ensure!(meta.version == *version, "{} is listed with another version", meta.key);
            ensure!(meta.len == len as u64, "{} is listed with length {}", meta.key, meta.len);
        }
        Ok(())
    }

    pub(super) fn list_pages(&self) -> Outcome {
        let names = ["a", "b-c", "b/c", "b/d", "b0", "c/d/e", "d"];
        let keys = names.iter().map(|name| self.key(name)).collect::<Result<Vec<_>, _>>()?;
        for key in &keys {
            self.put(key, "")?;
        }
        for limit in 1..=names.len() + 1 {
            let paged: Vec<_> = self.listed("", limit)?.into_iter().map(|meta| meta.key).collect();
            ensure!(paged == keys, "in pages of {limit}, listed are {paged:?}");
        }
        // A page may also start after a key that does not exist, or before the prefix.
        for (after, prefix, expected) in [("b.", "", &keys[2..]), ("a", "b/", &keys[2..4])] {
            let request = ListRequest::new(format!("{}{prefix}", self.prefix));
            let page = self.remote.list(&LIST, &request.after(Some(self.key(after)?)))?;
            let listed: Vec<_> = page.entries.into_iter().map(|meta| meta.key).collect();
            ensure!(listed == expected, "after {after:?}, listed are {listed:?}");
        }
        Ok(())
    }

    pub(super) fn put_if_absent(&self) -> Outcome {
        if !self.remote.caps().conditional_put {
            return Ok(());
        }
        let key = self.key("a")?;
        let version = self.put_if(&key, "first", Precondition::IfAbsent)?;
        refused(self.put_if(&key, "second", Precondition::IfAbsent), Kind::ConditionFalse)?;
        self.holds(&key, b"first", &version)?;
        self.delete(&key, Precondition::None)?;
        self.put_if(&key, "third", Precondition::IfAbsent)?;
        Ok(())
    }

    pub(super) fn put_if_match(&self) -> Outcome {
        if !self.remote.caps().conditional_put {
            return Ok(());
        }
        let key = self.key("a")?;
        let first = self.put(&key, "first")?;
        let if_first = Precondition::IfMatch(first.clone());
        let second = self.put_if(&key, "second", if_first.clone())?;
        refused(self.put_if(&key, "third", if_first.clone()), Kind::ConditionFalse)?;
        let foreign = Precondition::IfMatch(self.put(&self.key("other")?, "second")?);
        refused(self.put_if(&key, "third", foreign), Kind::ConditionFalse)?;
        self.holds(&key, b"second", &second)?;
        self.delete(&key, Precondition::None)?;
        refused(self.put_if(&key, "fourth", if_first), Kind::ConditionFalse)?;
        self.absent(&key)
    }

    pub(super) fn racing_creators(&self) -> Outcome {
        if !self.remote.caps().conditional_put {
            return Ok(());
        }
        let key = self.key("deep/er/a")?;
        let start = Barrier::new(16);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|n| {
                    let (start, key) = (&start, &key);
                    scope.spawn(move || {
                        start.wait();
                        (n, self.put_if(key, format!("{n}"), Precondition::IfAbsent))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let mut winners = Vec::new();
        for result in results {
            match result.map_err(|_| "a thread panicked")? {
                (n, Ok(version)) => winners.push((n, version)),
                (_, Err(error)) if error.kind == Kind::Conflict => {}
                (_, Err(error)) => refused(Err::<(), _>(error), Kind::ConditionFalse)?,
            }
        }
        let [(n, version)] = &winners[..] else {
            return Err(format!("{} of 16 racing creators won", winners.len()).into());
        };
        self.holds(&key, n.to_string().as_bytes(), version)
    }

    pub(super) fn conditional_delete(&self) -> Outcome {
        if !self.remote.caps().conditional_delete {
            return Ok(());
        }
        let key = self.key("a")?;
        let first = self.put(&key, "first")?;
        let second = self.put(&key, "second")?;
        refused(self.delete(&key, Precondition::IfMatch(first)), Kind::ConditionFalse)?;
        self.holds(&key, b"second", &second)?;
        self.delete(&key, Precondition::IfMatch(second))?;
        self.absent(&key)
    }

    pub(super) fn identity(&self) -> Outcome {
        if !self.remote.caps().keeps_identity {
            return Ok(());
        }
        let key = self.key("a")?;
        for bits in [1, u128::MAX] {
            let ctx = Ctx::new(OpKind::Write).with_op_id(OpId::new(bits));
            self.remote.put(&ctx, &key, &"abc".into(), &PutOptions::new().digest(SHA256_OF_ABC))?;
            let head = self.remote.head(&READ, &key)?;
            let get = self.remote.get(&READ, &key, &GetOptions::new())?.meta;
            for meta in [head, get] {
                ensure!(meta.op_id == ctx.op_id, "the operation is {:?}", meta.op_id);
                ensure!(meta.digest == Some(SHA256_OF_ABC), "the digest is {:?}", meta.digest);
            }
        }
        self.put(&key, "abc")?;
        let meta = self.remote.head(&READ, &key)?;
        ensure!(meta.op_id.is_none(), "a write without identity inherits {:?}", meta.op_id);
        Ok(())
    }

    pub(super) fn expired_deadline(&self) -> Outcome {
        // The origin of the time line has passed on every clock.
        self.leaves_no_trace(&|op| Ctx::new(op).with_deadline(Tick::ZERO), Some(Kind::Timeout))
    }

    pub(super) fn cancelled(&self) -> Outcome {
        let cancel = Cancel::new();
        cancel.cancel();
        self.leaves_no_trace(&|op| Ctx::new(op).with_cancel(cancel.clone()), None)
    }

    pub(super) fn live_deadline(&self) -> Outcome {
        let key = self.key("a")?;
        let ctx = Ctx::new(OpKind::Write).with_deadline(Tick::MAX).with_cancel(Cancel::new());
        let version = self.remote.put(&ctx, &key, &"in time".into(), &PutOptions::new())?;
        self.remote.list(&ctx, &ListRequest::new(&*self.prefix))?;
        self.remote.head(&ctx, &key)?;
        self.holds(&key, b"in time", &version)?;
        self.remote.delete(&ctx, &key, &Precondition::None)?;
        self.absent(&key)
    }
}
