//! The twin of the fuzz target `manifest`, and its corpus.
//!
//! The seeds are made here. With `BUCKET_BLESS=1` the test writes them; without, it fails where a file
//! differs. Files beside them were found by the fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::corpus;
use crate::CheckpointState;
use crate::format::Features;
use crate::fuzzing::manifest::{Decoded, Decoder, check};
use crate::manifest::{Manifest, ManifestError, SegmentEntry};

fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    Manifest::decode(bytes, Features::KNOWN)
}

fn encoded(rows: u64, state: CheckpointState) -> Vec<u8> {
    let row = |id| SegmentEntry {
        id,
        first_lsn: id * 10,
        next_lsn: id * 10 + 10,
        data_len: 9_000,
        chain: 0xfeed_f00d,
    };
    let mut manifest = Manifest {
        generation: 9,
        log_id: 1 << 90,
        epoch: 4,
        durable_lsn: 100,
        replay_from: 50,
        pending_from: (rows > 0).then_some(40),
        replicated_lsn: (rows > 1).then_some(90),
        archived_before: 3,
        taken: 1_700_000_000_000,
        previous: [7; 32],
        segments: (3..3 + rows).map(row).collect(),
        state,
        ..Manifest::default()
    };
    manifest.encode()
}

/// Those that begin with `bad-` are no checkpoint as they stand.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let inline = || encoded(3, b"a state".into());
    let edited = |at: usize, value| {
        let mut bytes = inline();
        bytes[at] = value;
        bytes
    };
    vec![
        ("nothing", encoded(0, CheckpointState::None)),
        ("inline", inline()),
        ("elsewhere", encoded(1, CheckpointState::reference("store://a", 1 << 40, [9; 32]))),
        ("bad-empty", Vec::new()),
        ("bad-cut", inline()[..200].to_vec()),
        ("bad-count", edited(132, 200)),
        ("bad-flag", edited(12, 1)),
        ("bad-format", edited(8, 2)),
        ("bad-highest-number", edited(55, 0xff)),
        ("bad-length", edited(137, 1)),
        ("bad-name", edited(128, 2)),
        ("bad-state", edited(128, 3)),
    ]
}

#[test]
fn the_seeds_of_the_corpus_are_what_is_made_here() {
    corpus::is_made_of("manifest", seeds());
}

#[test]
fn every_file_of_the_corpus_passes() {
    let passed = corpus::each("manifest", |bytes| {
        check(bytes, &decode);
    });
    assert!(passed.is_none_or(|n| n >= seeds().len()));
}

#[test]
fn valid_seeds_are_checkpoints_as_they_are_and_the_others_are_not() {
    for (name, bytes) in seeds() {
        let is_valid = !name.starts_with("bad-");
        let reached = check(&bytes, &decode);
        assert_eq!(reached.raw, is_valid, "{name}");
        assert!(!is_valid || reached == Decoded { raw: true, repaired: true }, "{name}");
    }
}

/// Each is the decoder with one mistake, and the checks must find it in the seeds.
#[test]
fn a_decoder_with_a_mistake_is_caught() {
    let mistakes: [(&str, Decoder<'_>); 6] = [
        ("takes a number that nobody can count on from", &|bytes| match decode(bytes) {
            Err(ManifestError::Damaged) if bytes.len() > 200 && bytes[55] == 0xff => {
                decode(&encoded(0, CheckpointState::None))
            }
            other => other,
        }),
        ("loses a segment", &|bytes| {
            let mut manifest = decode(bytes)?;
            manifest.segments.pop();
            Ok(manifest)
        }),
        ("forgets what is replicated", &|bytes| {
            Ok(Manifest { replicated_lsn: None, ..decode(bytes)? })
        }),
        ("calls a newer format damage", &|bytes| decode(bytes).map_err(|_| ManifestError::Damaged)),
        ("calls damage a newer format", &|bytes| {
            decode(bytes).map_err(|_| ManifestError::Unsupported { format: 2, flags: 0 })
        }),
        ("reserves for a count it has not seen", &|bytes| {
            let mut manifest = decode(bytes)?;
            manifest.segments.reserve_exact(1 << 12);
            Ok(manifest)
        }),
    ];
    for (what, decode) in mistakes {
        let caught = seeds()
            .iter()
            .any(|(_, bytes)| catch_unwind(AssertUnwindSafe(|| check(bytes, decode))).is_err());
        assert!(caught, "a decoder that {what} was not caught");
    }
}

proptest! {
    #[test]
    fn mutated_checkpoints_break_no_promise(
        nth in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        more in prop::collection::vec(any::<u8>(), 0..90),
    ) {
        let seeds = seeds();
        let mut bytes = nth.get(&seeds).1.clone();
        bytes.extend(more);
        for (at, value) in edits.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes, &decode);
    }

    #[test]
    fn random_bytes_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes, &decode);
    }
}
