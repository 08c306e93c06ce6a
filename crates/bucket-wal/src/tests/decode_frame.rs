//! The twin of the fuzz target `decode_frame`: the same checks over the kept corpus, over frames that
//! were mutated, and over random bytes.
//!
//! The seeds of the corpus are made here. With `BUCKET_BLESS=1` the test writes them; without, it
//! fails where a file differs. Files beside them were found by the fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crc32fast::Hasher;
use proptest::prelude::*;

use super::corpus;
use crate::frame::{self, Entry, FrameKind, Outline};
use crate::fuzzing::{Decoder, OFFSET, Reached, check, seed};

#[test]
fn the_seeds_of_the_corpus_are_what_is_made_here() {
    corpus::is_made_of("decode_frame", seeds());
}

#[test]
fn every_file_of_the_corpus_passes() {
    let passed = corpus::each("decode_frame", |bytes| {
        check(bytes, &frame::outline);
    });
    assert!(passed.is_none_or(|n| n >= seeds().len()));
}

#[test]
fn valid_seeds_reach_all_checks_as_they_are_and_the_others_do_not() {
    for (name, bytes) in seeds() {
        let reached = check(&bytes, &frame::outline);
        let is_valid = !name.starts_with("bad-");
        assert_eq!(reached.raw, is_valid, "{name}");
        if is_valid {
            assert_eq!(reached, Reached { raw: true, repaired: true }, "{name}");
        }
    }
}

/// Each is the decoder with one mistake, and the checks must find it in the seeds.
#[test]
fn a_decoder_with_a_mistake_is_caught() {
    let mistakes: [(&str, Decoder<'_>); 7] = [
        ("ignores the offset", &|bytes, seed, _| frame::outline(bytes, seed, OFFSET)),
        ("ignores the identity", &|bytes, _, offset| frame::outline(bytes, &seed(), offset)),
        ("forgets the padding", &|bytes, seed, offset| {
            let frame = frame::outline(bytes, seed, offset)?;
            let table_and_payloads = u32::from_le_bytes(*bytes[4..].first_chunk()?) as usize;
            Some(Outline { len: frame::HEADER_LEN + table_and_payloads, ..frame })
        }),
        ("loses the last record", &|bytes, seed, offset| {
            let mut frame = frame::outline(bytes, seed, offset)?;
            frame.count = frame.count.saturating_sub(1);
            Some(frame)
        }),
        ("takes the number for the promise", &|bytes, seed, offset| {
            let frame = frame::outline(bytes, seed, offset)?;
            Some(Outline { synced: frame.first_lsn, ..frame })
        }),
        ("reads a frame that is cut short", &|bytes, seed, offset| {
            let mut whole = bytes.to_vec();
            whole.resize(bytes.len().next_multiple_of(frame::ALIGN), 0);
            frame::outline(&whole, seed, offset)
        }),
        ("refuses gaps", &|bytes, seed, offset| {
            frame::outline(bytes, seed, offset).filter(|frame| frame.kind != FrameKind::Gap)
        }),
    ];
    for (what, decode) in mistakes {
        let caught = seeds()
            .iter()
            .any(|(_, bytes)| catch_unwind(AssertUnwindSafe(|| check(bytes, decode))).is_err());
        assert!(caught, "a decoder that {what} was not caught");
    }
}

#[test]
fn a_length_in_a_longer_spelling_is_no_frame() {
    // One empty record, its length as `81 00` and not as `01`, every check right.
    let bytes = spelled(&[0x81, 0x00]);
    assert_eq!(frame::outline(&bytes, &seed(), OFFSET), None);
    assert!(frame::outline(&spelled(&[0x01]), &seed(), OFFSET).is_some());
}

proptest! {
    #[test]
    fn random_bytes_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes, &frame::outline);
    }

    #[test]
    fn mutated_frames_break_no_promise(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..20),
        first_lsn in any::<u64>(),
        synced in any::<u32>(),
        mutations in prop::collection::vec(any::<Mutation>(), 0..6),
    ) {
        let kind = if records.is_empty() { FrameKind::Gap } else { FrameKind::Data };
        let mut bytes = encoded(kind, first_lsn, u64::from(synced) * 8, &records);
        let reached = check(&bytes, &frame::outline);
        prop_assert_eq!(reached, Reached { raw: true, repaired: true });
        for mutation in mutations {
            mutation.apply(&mut bytes);
            check(&bytes, &frame::outline);
        }
    }
}

/// One change to some bytes, of the kinds that a fuzzer makes.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Copy { from: usize, to: usize, len: usize },
    Flip { at: usize, bit: u8 },
    Insert { at: usize, byte: u8 },
    Remove { at: usize },
    Set { at: usize, byte: u8 },
    Truncate { at: usize },
}

impl Mutation {
    fn apply(self, bytes: &mut Vec<u8>) {
        let len = bytes.len().max(1);
        match self {
            Self::Insert { at, byte } => bytes.insert(at % (bytes.len() + 1), byte),
            _ if bytes.is_empty() => {}
            Self::Copy { from, to, len: n } => {
                let (from, to) = (from % len, to % len);
                let n = (n % 32).min(len - from.max(to));
                bytes.copy_within(from..from + n, to);
            }
            Self::Flip { at, bit } => bytes[at % len] ^= 1 << (bit % 8),
            Self::Remove { at } => drop(bytes.remove(at % len)),
            Self::Set { at, byte } => bytes[at % len] = byte,
            Self::Truncate { at } => bytes.truncate(at % len),
        }
    }
}

