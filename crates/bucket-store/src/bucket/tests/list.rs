//! Listings: pages of the remote with what is on its way laid over them.

use std::collections::BTreeMap;

use bucket_core::{Ctx, OpKind};
use bucket_remote::{PutOptions, Remote};
use proptest::prelude::*;

use super::{PATIENCE, Rig, key};
use crate::bucket::{Bucket, EntryState, ListMode, StoreError};

fn at_remote_already(rig: &Rig, name: &str, text: &'static str) {
    let ctx = Ctx::new(OpKind::Write);
    rig.remote.inner().put(&ctx, &key(name), &text.into(), &PutOptions::new()).unwrap();
}

/// All pages of a listing: names and lengths.
fn listed(bucket: &Bucket, prefix: &str, limit: usize, mode: ListMode) -> Vec<(String, u64)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = bucket.list(prefix, after.as_ref(), limit, mode).unwrap();
        assert!(page.entries.len() <= limit);
        assert!(page.next > after || page.next.is_none(), "no way forward from {after:?}");
        all.extend(page.entries.into_iter().map(|entry| (entry.key.to_string(), entry.len)));
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

#[test]
fn pages_over_many_keys_show_puts_and_hide_deletes() {
    let rig = Rig::new();
    let mut expected = BTreeMap::new();
    for n in 0..250 {
        let name = format!("dir/{n:03}");
        at_remote_already(&rig, &name, "remote");
        expected.insert(name, 6);
    }
    at_remote_already(&rig, "dis", "outside");
    let bucket = rig.builder().workers(0).open(rig.dir()).unwrap();
    // A whole page of tombstones, some puts over remote objects, some beyond and between.
    for n in 40..70 {
        bucket.delete(&key(&format!("dir/{n:03}"))).unwrap();
        expected.remove(&format!("dir/{n:03}"));
    }
    for name in ["dir/000", "dir/100", "dir/100a", "dir/0", "dir/999", "other"] {
        bucket.put(&key(name), "pending one").unwrap();
        if name.starts_with("dir/") {
            expected.insert(name.to_owned(), 11);
        }
    }
    bucket.put(&key("dir/5"), "put and deleted").unwrap();
    bucket.delete(&key("dir/5")).unwrap();
    let expected: Vec<_> = expected.into_iter().collect();
    for limit in [1, 7, 30, 1_000] {
        for mode in [ListMode::Auto, ListMode::Strict] {
            assert_eq!(listed(&bucket, "dir/", limit, mode), expected, "pages of {limit}");
        }
    }
    let page = bucket.list("dir/", None, 5, ListMode::Auto).unwrap();
    assert!(!page.partial && page.next.is_some());
    assert_eq!(page.entries[0].state, EntryState::Pending);
    assert_eq!(page.entries[2].state, EntryState::Remote);
}

#[test]
fn a_listing_while_the_remote_is_down_is_partial_or_fails() {
    let rig = Rig::new();
    at_remote_already(&rig, "theirs", "content");
    let bucket = rig.open();
    for name in ["a", "b", "c", "d"] {
        bucket.put(&key(name), "content").unwrap();
    }
    bucket.flush(Some(PATIENCE)).unwrap();
    rig.faults.down(true);
    bucket.delete(&key("b")).unwrap();
    bucket.put(&key("e"), "pending").unwrap();
    let error = bucket.list("", None, 10, ListMode::Strict).unwrap_err();
    assert!(matches!(error, StoreError::Remote(_)), "{error:?}");
    let listing = bucket.list("", None, 10, ListMode::Auto).unwrap();
    assert!(listing.partial && listing.next.is_none());
    let known = ["a", "c", "d", "e"].map(|name| (name.to_owned(), 7));
    for limit in [1, 2, 10] {
        assert_eq!(listed(&bucket, "", limit, ListMode::Auto), known);
        assert_eq!(listed(&bucket, "", limit, ListMode::Local), known);
    }
    let states: Vec<_> = listing.entries.iter().map(|entry| entry.state).collect();
    assert_eq!(states[..3], [EntryState::Remote; 3]);
    assert_eq!(states[3], EntryState::Pending);
}

#[test]
fn a_local_listing_does_not_ask_the_remote() {
    let rig = Rig::new();
    at_remote_already(&rig, "theirs", "content");
    let bucket = rig.open();
    bucket.put(&key("ours"), "content").unwrap();
    bucket.flush(Some(PATIENCE)).unwrap();
    let calls = rig.calls();
    let listing = bucket.list("", None, 10, ListMode::Local).unwrap();
    assert!(listing.partial);
    assert_eq!(listing.entries.len(), 1);
    assert_eq!(rig.calls(), calls);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_listing_is_what_reads_would_find(
        remote in prop::collection::btree_set(0..40_u8, 0..30),
        changes in prop::collection::vec((0..40_u8, any::<bool>()), 0..15),
        limit in 1..9_usize,
    ) {
        let rig = Rig::new();
        let name = |n: &u8| format!("{n:02}");
        let mut expected = BTreeMap::new();
        for n in &remote {
            at_remote_already(&rig, &name(n), "remote");
            expected.insert(name(n), 6);
        }
        let bucket = rig.builder().workers(0).open(rig.dir()).unwrap();
        for (n, is_put) in &changes {
            if *is_put {
                bucket.put(&key(&name(n)), "pending").unwrap();
                expected.insert(name(n), 7);
            } else {
                bucket.delete(&key(&name(n))).unwrap();
                expected.remove(&name(n));
            }
        }
        let expected: Vec<_> = expected.into_iter().collect();
        prop_assert_eq!(listed(&bucket, "", limit, ListMode::Auto), expected);
    }
}
