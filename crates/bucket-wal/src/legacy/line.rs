//! One line of the old log: pure functions over bytes, without recursion and without allocation.
//!
//! Python's `json` writes and reads more than JSON: `NaN`, `Infinity`, `-Infinity`, and halves of
//! surrogate pairs as escapes. Such lines are accepted here as the original accepts them, and told
//! apart, because whoever reads the records later may be stricter.

use std::fmt;
use std::ops::Range;

/// The longest line that is taken, without its end: no record of the log is longer.
pub const MAX_LINE_LEN: usize = crate::frame::MAX_RECORD_LEN;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The number of the operation.
    pub sequence_number: u64,
    /// False when Python reads the line and a strict reader of JSON does not.
    pub is_strict: bool,
}

/// Why a line holds no operation that can be brought over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// Nothing but white space.
    Empty,
    /// The field `operation` is missing.
    NoOperation,
    /// The field `sequence_number` is missing, or is no number from 1 to 2^64 - 1.
    NoSequenceNumber,
    /// JSON, but no object.
    NotAnObject,
    /// No JSON, from this byte on.
    NotJson {
        /// Counted from the start of the line.
        at: usize,
    },
    /// No UTF-8, from this byte on.
    NotUtf8 {
        /// Counted from the start of the line.
        at: usize,
    },
    /// Nested deeper than 512 levels.
    TooDeep,
    /// Longer than [`MAX_LINE_LEN`].
    TooLong,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the line is empty"),
            Self::NoOperation => f.write_str("it has no operation"),
            Self::NoSequenceNumber => f.write_str("it has no sequence number from 1 on"),
            Self::NotAnObject => f.write_str("it is no JSON object"),
            Self::NotJson { at } => write!(f, "it is no JSON from byte {at} on"),
            Self::NotUtf8 { at } => write!(f, "it is no UTF-8 from byte {at} on"),
            Self::TooDeep => write!(f, "it is nested deeper than {MAX_DEPTH} levels"),
            Self::TooLong => write!(f, "it is longer than {MAX_LINE_LEN} bytes"),
        }
    }
}

impl std::error::Error for LineError {}

/// Reads one line, with or without its end. Never panics, whatever the bytes are, and takes time in
/// proportion to their number.
///
/// # Errors
///
/// [`LineError`], with the first reason that applies.
///
/// # Examples
///
/// ```
/// use bucket_wal::legacy::parse_line;
///
/// let line = br#"{"sequence_number": 7, "timestamp": 1.5, "operation": {"op": "pin"}}"#;
/// assert_eq!(parse_line(line)?.sequence_number, 7);
/// # Ok::<(), bucket_wal::legacy::LineError>(())
/// ```
pub fn parse_line(bytes: &[u8]) -> Result<Line, LineError> {
    let object = parse_object(bytes)?;
    let sequence_number = object
        .field("sequence_number")
        .and_then(number)
        .filter(|number| *number > 0)
        .ok_or(LineError::NoSequenceNumber)?;
    object.field("operation").ok_or(LineError::NoOperation)?;
    Ok(Line { sequence_number, is_strict: object.is_strict })
}

/// An object whose form has been checked, and where the values of the fields that matter stand.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    bytes: &'a [u8],
    fields: [Option<Range<usize>>; FIELDS.len()],
    is_strict: bool,
}

impl<'a> Object<'a> {
    /// The value of one of [`FIELDS`] as it is written; of several the last, as Python has it.
    pub(crate) fn field(&self, name: &str) -> Option<&'a [u8]> {
        let n = FIELDS.iter().position(|field| *field == name)?;
        self.bytes.get(self.fields[n].clone()?)
    }

    /// The same for a string, without its quotes and with its escapes left as they are.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let quoted = self.field(name)?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        std::str::from_utf8(quoted).ok()
    }
}

/// An unsigned whole number, in digits only.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().all(u8::is_ascii_digit).then_some(bytes)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Checks that `bytes` are one object in Python's dialect of JSON.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Object<'_>, LineError> {
    let end = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |at| at + 1);
    let bytes = &bytes[..end];
    if bytes.is_empty() {
        return Err(LineError::Empty);
    }
    if bytes.len() > MAX_LINE_LEN {
        return Err(LineError::TooLong);
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(LineError::NotUtf8 { at: error.valid_up_to() });
    }
    let mut parser = Parser { bytes, at: 0, is_strict: true };
    parser.space();
    let is_object = parser.peek() == Some(b'{');
    let fields = parser.document()?;
    if !is_object {
        return Err(LineError::NotAnObject);
    }
    Ok(Object { bytes, fields, is_strict: parser.is_strict })
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    is_strict: bool,
}

