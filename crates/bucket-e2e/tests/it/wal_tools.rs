//! `bucket wal`: real logs, hurt on disk, looked into and exported; and logs of DurableWAL brought over.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bucket_core::ByteCount;
use bucket_e2e::{Done, Sandbox};
use bucket_wal::{Lsn, Wal};
use serde_json::Value;

/// A log of `count` records of 1 000 bytes in `log`.
fn log(sandbox: &Sandbox, count: u64) -> Wal {
    let options = Wal::options().segment_size(ByteCount::kib(64)).unwrap();
    let (wal, _) = options.open(sandbox.path("log")).unwrap();
    for n in 1..=count {
        wal.append(&[n as u8; 1_000]).unwrap();
    }
    wal
}

fn first_segment(dir: &Path) -> PathBuf {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "wal")).min().unwrap()
}

/// Flips a bit in the content of record `n`, one of the first segment.
fn hurt(sandbox: &Sandbox, n: usize) {
    let path = first_segment(&sandbox.path("log"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096 + (n - 1) * 1_032 + 500] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn of_type<'a>(objects: &'a [Value], name: &str) -> Vec<&'a Value> {
    objects.iter().filter(|value| value["type"] == name).collect()
}

#[test]
fn a_log_is_inspected_and_verified_beside_its_living_owner() {
    let sandbox = Sandbox::new();
    let wal = log(&sandbox, 150);
    wal.checkpoint(Lsn::new(1), b"state").unwrap();

    let objects = sandbox.run(&["--json", "wal", "inspect", "log"]).expect_code(0).objects();
    let segments = of_type(&objects, "segment");
    assert!(segments.len() >= 2, "{objects:#?}");
    assert_eq!(segments[0]["first_lsn"], 1);
    assert_eq!(segments[0]["end"], "sealed");
    assert_eq!(of_type(&objects, "checkpoint")[0]["state_bytes"], 5);
    let summary = objects.last().unwrap();
    assert_eq!((&summary["records"], &summary["last_lsn"]), (&150.into(), &150.into()));
    assert_eq!(summary["payload_bytes"], 150_000);
    assert_eq!(summary["owner"], format!("pid {}", std::process::id()));

    let done = sandbox.run(&["wal", "verify", "log"]).expect_code(0);
    assert!(done.stdout.starts_with("log: whole; 150 records"), "{done:#?}");
    let table = sandbox.run(&["wal", "inspect", "log"]).expect_code(0);
    assert!(table.stdout.contains("replay from"), "{table:#?}");
    wal.append(b"it goes on").unwrap();
}

#[test]
fn the_log_of_a_bucket_is_found_in_it() {
    let sandbox = Sandbox::with_bucket(&[]);
    fs::write(sandbox.path("file"), "content").unwrap();
    sandbox.run(&["put", "file", "p:key"]).expect_code(0);
    let objects = sandbox.run(&["--json", "wal", "verify", "local"]).expect_code(0).objects();
    assert_eq!(objects[0]["verdict"], "whole");
    assert!(objects[0]["records"].as_u64().unwrap() > 0, "{objects:?}");
}

#[test]
fn one_flipped_bit_is_named_by_each_tool_and_costs_the_export_one_record() {
    let sandbox = Sandbox::new();
    drop(log(&sandbox, 100));
    hurt(&sandbox, 7);

    let objects = sandbox.run(&["--json", "wal", "inspect", "log"]).expect_code(7).objects();
    let damage = of_type(&objects, "damage");
    assert_eq!(damage.len(), 1);
    assert_eq!((&damage[0]["kind"], &damage[0]["first_lsn"]), (&"record".into(), &7.into()));
    assert_eq!(damage[0]["offset"], 4_096 + 6 * 1_032);
    assert_eq!(objects.last().unwrap()["records"], 99);
    let verdict = sandbox.run(&["--json", "wal", "verify", "log"]).expect_code(7).objects();
    assert_eq!(verdict.last().unwrap()["verdict"], "damaged");

    let done = sandbox.run(&["wal", "export", "log"]).expect_code(7);
    let numbers: Vec<_> = done.objects().iter().map(|v| v["lsn"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=100).filter(|n| *n != 7).collect::<Vec<_>>());
    assert!(done.stderr.contains("left out: "), "{}", done.stderr);
    // Nothing is missing where nothing is damaged.
    let done = sandbox.run(&["wal", "export", "log", "--from", "8", "--to", "9"]).expect_code(0);
    assert_eq!(done.objects().len(), 2);
}

