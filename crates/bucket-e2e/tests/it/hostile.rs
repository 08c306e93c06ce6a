//! Damaged logs, full disks, second owners, odd keys: a typed error each time, and no panic.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bucket_e2e::{Sandbox, skip};

/// A bucket with three operations that are not drained.
fn with_pending() -> Sandbox {
    let sandbox = Sandbox::with_bucket(&[]);
    sandbox.take_remote_down();
    for name in ["1", "2", "3"] {
        fs::write(sandbox.path(name), name.repeat(1_000)).unwrap();
    }
    sandbox.run(&["put", "1", "2", "3", "p:"]).expect_code(0);
    sandbox.bring_remote_back();
    sandbox
}

/// The first segment of the log.
fn segment(sandbox: &Sandbox) -> PathBuf {
    let mut paths: Vec<_> = fs::read_dir(sandbox.path("local/wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    paths.sort();
    paths.remove(0)
}

/// What every damaged bucket must do: open, serve what can be read, hold the drain, say what is wrong
/// and what to do, and go on when it was accepted.
fn check_damaged(sandbox: &Sandbox, readable: &[&str]) {
    let doctor = sandbox.run(&["doctor", "p"]).expect_code(7);
    assert!(doctor.stdout.contains("--accept"), "{doctor:?}");
    let flush = sandbox.run(&["flush", "p"]).expect_code(7);
    assert!(flush.stderr.contains("doctor"), "{flush:?}");
    for name in readable {
        let cat = sandbox.run(&["cat", &format!("p:{name}")]).expect_code(0);
        assert_eq!(cat.stdout, name.repeat(1_000));
    }
    fs::write(sandbox.path("new"), "new").unwrap();
    sandbox.run(&["put", "new", "p:new"]).expect_code(0);
    assert!(!sandbox.path("remote/new").exists(), "the drain was not held");
    sandbox.run(&["doctor", "p", "--accept"]).expect_code(0);
    sandbox.run(&["flush", "p"]).expect_code(0);
    assert_eq!(fs::read_to_string(sandbox.path("remote/new")).unwrap(), "new");
    for name in readable {
        let path = sandbox.path("remote").join(name);
        assert_eq!(fs::read_to_string(path).unwrap(), name.repeat(1_000));
    }
    assert!(fs::read_dir(sandbox.path("local/quarantine")).unwrap().count() > 0);
}

#[test]
fn a_flipped_bit_costs_one_record_and_is_reported() {
    let sandbox = with_pending();
    let path = segment(&sandbox);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"22222222").unwrap();
    bytes[at + 100] ^= 1;
    fs::write(&path, bytes).unwrap();
    check_damaged(&sandbox, &["1", "3"]);
}

#[test]
fn a_truncated_segment_is_reported() {
    let sandbox = with_pending();
    let path = segment(&sandbox);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"22222222").unwrap();
    fs::write(&path, &bytes[..at + 500]).unwrap();
    check_damaged(&sandbox, &["1"]);
}

#[test]
fn an_empty_segment_is_reported() {
    let sandbox = with_pending();
    fs::write(segment(&sandbox), b"").unwrap();
    check_damaged(&sandbox, &[]);
}

#[test]
fn a_second_process_is_told_who_owns_the_bucket() {
    let sandbox = with_pending();
    // The owner waits for its stdin.
    let mut owner = sandbox.command(&["put", "-", "p:held"]).stdin(Stdio::piped()).spawn().unwrap();
    let pid = owner.id().to_string();
    // Wait until the lock names the owner; asking the bucket itself would get in its way.
    let lock = sandbox.path("local/wal/LOCK");
    while fs::read_to_string(&lock).unwrap() != format!("pid {pid}") {
        assert!(owner.try_wait().unwrap().is_none(), "the owner ended");
        std::thread::yield_now();
    }
    let locked = sandbox.run(&["ls", "p:"]).expect_code(9);
    assert!(locked.stderr.contains(&pid), "{locked:?}");
    let status = sandbox.run(&["--json", "status", "p"]).expect_code(0);
    assert_eq!(status.objects()[0]["owned"], true);
    owner.stdin.take().unwrap().write_all(b"content").unwrap();
    assert!(owner.wait().unwrap().success());
    assert_eq!(sandbox.run(&["cat", "p:held"]).expect_code(0).stdout, "content");
}

#[test]
fn odd_keys_are_refused_before_anything_is_written() {
    let sandbox = with_pending();
    let long = format!("p:{}", "k".repeat(1_025));
    for address in ["p:../x", "p:a/../b", "p:a//b", "p:/a", "p:a\nb", &long] {
        let refused = sandbox.run(&["put", "1", address]).expect_code(2);
        assert!(refused.stderr.contains("is no key"), "{refused:?}");
    }
    let address = OsStr::from_bytes(b"p:\xff\xfe");
    let refused = sandbox.run(&[OsStr::new("put"), OsStr::new("1"), address]).expect_code(2);
    assert!(refused.stderr.contains("UTF-8"), "{refused:?}");
    // A whole tree goes on around a name that cannot be a key, and lists it.
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("good"), "good").unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"bad-\xff")), "bad").unwrap();
    let put = sandbox.run(&["--json", "put", "-r", "tree", "p:t"]).expect_code(11);
    let failed = put.objects().into_iter().filter(|object| object["type"] == "failed").count();
    assert_eq!(failed, 1);
    assert_eq!(sandbox.run(&["cat", "p:t/good"]).expect_code(0).stdout, "good");
}

#[test]
fn a_full_disk_refuses_the_put_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let sandbox = Sandbox::new();
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&disk)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        return skip("mounting a small disk needs root");
    }
    let unmount = Unmount(disk.clone());
    let remote = sandbox.path("remote");
    let init = ["init", "p", "--dir", "disk/local", "--remote"];
    let remote = format!("fs:{}", remote.display());
    sandbox.run(&[&init[..], &[&remote]].concat()).expect_code(0);
    sandbox.take_remote_down();
    fs::write(sandbox.path("blob"), vec![5; 200_000]).unwrap();
    fs::write(sandbox.path("small"), vec![6; 20_000]).unwrap();
    let mut stored = Vec::new();
    for source in ["blob", "small"] {
        loop {
            let key = format!("p:{}", stored.len());
            let done = sandbox.run(&["put", source, &key]);
            if done.code == Some(0) {
                stored.push((key, source));
                assert!(stored.len() < 100, "the disk never got full");
                continue;
            }
            let done = done.expect_code(6);
            assert!(done.stderr.contains("nothing acknowledged is affected"), "{done:?}");
            break;
        }
    }
    for (key, source) in &stored {
        sandbox.run(&["get", key, "copy"]).expect_code(0);
        let same =
            fs::read(sandbox.path("copy")).unwrap() == fs::read(sandbox.path(source)).unwrap();
        assert!(same, "{key}");
    }
    sandbox.bring_remote_back();
    sandbox.run(&["flush", "p"]).expect_code(0);
    sandbox.run(&["put", "--wait", "blob", "p:again"]).expect_code(0);
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