impl Parser<'_> {
    /// One value and nothing behind it. The stack of open brackets is a set of bits, so that depth costs
    /// neither the machine's stack nor an allocation.
    fn document(&mut self) -> Result<[Option<Range<usize>>; FIELDS.len()], LineError> {
        let mut fields = [const { None }; FIELDS.len()];
        let (mut objects, mut depth) = ([0_u64; MAX_DEPTH / 64], 0_usize);
        let is_object = |objects: &[u64; MAX_DEPTH / 64], depth: usize| {
            objects[(depth - 1) / 64] >> ((depth - 1) % 64) & 1 == 1
        };
        // The field of the outermost object that is being read, and where its value starts.
        let mut field = None;
        loop {
            self.space();
            if depth == 1 && is_object(&objects, depth) {
                field = field.map(|(n, _)| (n, self.at));
            }
            let opened = match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        return Err(LineError::TooDeep);
                    }
                    let bit = 1 << (depth % 64);
                    let word = &mut objects[depth / 64];
                    *word = if bracket == b'{' { *word | bit } else { *word & !bit };
                    depth += 1;
                    self.at += 1;
                    self.space();
                    let closing = if bracket == b'{' { b'}' } else { b']' };
                    self.peek() != Some(closing)
                }
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if opened {
                if is_object(&objects, depth) {
                    let key = self.key()?;
                    if depth == 1 {
                        field = key.map(|n| (n, self.at));
                    }
                }
                continue;
            }
            // A value has ended, or an empty bracket is about to close: close what closes.
            loop {
                if depth == 0 {
                    self.space();
                    return if self.at == self.bytes.len() { Ok(fields) } else { self.wrong() };
                }
                let in_object = is_object(&objects, depth);
                if depth == 1
                    && let Some((n, start)) = field.take()
                {
                    fields[n] = Some(start..self.at);
                }
                self.space();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.space();
                        if in_object {
                            let key = self.key()?;
                            if depth == 1 {
                                field = key.map(|n| (n, self.at));
                            }
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => return self.wrong(),
                }
                self.at += 1;
                depth -= 1;
            }
        }
    }

    /// A key and its colon; which of [`FIELDS`] it is.
    fn key(&mut self) -> Result<Option<usize>, LineError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.wrong();
        }
        self.string()?;
        let key = &self.bytes[start + 1..self.at - 1];
        self.space();
        if self.peek() != Some(b':') {
            return self.wrong();
        }
        self.at += 1;
        Ok(FIELDS.iter().position(|field| field.as_bytes() == key))
    }

    fn scalar(&mut self) -> Result<(), LineError> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        for (word, is_strict) in WORDS {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                self.is_strict &= is_strict;
                return Ok(());
            }
        }
        self.number()
    }

    fn number(&mut self) -> Result<(), LineError> {
        self.skip(b'-');
        let leading_zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && leading_zero {
            return self.wrong();
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _signed = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), LineError> {
        self.at += 1;
        // The upper half of a surrogate pair that stands directly before.
        let mut high = false;
        loop {
            let Some(byte) = self.peek() else { return self.wrong() };
            self.at += 1;
            let was_high = std::mem::take(&mut high);
            match byte {
                b'"' => {
                    self.is_strict &= !was_high;
                    return Ok(());
                }
                b'\\' => match self.peek() {
                    Some(b'u') => {
                        self.at += 1;
                        let unit = self.hex4()?;
                        let low = (0xdc00..0xe000).contains(&unit);
                        high = (0xd800..0xdc00).contains(&unit);
                        self.is_strict &= was_high == low;
                    }
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                        self.at += 1;
                        self.is_strict &= !was_high;
                    }
                    _ => return self.wrong(),
                },
                0..0x20 => {
                    self.at -= 1;
                    return self.wrong();
                }
                _ => self.is_strict &= !was_high,
            }
        }
    }

    fn hex4(&mut self) -> Result<u32, LineError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return self.wrong() };
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// One digit or more; how many.
    fn digits(&mut self) -> Result<usize, LineError> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return self.wrong();
        }
        self.at += count;
        Ok(count)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong<T>(&self) -> Result<T, LineError> {
        Err(LineError::NotJson { at: self.at })
    }
}

/// What nobody nests by hand; the original gives up at about a thousand.
const MAX_DEPTH: usize = 512;
/// The fields that are looked at: of a line, and of a checkpoint.
const FIELDS: [&str; 6] =
    ["sequence_number", "operation", "checksum", "file_path", "timestamp", "operations_count"];