impl Arbitrary for Mutation {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        // Half of the changes hit the header and the first entries, where each byte means something.
        let at = prop_oneof![0..40_usize, any::<usize>()].boxed();
        prop_oneof![
            (at.clone(), at.clone(), any::<usize>()).prop_map(|(from, to, len)| Self::Copy {
                from,
                to,
                len
            }),
            (at.clone(), any::<u8>()).prop_map(|(at, bit)| Self::Flip { at, bit }),
            (at.clone(), any::<u8>()).prop_map(|(at, byte)| Self::Insert { at, byte }),
            at.clone().prop_map(|at| Self::Remove { at }),
            (at.clone(), any::<u8>()).prop_map(|(at, byte)| Self::Set { at, byte }),
            at.prop_map(|at| Self::Truncate { at }),
        ]
        .boxed()
    }
}

/// The kept corpus; `None` in the published package, which leaves the fuzz targets out.
/// Frames of every shape, by the name of their file; those named `bad-` do not decode.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let data = |records: &[Vec<u8>]| encoded(FrameKind::Data, 7, OFFSET, records);
    let changed = |mut bytes: Vec<u8>, at: usize, to: u8| {
        bytes[at] = to;
        bytes
    };
    let one = data(&[b"one record".to_vec()]);
    vec![
        ("gap", encoded(FrameKind::Gap, 1_000, OFFSET, &[])),
        ("seal", encoded(FrameKind::Seal, 9, OFFSET, &[b"what it holds".to_vec()])),
        ("promise", encoded(FrameKind::Sync, 8, 1 << 20, &[])),
        ("one", one.clone()),
        ("one-empty", data(&[vec![]])),
        ("empty-among-others", data(&[vec![], b"a".to_vec(), vec![], b"bc".to_vec()])),
        ("no-padding", data(&[vec![1; 3]])),
        ("length-of-two-bytes", data(&[vec![2; 16]])),
        ("length-of-three-bytes", data(&[vec![3; 2_048]])),
        ("many", data(&(0..100).map(|n| vec![n; usize::from(n % 9)]).collect::<Vec<_>>())),
        ("highest-number", encoded(FrameKind::Data, u64::MAX, OFFSET, &[vec![4], vec![5]])),
        ("highest-promise", encoded(FrameKind::Data, 1, u64::from(u32::MAX) * 8, &[vec![6]])),
        ("damaged-payload", changed(one.clone(), 30, 0)),
        ("written-padding", {
            let bytes = data(&[b"seven".to_vec()]);
            let last = bytes.len() - 1;
            changed(bytes, last, 0xff)
        }),
        ("two-in-a-row", [one.clone(), data(&[b"another".to_vec()])].concat()),
        ("bad-empty", vec![]),
        ("bad-unwritten", vec![0; 64]),
        ("bad-check", changed(one.clone(), 0, !one[0])),
        ("bad-kind", changed(one.clone(), 16, 4)),
        ("bad-seal", encoded(FrameKind::Seal, 9, OFFSET, &[vec![1], vec![2]])),
        ("bad-seal-of-nothing", encoded(FrameKind::Seal, 9, OFFSET, &[])),
        ("bad-sealed", changed(one.clone(), 16, 0x81)),
        ("bad-count", changed(one.clone(), 19, 0xff)),
        ("bad-body-length", changed(one.clone(), 7, 0xff)),
        ("bad-cut-short", one[..one.len() - 1].to_vec()),
        ("bad-long-spelling", spelled(&[0x81, 0x00])),
        ("bad-length-without-end", spelled(&[0xff; 6])),
        ("bad-record-type", spelled(&[0x05])),
        ("bad-record-too-long", spelled(&[0x89, 0x80, 0x80, 0x40])),
    ]
}

fn encoded(kind: FrameKind, first_lsn: u64, synced: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<_> = records.iter().map(|record| Entry::of(record)).collect();
    let mut out = Vec::new();
    let payloads = records.concat();
    frame::encode(&mut out, &seed(), OFFSET, kind, first_lsn, synced, &entries, &payloads);
    out
}

/// A frame of one empty record whose length is spelled as `digits`; its header's check is right.
fn spelled(digits: &[u8]) -> Vec<u8> {
    let mut bytes = encoded(FrameKind::Data, 7, OFFSET, &[vec![]]);
    bytes.truncate(frame::HEADER_LEN);
    bytes.extend_from_slice(digits);
    bytes.extend_from_slice(&crc32fast::hash(b"").to_le_bytes());
    bytes[4..8].copy_from_slice(&(digits.len() as u32 + 4).to_le_bytes());
    let mut hasher: Hasher = seed();
    hasher.update(&OFFSET.to_le_bytes());
    hasher.update(&bytes[4..]);
    bytes[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(frame::ALIGN), 0);
    bytes
}
