//! The twin of the fuzz target `segment`, and its corpus.
//!
//! The seeds are made here. With `BUCKET_BLESS=1` the test writes them; without, it fails where a file
//! differs. Files beside them were found by the fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::corpus;
use crate::TailState;
use crate::frame::{self, Entry, FrameKind};
use crate::fuzzing::segment::{
    FIELDS, FIELDS_LEN, REPAIRED, SUCCEEDED, Scanned, Scanner, check, header,
};
use crate::scan::{FrameRef, scan};
use crate::seal::Seal;
use crate::segment::{HEADER_LEN, extend_chain};

/// The frames of a segment under the header of all inputs.
struct Frames {
    bytes: Vec<u8>,
    next: u64,
    chain: u32,
    records: u64,
    index: Vec<FrameRef>,
}

impl Frames {
    fn new() -> Self {
        let chain = header().prev_chain;
        Self { bytes: Vec::new(), next: 20, chain, records: 0, index: Vec::new() }
    }

    fn end(&self) -> u64 {
        HEADER_LEN + self.bytes.len() as u64
    }

    fn frame(mut self, kind: FrameKind, first: u64, payloads: &[&[u8]]) -> Self {
        let entries: Vec<_> = payloads.iter().map(|payload| Entry::of(payload)).collect();
        let (offset, body) = (self.end(), payloads.concat());
        let seed = header().seed();
        // Behind what is promised there would have to be room.
        let synced = if kind == FrameKind::Sync { offset } else { HEADER_LEN };
        let bytes = &mut self.bytes;
        let rows = frame::encode(bytes, &seed, offset, kind, first, synced, &entries, &body);
        if kind == FrameKind::Data {
            self.index.push(FrameRef { first_lsn: first, offset });
        }
        self.chain = extend_chain(self.chain, &self.bytes[rows]);
        self.records += entries.len() as u64;
        self.next = first + entries.len() as u64;
        self
    }

    fn data(self, payloads: &[&[u8]]) -> Self {
        let next = self.next;
        self.frame(FrameKind::Data, next, payloads)
    }

    fn seal(mut self) -> Self {
        let (next_lsn, chain, records) = (self.next, self.chain, self.records);
        let (end, index) = (self.end(), std::mem::take(&mut self.index));
        let seal = Seal { next_lsn, chain, records, index };
        seal.encode(&mut self.bytes, &header(), end, HEADER_LEN);
        self
    }

    fn zeros(mut self, len: usize) -> Self {
        self.bytes.resize(self.bytes.len() + len, 0);
        self
    }

    /// As an input, for a later segment that states the whole length, if one is to.
    fn input(&self, how: u8, durable: u8) -> Vec<u8> {
        let [low, high] = (self.bytes.len() as u16).to_le_bytes();
        [&[how, low, high, durable], &self.bytes[..]].concat()
    }
}

