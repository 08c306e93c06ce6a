//! The plain twin of the fuzz target `open_log`, and its corpus.

use proptest::prelude::*;

use super::corpus;
use crate::fuzzing::open_log;

#[test]
fn every_file_of_the_corpus_passes() {
    assert!(corpus::each("open_log", open_log).is_none_or(|n| n >= 12));
}

/// One edit that hits something: a header field, a frame, or a whole file.
fn edit() -> impl Strategy<Value = [u8; 4]> {
    let field = (0_u8..8, 0_u16..112, any::<u8>());
    let frame = (0_u8..8, 4_096_u16..6_500, any::<u8>());
    let byte = prop_oneof![field, frame];
    prop_oneof![
        8 => byte.prop_map(|(file, at, value)| {
            let [low, high] = at.to_le_bytes();
            [file, low, high, value]
        }),
        1 => any::<[u8; 4]>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_tampering_breaks_a_promise(how in 0_u8..8, edits in prop::collection::vec(edit(), 0..5)) {
        open_log(&[vec![how], edits.concat()].concat());
    }
}
