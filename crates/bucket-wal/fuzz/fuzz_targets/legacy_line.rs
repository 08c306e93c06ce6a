//! Bytes as a line of the old log: whatever they are, an answer and no panic; what is taken can be
//! taken again with white space around it.

#![no_main]

use bucket_wal::legacy::parse_line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(line) = parse_line(data) {
        let padded = [b" ", data, b"\r\n"].concat();
        assert_eq!(parse_line(&padded), Ok(line));
    }
});
