//! The remote is away: puts, reads and listings go on, and nothing is forgotten.

use std::fs;

use bucket_e2e::Sandbox;

#[test]
fn what_was_put_while_the_remote_was_down_is_seen_survives_and_drains() {
    let sandbox = Sandbox::with_bucket(&[]);
    sandbox.take_remote_down();
    fs::write(sandbox.path("small"), "small").unwrap();
    fs::write(sandbox.path("large"), vec![7; 300_000]).unwrap();
    sandbox.run(&["put", "small", "large", "p:dir"]).expect_code(0);

    // Each command is a process of its own: every look is after a restart.
    assert_eq!(sandbox.run(&["cat", "p:dir/small"]).expect_code(0).stdout, "small");
    sandbox.run(&["get", "p:dir/large", "copy"]).expect_code(0);
    assert_eq!(fs::read(sandbox.path("copy")).unwrap(), vec![7; 300_000]);
    let ls = sandbox.run(&["--json", "ls", "p:"]).expect_code(11);
    let keys: Vec<_> = ls.objects().iter().map(|o| o["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["dir/large", "dir/small"]);
    let status = sandbox.run(&["--json", "status", "p", "--check"]).expect_code(5);
    assert_eq!(status.objects()[0]["pending_ops"], 2);
    let flush = sandbox.run(&["flush", "p", "--timeout", "1"]).expect_code(124);
    assert!(flush.stderr.contains("acknowledged and safe"), "{flush:?}");

    sandbox.bring_remote_back();
    sandbox.run(&["flush", "p"]).expect_code(0);
    assert_eq!(fs::read(sandbox.path("remote/dir/large")).unwrap(), vec![7; 300_000]);
    assert_eq!(fs::read_to_string(sandbox.path("remote/dir/small")).unwrap(), "small");
    sandbox.run(&["status", "p", "--check"]).expect_code(0);
}

#[test]
fn a_delete_is_seen_at_once_and_reaches_the_remote() {
    let sandbox = Sandbox::with_bucket(&[]);
    fs::write(sandbox.path("f"), "1").unwrap();
    sandbox.run(&["put", "--wait", "f", "p:f"]).expect_code(0);
    sandbox.take_remote_down();
    sandbox.run(&["rm", "p:f"]).expect_code(0);
    sandbox.run(&["cat", "p:f"]).expect_code(3);
    assert_eq!(sandbox.run(&["ls", "p:"]).expect_code(11).stdout, "");
    sandbox.bring_remote_back();
    sandbox.run(&["flush", "p"]).expect_code(0);
    assert!(!sandbox.path("remote/f").exists());
}

#[test]
fn a_put_beyond_the_bound_fails_or_blocks_and_says_that_nothing_was_lost() {
    for (when_full, waits) in [("fail", false), ("block=3", true)] {
        let options = ["--max-pending", "16KiB", "--when-full", when_full];
        let sandbox = Sandbox::with_bucket(&options);
        sandbox.take_remote_down();
        fs::write(sandbox.path("f"), vec![1; 6_000]).unwrap();
        sandbox.run(&["put", "f", "p:1"]).expect_code(0);
        sandbox.run(&["put", "f", "p:2"]).expect_code(0);
        let full = sandbox.run(&["--json", "put", "f", "p:3"]).expect_code(6);
        let error: serde_json::Value =
            serde_json::from_str(full.stderr.lines().next().unwrap()).unwrap();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("nothing was lost"), "{message}");
        assert_eq!(error["durability"], "not accepted; nothing acknowledged before is affected");
        // Room that the drain makes is room for the next put.
        sandbox.bring_remote_back();
        if waits {
            sandbox.run(&["put", "f", "p:3"]).expect_code(0);
        } else {
            sandbox.run(&["flush", "p"]).expect_code(0);
            sandbox.run(&["put", "f", "p:3"]).expect_code(0);
        }
    }
}
