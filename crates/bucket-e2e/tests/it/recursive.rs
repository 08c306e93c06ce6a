//! A real tree of more than five thousand files, stored by a process that is killed again and again.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use bucket_e2e::Sandbox;
use serde_json::Value;

const FILES: usize = 5_200;

#[test]
fn a_tree_that_is_stored_by_a_process_killed_three_times_arrives_whole() {
    let sandbox = Sandbox::with_bucket(&[]);
    let source = sandbox.path("source");
    copy_real_files(&source);
    std::os::unix::fs::symlink("nowhere", source.join("a-link")).unwrap();
    let put = ["--json", "put", "-r", source.to_str().unwrap(), "p:"];

    let mut acknowledged: HashSet<String> = HashSet::new();
    for kill_after in [400, 900, 1_400] {
        let mut child = sandbox.spawn(&put);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut fresh = 0;
        for line in lines {
            let Ok(value) = serde_json::from_str::<Value>(&line.unwrap()) else { break };
            let Some(key) = value["key"].as_str() else { continue };
            if value["state"] == "acknowledged" {
                assert!(!acknowledged.contains(key), "{key} was acknowledged before");
                acknowledged.insert(key.to_owned());
                fresh += 1;
            }
            if fresh == kill_after {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "it was done before it was killed");
    }
    assert!(acknowledged.len() >= 2_700);

    let done = sandbox.run(&put).expect_code(0);
    let objects = done.objects();
    let unchanged: HashSet<_> = objects
        .iter()
        .filter(|value| value["state"] == "unchanged")
        .map(|value| value["key"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<_> = acknowledged.difference(&unchanged).collect();
    assert!(lost.is_empty(), "acknowledged and then unknown: {lost:?}");
    let skipped: Vec<_> = objects.iter().filter(|value| value["type"] == "skipped").collect();
    assert_eq!(skipped.len(), 1, "{skipped:?}");

    sandbox.run(&["flush", "p"]).expect_code(0);
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference", "--exclude=a-link"])
        .args([&source, &sandbox.path("remote")])
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));

    // Again, with the remote gone: what was acknowledged is known here.
    sandbox.take_remote_down();
    let done = sandbox.run(&put).expect_code(0);
    let summary = done.objects().pop().unwrap();
    assert_eq!(summary["unchanged"], FILES, "{summary}");
    assert_eq!(summary["acknowledged"], 0, "{summary}");
}

/// Copies real source files, of whatever this machine has built or installed.
fn copy_real_files(to: &Path) {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from);
    let mut count = 0;
    for (n, root) in [&cargo.join("registry/src"), Path::new("/usr/share")].iter().enumerate() {
        copy(root, &to.join(format!("tree-{n}")), &mut count);
    }
    assert_eq!(count, FILES, "this machine has too few files");
}

fn copy(from: &Path, to: &Path, count: &mut usize) {
    let mut entries: Vec<_> = fs::read_dir(from).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if kind.is_dir() {
            copy(&path, &to.join(name), count);
        } else if kind.is_file() && entry.metadata().is_ok_and(|file| file.len() < 1 << 20) {
            if *count == FILES {
                return;
            }
            fs::create_dir_all(to).unwrap();
            if fs::copy(&path, to.join(name)).is_ok() {
                *count += 1;
            }
        }
    }
}