/// Words that are values, and whether strict JSON has them.
const WORDS: [(&str, bool); 6] = [
    ("true", true),
    ("false", true),
    ("null", true),
    ("NaN", false),
    ("Infinity", false),
    ("-Infinity", false),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(operation: &str) -> String {
        format!(r#"{{"sequence_number": 3, "timestamp": 1700000000.25, "operation": {operation}}}"#)
    }

    #[test]
    fn what_python_writes_is_read_and_what_json_lacks_is_told_apart() {
        for strict in ["{}", "[]", "null", "-0.5e+7", r#""\ud83d\ude00""#, r#"{"a": [1, {}, []]}"#]
        {
            let expected = Line { sequence_number: 3, is_strict: true };
            assert_eq!(parse_line(line(strict).as_bytes()), Ok(expected), "{strict}");
        }
        for loose in ["NaN", "[-Infinity, Infinity]", r#""\ud800""#, r#""\udc00\ud800""#] {
            let expected = Line { sequence_number: 3, is_strict: false };
            assert_eq!(parse_line(line(loose).as_bytes()), Ok(expected), "{loose}");
        }
    }

    #[test]
    fn each_reason_is_named() {
        let parse = |text: &str| parse_line(text.as_bytes()).unwrap_err();
        assert_eq!(parse(" \r\n"), LineError::Empty);
        assert_eq!(parse("[1]"), LineError::NotAnObject);
        assert_eq!(parse("{"), LineError::NotJson { at: 1 });
        assert_eq!(parse(r#"{"operation": 1}"#), LineError::NoSequenceNumber);
        assert_eq!(parse(r#"{"sequence_number": 1}"#), LineError::NoOperation);
        for number in ["0", "-1", "1.0", "true", "\"1\"", "18446744073709551616", "[1]"] {
            let text = format!(r#"{{"sequence_number": {number}, "operation": 1}}"#);
            assert_eq!(parse(&text), LineError::NoSequenceNumber, "{number}");
        }
        assert_eq!(parse_line(b"{\"a\xff\": 1}"), Err(LineError::NotUtf8 { at: 3 }));
        assert_eq!(parse(&line(&"[".repeat(100_000))), LineError::TooDeep);
        assert_eq!(parse_line(&vec![b'1'; MAX_LINE_LEN + 1]), Err(LineError::TooLong));
        for text in
            ["{,}", "[1,]", r#"{"a":1,}"#, r#"{"a"}"#, "[1}", "01", "1.", "\"\u{1}\"", "{}{}"]
        {
            assert!(matches!(parse(text), LineError::NotJson { .. }), "{text}");
        }
    }

    #[test]
    fn inner_fields_do_not_count_and_of_two_the_last_does() {
        let text =
            r#"{"sequence_number": 1, "operation": {"sequence_number": 9}, "sequence_number": 2}"#;
        assert_eq!(parse_line(text.as_bytes()).map(|line| line.sequence_number), Ok(2));
        let text = r#"{"x": {"sequence_number": 9, "operation": 1}}"#;
        assert_eq!(parse_line(text.as_bytes()), Err(LineError::NoSequenceNumber));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_line(&bytes);
        }

        #[test]
        fn no_text_of_brackets_makes_it_panic(text in "[\\[\\]{},:\"a1 \\\\]{0,60}") {
            let _ = parse_line(text.as_bytes());
        }

        /// Without exponents, for which the other reader has bounds.
        #[test]
        fn strict_json_is_what_an_independent_reader_takes(
            text in prop_oneof![
                r#"\{("a"|"b\\u00(e9|6)"): ?[\[\]{},:"a1.0 -]{0,12}\}"#,
                r#"\{"a": ("[a\\u0d8cf]{0,14}"|-?[0-9.]{1,4}|true|nul?l|NaN|\[[1, \]]{0,5}) ?,?\}"#,
            ],
        ) {
            let ours = parse_object(text.as_bytes()).is_ok_and(|object| object.is_strict);
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            prop_assert_eq!(ours, theirs.is_ok(), "{}", text);
        }

        #[test]
        fn a_line_that_was_cut_short_is_no_line(cut in 0_usize..80) {
            let text = line(r#"{"op": "pin", "cid": "Qm\u00e9"}"#);
            prop_assume!(cut < text.len());
            prop_assert!(parse_line(&text.as_bytes()[..cut]).is_err());
        }
    }
}
