//! `bucket wal export`: the readable records as JSON lines.
//!
//! Text would need escapes that no reader agrees on, and a binary form a reader of its own; a JSON line
//! with base64 goes through every tool there is.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use bucket_wal::{Lsn, Record, Wal};
use serde_json::json;

use super::inspect::damage_json;
use super::log_dir;
use crate::args::WalExportArgs;
use crate::exit::Failure;
use crate::output::{Output, stdout_failure};

pub(crate) fn run(args: &WalExportArgs, out: &Output) -> Result<ExitCode, Failure> {
    let last = args.to.unwrap_or(u64::MAX);
    if args.from > last {
        let what = format!("--from {} comes after --to {last}", args.from);
        return Err(Failure::Usage(what));
    }
    let dir = log_dir(&args.dir)?;
    let (mut sink, name): (Box<dyn Write>, String) = match &args.output {
        None => (Box::new(io::stdout().lock()), "stdout".into()),
        Some(path) => {
            let what = format!("cannot create {}", path.display());
            let file = File::create_new(path).map_err(|error| Failure::file(what)(error))?;
            (Box::new(file), path.display().to_string())
        }
    };
    let failure = |error: io::Error| match &args.output {
        None => stdout_failure(error),
        Some(_) => Failure::file(format!("cannot write to {name}"))(error),
    };

    let mut writer = BufWriter::with_capacity(256 << 10, &mut sink);
    let (mut count, mut broken) = (0_u64, None);
    let range = Lsn::new(args.from)..=Lsn::new(last);
    let found = Wal::options()
        .inspect_records(&dir, range, &mut |record| match write_record(&mut writer, &record) {
            Ok(()) => {
                count += 1;
                ControlFlow::Continue(())
            }
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        })
        .map_err(Failure::Log)?;
    if let Some(error) = broken {
        return Err(failure(error));
    }
    writer.flush().map_err(failure)?;
    drop(writer);

    // Stdout is for records; what is said of them goes to stderr.
    let missing: Vec<_> = found
        .damage
        .iter()
        .filter(|damage| damage.first_lsn.get() <= last)
        .filter(|damage| damage.records == 0 || damage.first_lsn.get() + damage.records > args.from)
        .collect();
    for damage in &missing {
        if out.is_json() {
            let mut value = damage_json(damage);
            value["v"] = json!(1);
            out.note(&value.to_string());
        } else {
            out.note(&format!("left out: {damage}"));
        }
    }
    if out.is_json() {
        let value = json!({
            "v": 1, "type": "export", "records": count, "left_out": missing.len(),
        });
        out.note(&value.to_string());
    } else {
        out.note(&format!("{count} records, {} places left out", missing.len()));
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(7) })
}

fn write_record(writer: &mut dyn Write, record: &Record) -> io::Result<()> {
    let (lsn, len) = (record.lsn, record.payload.len());
    write!(writer, "{{\"lsn\":{lsn},\"len\":{len},\"base64\":\"")?;
    // A multiple of three, so that only the last piece is padded.
    for piece in record.payload.chunks(3 << 10) {
        writer.write_all(base64(piece).as_bytes())?;
    }
    writer.write_all(b"\"}\n")
}

/// RFC 4648 section 4, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 0x3f) as usize];
            text.push(if n <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_the_rfc() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }
}