/// Names, inputs and what they are.
fn seeds() -> Vec<(&'static str, Vec<u8>, Scanned)> {
    let none = Scanned::default();
    let found = |frames| Scanned { frames, ..none };
    let some = || Frames::new().data(&[b"first", b"", b"third"]).data(&[&[7; 1_500]]);
    let gap = |jump| {
        let frames = some();
        let next = frames.next;
        frames.frame(FrameKind::Gap, next + jump, &[]).data(&[b"behind the gap"])
    };
    let sealed = some().seal();
    let promise = {
        let frames = some();
        let next = frames.next;
        frames.frame(FrameKind::Sync, next, &[])
    };
    let with = |frames: &Frames, how, at: usize| {
        let mut input = frames.input(how, 0);
        input[4 + at] ^= 0x20;
        input
    };
    let mut torn = some().bytes;
    torn[300..].fill(0);
    let torn = Frames { bytes: torn, ..some() };
    let mut fields = [0; FIELDS_LEN];
    // The number of the segment, and what was durable of it; everything else is zero.
    (fields[24], fields[81]) = (9, 0x10);
    let own_fields = [&[FIELDS | REPAIRED, 0, 0, 0], &fields[..], &some().bytes].concat();
    let second = some().bytes.len();
    vec![
        ("empty", Frames::new().input(0, 0), none),
        ("two-frames", some().input(0, 0), found(2)),
        ("zeros-behind", some().zeros(48).input(0, 0), found(2)),
        ("gap", gap(5).input(0, 0), found(3)),
        ("cut-behind-a-promise", promise.input(0, 0), Scanned { is_damaged: true, ..found(2) }),
        ("sealed", sealed.input(SUCCEEDED, 0), Scanned { has_seal: true, ..found(2) }),
        ("repaired", with(&gap(3), REPAIRED, 8), found(3)),
        ("own-fields", own_fields, found(2)),
        ("torn", torn.input(0, 0), Scanned { is_torn: true, ..found(1) }),
        (
            "shorter-than-stated",
            [&[SUCCEEDED, 0xff, 0x0f, 0], &some().bytes[..]].concat(),
            Scanned { is_damaged: true, ..found(2) },
        ),
        (
            "damaged-record",
            with(&promise, 0, second - 90),
            Scanned { is_damaged: true, ..found(2) },
        ),
        ("damaged-frame", with(&gap(1), SUCCEEDED, 9), Scanned { is_damaged: true, ..found(2) }),
        (
            "checkpoint-vouches",
            with(&some(), 0, 9)
                .into_iter()
                .enumerate()
                .map(|(n, b)| if n == 3 { 21 } else { b })
                .collect(),
            Scanned { is_damaged: true, ..found(1) },
        ),
    ]
}

#[test]
fn the_seeds_of_the_corpus_are_what_is_made_here() {
    corpus::is_made_of("segment", seeds().into_iter().map(|(name, bytes, _)| (name, bytes)));
}

#[test]
fn every_file_of_the_corpus_passes() {
    let passed = corpus::each("segment", |bytes| {
        check(bytes, &scan);
    });
    assert!(passed.is_none_or(|n| n >= seeds().len()));
}

#[test]
fn seeds_are_what_their_names_say() {
    let seeds = seeds().into_iter();
    let found = seeds.map(|(name, bytes, expected)| (name, check(&bytes, &scan), expected));
    let wrong: Vec<_> = found.filter(|(_, found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each is the scan with one mistake, and the checks must find it in the seeds.
#[test]
fn a_scan_with_a_mistake_is_caught() {
    let mistakes: [(&str, Scanner<'_>); 7] = [
        ("loses a frame", &|file, header, known| {
            let mut found = scan(file, header, known)?;
            found.frames.pop();
            found.chains.pop();
            Ok(found)
        }),
        ("counts a record twice", &|file, header, known| {
            let mut found = scan(file, header, known)?;
            found.records += u64::from(found.records > 0);
            Ok(found)
        }),
        ("ends within a frame", &|file, header, known| {
            let mut found = scan(file, header, known)?;
            found.end = (found.end - 8).max(HEADER_LEN);
            Ok(found)
        }),
        ("hides damage", &|file, header, known| {
            let mut found = scan(file, header, known)?;
            found.damage.clear();
            found.tail = TailState::Clean;
            Ok(found)
        }),
        ("forgets the seal", &|file, header, known| {
            Ok(crate::scan::SegmentScan { is_sealed: false, ..scan(file, header, known)? })
        }),
        ("begins a new chain", &|file, header, known| {
            let header = crate::segment::Header { prev_chain: 0, ..header.clone() };
            scan(file, &header, known)
        }),
        ("reads behind the stated end", &|file, header, known| {
            let mut found = scan(file, header, known)?;
            found.end += u64::from(known.data_len.is_some());
            Ok(found)
        }),
    ];
    for (what, scan) in mistakes {
        let caught = seeds()
            .iter()
            .any(|(_, bytes, _)| catch_unwind(AssertUnwindSafe(|| check(bytes, scan))).is_err());
        assert!(caught, "a scan that {what} was not caught");
    }
}

proptest! {
    #[test]
    fn mutated_segments_break_no_promise(
        nth in any::<prop::sample::Index>(),
        how in 0_u8..8,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let seeds = seeds();
        let mut bytes = nth.get(&seeds).1.clone();
        bytes[0] ^= how;
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes, &scan);
    }

    #[test]
    fn random_bytes_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes, &scan);
    }
}
