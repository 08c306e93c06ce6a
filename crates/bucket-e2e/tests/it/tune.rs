//! `bucket doctor --tune`: measures, stores, and keeps away from a log that is in use.

use std::fs;

use bucket_e2e::Sandbox;
use bucket_wal::Wal;

#[test]
fn a_tuned_bucket_goes_on_with_what_was_stored() {
    let sandbox = Sandbox::with_bucket(&[]);
    fs::write(sandbox.path("file"), "content").unwrap();
    sandbox.run(&["put", "file", "p:before"]).expect_code(0);

    let objects = sandbox.run(&["--json", "doctor", "p", "--tune"]).expect_code(0).objects();
    assert_eq!((objects.len(), &objects[0]["type"]), (1, &"tuning".into()));
    let figures = objects[0]["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 9);
    assert_eq!(figures[0]["record_bytes"], 512);
    assert!(figures[0]["micros"].as_f64().unwrap() > 0.0, "{figures:?}");
    let stored = fs::read_to_string(sandbox.path("local/wal/TUNING")).unwrap();
    let method = objects[0]["sync_method"].as_str().unwrap();
    assert!(stored.contains(&format!("sync_method {method}\n")), "{stored}");

    sandbox.run(&["put", "file", "p:after"]).expect_code(0);
    for key in ["p:before", "p:after"] {
        assert_eq!(sandbox.run(&["cat", key]).expect_code(0).stdout, "content");
    }
    // The answer is a file of the log's, and nothing else was left behind.
    let objects = sandbox.run(&["--json", "wal", "verify", "local"]).expect_code(0).objects();
    let summary = objects.last().unwrap();
    assert_eq!(
        (&summary["verdict"], &summary["other_files"]),
        (&"whole".into(), &[(); 0][..].into())
    );
}

#[test]
fn a_bucket_without_a_log_yet_is_tuned_and_one_that_is_open_is_not() {
    let sandbox = Sandbox::with_bucket(&[]);
    let done = sandbox.run(&["doctor", "p", "--tune"]).expect_code(0);
    assert!(done.stdout.contains("sync method: "), "{done:?}");
    let (wal, _) = Wal::open(sandbox.path("local/wal")).unwrap();
    let done = sandbox.run(&["doctor", "p", "--tune"]).expect_code(9);
    assert!(done.stderr.contains("in use"), "{done:?}");
    wal.append(b"undisturbed").unwrap();
    sandbox.run(&["doctor", "p", "--tune", "--accept"]).expect_code(2);
}
