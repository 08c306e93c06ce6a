//! Bytes behind the header of a segment, which is then scanned. What must hold is in `bucket-wal/src/fuzzing/segment.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bucket_wal::fuzzing::segment(data));
