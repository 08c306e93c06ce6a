//! Bytes as a checkpoint. What must hold is in `bucket-wal/src/fuzzing/manifest.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bucket_wal::fuzzing::manifest(data));
