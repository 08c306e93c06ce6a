//! Bytes as a frame of the log. What must hold is in `bucket-wal/src/fuzzing/mod.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bucket_wal::fuzzing::decode_frame(data));