#[test]
fn a_repair_is_made_on_demand_after_a_backup_and_never_beside_a_living_owner() {
    let sandbox = Sandbox::new();
    let wal = log(&sandbox, 100);
    sandbox.run(&["wal", "repair", "log"]).expect_code(0);
    hurt(&sandbox, 7);
    sandbox.run(&["wal", "repair", "log", "--apply"]).expect_code(9);
    drop(wal);
    let hurt_file = fs::read(first_segment(&sandbox.path("log"))).unwrap();

    let objects = sandbox.run(&["--json", "wal", "repair", "log"]).expect_code(7).objects();
    assert_eq!(objects.last().unwrap()["applied"], false);
    assert_eq!(fs::read(first_segment(&sandbox.path("log"))).unwrap(), hurt_file);
    let repair = ["--json", "wal", "repair", "log", "--apply", "--backup", "copy"];
    let objects = sandbox.run(&repair).expect_code(0).objects();
    assert_eq!(of_type(&objects, "damage").len(), 1);
    assert_eq!(objects.last().unwrap()["copied_records"], 93);
    assert_eq!(fs::read(first_segment(&sandbox.path("copy"))).unwrap(), hurt_file);

    let verdict = sandbox.run(&["--json", "wal", "verify", "log"]).expect_code(0).objects();
    assert_eq!(verdict.last().unwrap()["records"], 99);
    sandbox.run(&["--json", "wal", "verify", "copy"]).expect_code(7);
    // The copy is a log as well; what follows the damage can be dropped instead.
    sandbox.run(&["wal", "repair", "copy", "--apply", "--point-in-time"]).expect_code(0);
    let verdict = sandbox.run(&["--json", "wal", "verify", "copy"]).expect_code(0).objects();
    assert_eq!(verdict.last().unwrap()["records"], 6);
    assert!(sandbox.path("copy.backup-1").is_dir());

    let bucket = Sandbox::with_bucket(&[]);
    bucket.run(&["wal", "repair", "local", "--apply"]).expect_code(2);
}

