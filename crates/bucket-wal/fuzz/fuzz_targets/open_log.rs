//! Edits to the files of a log, which is then opened. What must hold is in
//! `bucket-wal/src/fuzzing/log.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bucket_wal::fuzzing::open_log(data));
