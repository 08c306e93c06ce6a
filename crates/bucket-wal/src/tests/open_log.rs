//! The plain twin of the fuzz target `open_log`, and its corpus.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use crate::fuzzing::open_log;

fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/open_log");
    // A published crate comes without its fuzz targets.
    folder.is_dir().then_some(folder)
}

#[test]
fn every_file_of_the_corpus_passes() {
    let Some(folder) = corpus() else { return };
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        open_log(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 12, "{count} files");
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