#[test]
fn the_newest_records_are_shown_and_those_that_come_are_followed() {
    let sandbox = Sandbox::new();
    let wal = log(&sandbox, 30);
    let done = sandbox.run(&["wal", "tail", "log"]).expect_code(0);
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 10);
    assert!(
        lines[0].starts_with("21 op 1000 B ") && lines[9].starts_with("30 op 1000 B "),
        "{lines:?}"
    );
    let objects =
        sandbox.run(&["--json", "wal", "tail", "log", "--from", "29"]).expect_code(0).objects();
    let numbers: Vec<_> = objects.iter().map(|object| object["lsn"].as_u64().unwrap()).collect();
    assert_eq!((numbers, &objects[0]["len"]), (vec![29, 30], &1_000.into()));

    // Beside its living owner, over the end of a segment.
    let mut child = sandbox
        .command(&["--json", "wal", "tail", "log", "--from", "30", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let value: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        value["lsn"].as_u64().unwrap()
    };
    assert_eq!(next(), 30);
    for n in 31..=120 {
        wal.append(&[7; 1_000]).unwrap();
        if n % 30 == 0 {
            (n - 29..=n).for_each(|n| assert_eq!(next(), n));
        }
    }
    assert!(wal.stats().segments > 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn headers_tails_checkpoints_and_whole_segments_that_are_gone_are_told_apart() {
    let kind = |sandbox: &Sandbox| {
        let objects = sandbox.run(&["--json", "wal", "verify", "log"]).expect_code(7).objects();
        objects[0]["kind"].as_str().unwrap().to_owned()
    };
    let arranged = || {
        let sandbox = Sandbox::new();
        let wal = log(&sandbox, 150);
        wal.checkpoint(Lsn::new(1), b"state").unwrap();
        drop(wal);
        let path = first_segment(&sandbox.path("log"));
        (sandbox, path)
    };

    let (sandbox, path) = arranged();
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(kind(&sandbox), "header");

    let (sandbox, path) = arranged();
    fs::remove_file(&path).unwrap();
    assert_eq!(kind(&sandbox), "missing");

    let (sandbox, path) = arranged();
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096 + 2 * 1_032] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(kind(&sandbox), "frame");

    let (sandbox, _) = arranged();
    fs::write(sandbox.path("log/ckpt-0000000000000001.man"), "x").unwrap();
    assert_eq!(kind(&sandbox), "checkpoint");
}

#[test]
fn an_export_goes_into_a_new_file_only_and_a_wrong_directory_is_named() {
    let sandbox = Sandbox::new();
    let wal = log(&sandbox, 0);
    wal.append(b"foobar").unwrap();
    wal.append(b"").unwrap();
    let export = ["wal", "export", "log", "-o", "out.jsonl"];
    sandbox.run(&export).expect_code(0);
    let written = fs::read_to_string(sandbox.path("out.jsonl")).unwrap();
    assert_eq!(
        written,
        "{\"lsn\":1,\"len\":6,\"base64\":\"Zm9vYmFy\"}\n{\"lsn\":2,\"len\":0,\"base64\":\"\"}\n"
    );
    sandbox.run(&export).expect_code(1);
    sandbox.run(&["wal", "export", "log", "--from", "3", "--to", "2"]).expect_code(2);
    fs::create_dir(sandbox.path("empty")).unwrap();
    for dir in ["empty", "nowhere"] {
        sandbox.run(&["wal", "verify", dir]).expect_code(3);
    }
}

fn line(n: u64, operation: &str) -> String {
    format!(
        "{{\"sequence_number\": {n}, \"timestamp\": 1700000000.25, \"operation\": {operation}}}\n"
    )
}

/// The old log as the original leaves it: ten operations under a checkpoint, five after it.
fn old_log(sandbox: &Sandbox) -> PathBuf {
    let name = "wal_1700000000000_0000000000.log";
    let segment = sandbox.path("old/segments").join(name);
    fs::create_dir_all(sandbox.path("old/segments")).unwrap();
    fs::create_dir_all(sandbox.path("old/checkpoints")).unwrap();
    let lines: String = (1..=15).map(|n| line(n, r#"{"op": "pin", "cid": "Qm\u00e9"}"#)).collect();
    fs::write(&segment, lines).unwrap();
    let checkpoint = format!(
        "{{\n  \"checkpoint_id\": \"3f1c9d0a7be2465c\",\n  \"timestamp\": 1700000000.5,\n  \
         \"sequence_number\": 10,\n  \"operations_count\": 10,\n  \
         \"file_path\": \"/home/me/wal/segments/{name}\",\n  \
         \"checksum\": \"{SUM_OF_THE_FIRST_TEN}\"\n}}"
    );
    let path = sandbox.path("old/checkpoints/checkpoint_1700000000_0000000010.json");
    fs::write(path, checkpoint).unwrap();
    segment
}

/// Of the first ten lines, as Python's `json` and `hashlib` have it.
const SUM_OF_THE_FIRST_TEN: &str =
    "bd35d23697d7486fec143f85b058bc719a15269c15bac1e6bcf03bb1328532b9";

fn import(sandbox: &Sandbox, more: &[&str]) -> Done {
    let mut args = vec!["--json", "wal", "import-legacy", "old", "--to", "new"];
    args.extend(more);
    sandbox.run(&args)
}

#[test]
fn an_old_log_is_brought_over_whole_and_only_once() {
    let sandbox = Sandbox::new();
    let segment = old_log(&sandbox);

    let dry = import(&sandbox, &["--dry-run"]).expect_code(0).objects();
    assert_eq!(dry.last().unwrap()["operations"], 15);
    assert!(!sandbox.path("new").exists());

    let objects = import(&sandbox, &[]).expect_code(0).objects();
    let findings = of_type(&objects, "finding");
    assert_eq!(findings.len(), 1, "{objects:#?}");
    assert_eq!(findings[0]["kind"], "grown");
    let summary = objects.last().unwrap();
    assert_eq!((&summary["imported"], &summary["losses"]), (&15.into(), &0.into()));
    assert_eq!(summary["original_would_recover"], 0);

    let (wal, _) = Wal::open(sandbox.path("new")).unwrap();
    let records: Vec<_> = wal.reader(Lsn::new(1)).map(|r| r.unwrap().payload).collect();
    drop(wal);
    let written = fs::read(segment).unwrap();
    assert!(records.iter().map(Vec::as_slice).eq(written.trim_ascii_end().split(|b| *b == b'\n')));

    let again = import(&sandbox, &[]).expect_code(2);
    assert!(again.stderr.contains("name a new directory"), "{again:#?}");
    sandbox.run(&["wal", "verify", "new"]).expect_code(0);
}

#[test]
fn what_cannot_be_brought_over_is_counted_and_the_exit_code_says_so() {
    let sandbox = Sandbox::new();
    let segment = old_log(&sandbox);
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend(b"garbage\n\xff\n");
    bytes.extend(line(16, "NaN").bytes());
    bytes.extend(line(19, "1").bytes());
    bytes.extend(line(20, "1").bytes().take(30));
    fs::write(&segment, bytes).unwrap();
    let objects = import(&sandbox, &[]).expect_code(11).objects();
    let found: Vec<_> = of_type(&objects, "finding")
        .iter()
        .map(|value| (value["kind"].as_str().unwrap().to_owned(), value["line"].as_u64()))
        .collect();
    let expected = [
        ("bad_line", Some(16)),
        ("bad_line", Some(17)),
        ("not_strict", Some(18)),
        ("torn", Some(20)),
        ("grown", None),
        ("missing", Some(19)),
    ];
    assert_eq!(found, expected.map(|(kind, line)| (kind.to_owned(), line)));
    let summary = objects.last().unwrap();
    assert_eq!((&summary["imported"], &summary["losses"]), (&17.into(), &4.into()));

    let text = sandbox.run(&["wal", "import-legacy", "old", "--dry-run"]).expect_code(11);
    assert!(text.stdout.contains("0.log:16: not brought over: it is no JSON"), "{text:#?}");
    sandbox.run(&["wal", "import-legacy", "new", "--dry-run"]).expect_code(3);
}
