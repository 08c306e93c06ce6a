//! Signatures of requests to S3, [version 4], for requests without a query.
//!
//! [version 4]: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys<'a> {
    pub(super) access: &'a str,
    pub(super) secret: &'a str,
    pub(super) region: &'a str,
}

/// The headers that a request needs to be accepted, itself included: `host` is one of them.
pub(super) fn headers(
    keys: Keys<'_>,
    now: SystemTime,
    host: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> Vec<(String, String)> {
    let Keys { access, secret, region } = keys;
    let time = basic_format(now);
    let date = &time[..8];
    let content = hex(&Sha256::digest(body));
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let request = format!(
        "{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{content}\nx-amz-date:{time}\n\n\
         {signed}\n{content}"
    );
    let scope = format!("{date}/{region}/s3/aws4_request");
    let request = hex(&Sha256::digest(request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, \
         Signature={signature}"
    );
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        header("host", host),
        header("x-amz-content-sha256", &content),
        header("x-amz-date", &time),
        header("authorization", &authorization),
    ]
}

/// [RFC 2104](https://www.rfc-editor.org/rfc/rfc2104) over SHA-256, for keys of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(block.map(|b| b ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `20130524T000000Z`.
fn basic_format(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (mut days, second) = (since / 86_400, since % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231_case_2() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn times_are_written_in_the_basic_format() {
        let at = |seconds| basic_format(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_399), "20000228T235959Z");
        assert_eq!(at(951_868_799), "20000229T235959Z");
        assert_eq!(at(1_767_225_599), "20251231T235959Z");
        assert_eq!(at(1_798_761_600), "20270101T000000Z");
    }
}
