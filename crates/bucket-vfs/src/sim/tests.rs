//! What [`SimDisk`] may lose and what it must keep: each belief of the module's page, seen to hold and,
//! where it is a loss, seen to happen.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fault, FaultKind, SimDisk, Survivors};
use crate::{DurableWrites, LockError, OpenMode, VfsFile};

const SEEDS: std::ops::Range<u64> = 0..400;

fn create(disk: &SimDisk, path: &str) -> Arc<dyn VfsFile> {
    disk.mount().open(Path::new(path), OpenMode::CreateNew).unwrap()
}

/// A file with durable content and a durable name.
fn durable(disk: &SimDisk, path: &str, content: &[u8]) -> Arc<dyn VfsFile> {
    let file = create(disk, path);
    file.write_all_at(content, 0).unwrap();
    file.sync_data().unwrap();
    disk.mount().sync_dir(Path::new("/")).unwrap();
    file
}

fn read(disk: &SimDisk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.mount().open(Path::new(path), OpenMode::Read)?;
    let mut content = vec![0; file.len()? as usize];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// What `path` may hold after a crash: every outcome that the seeds show.
fn outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    let crash = |survivors| {
        let disk = disk.fork();
        disk.crash(survivors);
        read(&disk, path).ok()
    };
    SEEDS.map(Survivors::Random).chain([Survivors::All, Survivors::None]).map(crash).collect()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let disk = SimDisk::new();
    durable(&disk, "/f", b"safe");
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([Some(b"safe".to_vec())]));
}

#[test]
fn synced_content_without_a_synced_name_may_be_gone() {
    let disk = SimDisk::new();
    let file = create(&disk, "/f");
    file.write_all_at(b"safe?", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([None, Some(b"safe?".to_vec())]));
}

#[test]
fn a_name_without_synced_content_shows_an_empty_a_partial_or_a_zeroed_file() {
    let disk = SimDisk::new();
    let file = create(&disk, "/f");
    disk.mount().sync_dir(Path::new("/")).unwrap();
    file.write_all_at(&[7; 1_024], 0).unwrap();
    let seen = outcomes(&disk, "/f");
    let expected = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
    let all = [Some(vec![]), expected(0, 0), expected(0, 7), expected(7, 0), expected(7, 7)];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn a_sector_never_shows_a_write_without_the_earlier_one() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", &[0; 512]);
    file.write_all_at(b"A", 0).unwrap();
    file.write_all_at(b"B", 1).unwrap();
    let starts: BTreeSet<_> =
        outcomes(&disk, "/f").into_iter().map(|content| content.unwrap()[..2].to_vec()).collect();
    assert_eq!(starts, BTreeSet::from([b"\0\0".to_vec(), b"A\0".to_vec(), b"AB".to_vec()]));
}

#[test]
fn sectors_reach_the_disk_in_any_order() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", &[0; 1_024]);
    file.write_all_at(b"A", 0).unwrap();
    file.write_all_at(b"B", 512).unwrap();
    let second_alone =
        |content: Option<Vec<u8>>| content.is_some_and(|bytes| (bytes[0], bytes[512]) == (0, b'B'));
    assert!(outcomes(&disk, "/f").into_iter().any(second_alone));
}

#[test]
fn a_cut_may_be_lost_and_never_brings_back_what_was_beyond_it() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", &[1; 2_000]);
    file.set_len(100).unwrap();
    let lengths: BTreeSet<_> =
        outcomes(&disk, "/f").into_iter().map(|content| content.unwrap().len()).collect();
    assert_eq!(lengths, BTreeSet::from([100, 2_000]));
    file.sync_data().unwrap();
    file.set_len(2_000).unwrap();
    file.sync_data().unwrap();
    let content = outcomes(&disk, "/f").into_iter().next().flatten().unwrap();
    assert!(content[100..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_rename_is_atomic_and_may_be_lost_until_the_directory_is_synced() {
    let disk = SimDisk::new();
    durable(&disk, "/f", b"old");
    durable(&disk, "/f.tmp", b"new");
    disk.mount().rename(Path::new("/f.tmp"), Path::new("/f")).unwrap();
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([old, new.clone()]));
    for seed in SEEDS {
        let disk = disk.fork();
        disk.crash(Survivors::Random(seed));
        let replaced = read(&disk, "/f").unwrap() == b"new";
        assert_ne!(read(&disk, "/f.tmp").is_ok(), replaced, "half of a rename");
    }
    disk.mount().sync_dir(Path::new("/")).unwrap();
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([new]));
}

#[test]
fn a_removal_may_be_lost_and_the_removed_file_is_whole_then() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", b"content");
    disk.mount().remove_file(Path::new("/f")).unwrap();
    assert!(read(&disk, "/f").is_err());
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([None, Some(b"content".to_vec())]));
    // Still open, still usable.
    file.write_all_at(b"C", 0).unwrap();
}

#[test]
fn a_directory_that_was_not_synced_takes_its_files_with_it() {
    let disk = SimDisk::new();
    let vfs = disk.mount();
    vfs.create_dir(Path::new("/d")).unwrap();
    let file = create(&disk, "/d/f");
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir(Path::new("/d")).unwrap();
    assert!(outcomes(&disk, "/d/f").contains(&None));
    vfs.sync_dir(Path::new("/")).unwrap();
    assert!(!outcomes(&disk, "/d/f").contains(&None));
}

#[test]
fn a_rename_between_directories_waits_for_both_syncs() {
    let disk = SimDisk::new();
    let vfs = disk.mount();
    durable(&disk, "/f", b"x");
    vfs.create_dir(Path::new("/d")).unwrap();
    vfs.sync_dir(Path::new("/")).unwrap();
    vfs.rename(Path::new("/f"), Path::new("/d/f")).unwrap();
    vfs.sync_dir(Path::new("/d")).unwrap();
    assert!(outcomes(&disk, "/d/f").contains(&None));
    vfs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(outcomes(&disk, "/d/f"), BTreeSet::from([Some(b"x".to_vec())]));
}

#[test]
fn the_same_seed_leaves_the_same_disk_and_two_crashes_in_a_row_lose_no_more() {
    let disk = SimDisk::new();
    let file = create(&disk, "/f");
    for n in 0..20_u8 {
        file.write_all_at(&[n; 700], u64::from(n) * 650).unwrap();
    }
    let mut digests = BTreeSet::new();
    for seed in SEEDS {
        let (one, two) = (disk.fork(), disk.fork());
        one.crash(Survivors::Random(seed));
        two.crash(Survivors::Random(seed));
        assert_eq!(one.digest(), two.digest());
        digests.insert(one.digest());
        one.crash(Survivors::Random(seed + 1));
        assert_eq!(one.digest(), two.digest());
    }
    assert!(digests.len() > 100, "{} outcomes", digests.len());
}

#[test]
fn a_killed_process_leaves_its_writes_in_the_page_cache() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", b"old");
    file.write_all_at(b"new", 0).unwrap();
    disk.kill();
    assert_eq!(read(&disk, "/f").unwrap(), b"new");
    file.write_all_at(b"xxx", 0).unwrap_err();
    disk.crash(Survivors::None);
    assert_eq!(read(&disk, "/f").unwrap(), b"old");
}

#[test]
fn a_failed_sync_loses_what_it_should_have_written_and_a_second_one_does_not_bring_it_back() {
    for (kind, shown) in [(FaultKind::SyncErrorKept, b"new"), (FaultKind::SyncErrorDropped, b"old")]
    {
        let disk = SimDisk::new();
        let file = durable(&disk, "/f", b"old");
        file.write_all_at(b"new", 0).unwrap();
        disk.inject(Fault::new(kind));
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        disk.kill();
        assert_eq!(read(&disk, "/f").unwrap(), shown);
        disk.fork().crash(Survivors::All);
        disk.drop_caches();
        assert_eq!(read(&disk, "/f").unwrap(), b"old");
    }
}

#[test]
fn silent_faults_show_once_the_caches_are_gone() {
    for kind in [FaultKind::BitFlip, FaultKind::MisdirectedWrite, FaultKind::SyncIgnored] {
        let disk = SimDisk::new();
        let file = durable(&disk, "/f", &[0; 2_048]);
        disk.inject(Fault::new(kind));
        file.write_all_at(&[1; 512], 0).unwrap();
        file.sync_data().unwrap();
        let written = [vec![1; 512], vec![0; 1_536]].concat();
        assert_eq!(read(&disk, "/f").unwrap(), written, "{kind:?}");
        disk.crash(Survivors::None);
        assert_ne!(read(&disk, "/f").unwrap(), written, "{kind:?}");
    }
}

#[test]
fn faults_hit_the_operation_that_they_count_down_to() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", &[0; 64]);
    disk.inject(Fault::new(FaultKind::WriteError).after(1));
    file.write_all_at(b"1", 0).unwrap();
    file.write_all_at(b"2", 0).unwrap_err();
    file.write_all_at(b"3", 0).unwrap();
    assert_eq!(disk.armed_faults(), 0);
    disk.inject(Fault::new(FaultKind::ShortWrite));
    file.write_all_at(&[b'a'; 2_000], 0).unwrap_err();
    disk.inject(Fault::new(FaultKind::ReadError).on("/g"));
    let content = read(&disk, "/f").unwrap();
    assert_eq!((content.len(), &content[510..]), (512, &b"aa"[..]));
    disk.inject(Fault::new(FaultKind::ReadError).on("/f"));
    read(&disk, "/f").unwrap_err();
    disk.inject(Fault::new(FaultKind::ReadFlip));
    // Faults are the disk's and not the process's.
    disk.kill();
    assert_ne!(read(&disk, "/f").unwrap(), read(&disk, "/f").unwrap());
}

#[test]
fn a_full_disk_says_so_and_keeps_what_fitted() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", &[1; 100]);
    disk.set_capacity(Some(1_500));
    assert_eq!(disk.mount().available_bytes(Path::new("/")).unwrap(), 1_400);
    let error = file.write_all_at(&[2; 2_000], 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    // Whole sectors.
    assert_eq!(read(&disk, "/f").unwrap().len(), 1_024);
    file.write_all_at(&[3; 1_024], 0).unwrap();
    assert_eq!(file.set_len(1_501).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.set_capacity(None);
    file.set_len(1_501).unwrap();
    disk.inject(Fault::new(FaultKind::NoSpace));
    let error = disk.mount().open(Path::new("/g"), OpenMode::CreateNew).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_stalled_operation_waits_for_its_release() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", b"old");
    disk.inject(Fault::new(FaultKind::Stall));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| file.write_all_at(b"new", 0));
        disk.wait_until_stalled();
        assert_eq!(disk.durable_files()[0].1, b"old");
        disk.release();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(read(&disk, "/f").unwrap(), b"new");
    // A crash ends a stall as well.
    disk.inject(Fault::new(FaultKind::Stall));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| file.sync_data());
        disk.wait_until_stalled();
        disk.crash(Survivors::None);
        writer.join().unwrap().unwrap_err();
    });
}

#[test]
fn the_power_goes_off_during_an_operation_which_may_survive() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", b"old");
    let last = disk.operations() + 2;
    disk.power_off_at(last);
    file.write_all_at(b"one", 0).unwrap();
    file.write_all_at(b"two", 0).unwrap_err();
    assert!(disk.is_off());
    file.sync_data().unwrap_err();
    assert_eq!(disk.operations(), last);
    let seen: BTreeSet<_> = outcomes(&disk, "/f").into_iter().flatten().collect();
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"one".to_vec(), b"two".to_vec()]));
}

#[test]
fn the_history_holds_each_operation_while_it_is_under_way() {
    let disk = SimDisk::new();
    disk.keep_history();
    durable(&disk, "/f", b"x");
    let described: Vec<_> = (1..=disk.operations()).map(|n| disk.describe(n)).collect();
    assert_eq!(described, ["create /f", "write /f at 0, 1 bytes", "sync /f", "sync directory /"]);
    let at_sync = disk.at_operation(3).unwrap();
    assert!(outcomes(&at_sync, "/f").contains(&Some(vec![])), "the sync had not happened");
    assert!(disk.at_operation(0).is_none() && disk.at_operation(5).is_none());
}

#[test]
fn a_lock_excludes_until_it_is_dropped_or_the_machine_restarts() {
    let disk = SimDisk::new();
    let (vfs, path) = (disk.mount(), Path::new("/LOCK"));
    let held = vfs.lock(path, "first").unwrap();
    match disk.mount().lock(path, "second") {
        Err(LockError::Held { holder }) => assert_eq!(holder, "first"),
        other => panic!("{other:?}"),
    }
    drop(held);
    let held = vfs.lock(path, "third").unwrap();
    disk.kill();
    vfs.lock(path, "dead").unwrap_err();
    let next = disk.mount().lock(path, "fourth").unwrap();
    // The dead process's handle does not take the next one's lock away.
    drop(held);
    assert!(matches!(disk.mount().lock(path, "fifth"), Err(LockError::Held { .. })));
    drop(next);
}

#[test]
fn errors_are_those_of_a_file_system() {
    let vfs = SimDisk::new().mount();
    let kind = |result: io::Result<Arc<dyn VfsFile>>| result.unwrap_err().kind();
    let open = |path: &str, mode| vfs.open(Path::new(path), mode);
    assert_eq!(kind(open("/none", OpenMode::Read)), io::ErrorKind::NotFound);
    assert_eq!(kind(open("/none/f", OpenMode::CreateNew)), io::ErrorKind::NotFound);
    open("/f", OpenMode::CreateNew).unwrap();
    assert_eq!(kind(open("/f", OpenMode::CreateNew)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(open("/f/g", OpenMode::CreateNew)), io::ErrorKind::NotADirectory);
    assert_eq!(kind(open("/a/../f", OpenMode::Read)), io::ErrorKind::NotFound);
    assert_eq!(vfs.remove_file(Path::new("/none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    vfs.create_dir(Path::new("/d")).unwrap();
    assert_eq!(kind(open("/d", OpenMode::Read)), io::ErrorKind::IsADirectory);
    assert_eq!(vfs.read_dir(Path::new("/")).unwrap().len(), 2);
}

fn through(disk: &SimDisk, path: &str, writes: DurableWrites) -> Arc<dyn VfsFile> {
    disk.mount().open_durable(Path::new(path), writes).unwrap()
}

#[test]
fn a_durable_write_survives_every_crash_and_takes_nothing_else_along() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", &[0; 2_048]);
    file.write_all_at(&[1; 1_024], 0).unwrap();
    through(&disk, "/f", DurableWrites::Cached).write_all_at(b"safe", 600).unwrap();
    file.write_all_at(&[2; 512], 1_536).unwrap();
    for content in outcomes(&disk, "/f") {
        let content = content.unwrap();
        // With its sector come the earlier writes to it.
        assert_eq!((&content[512..600], &content[600..604]), (&[1; 88][..], &b"safe"[..]));
        assert_eq!(content[1_023], 1);
    }
    let others: BTreeSet<_> = outcomes(&disk, "/f")
        .into_iter()
        .map(|content| content.unwrap())
        .map(|c| (c[0], c[1_600]))
        .collect();
    assert_eq!(others, BTreeSet::from([(0, 0), (0, 2), (1, 0), (1, 2)]));
    file.sync_data().unwrap();
    let content = read(&disk, "/f").unwrap();
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([Some(content)]));
}

#[test]
fn a_durable_write_is_not_there_before_it_returns() {
    let disk = SimDisk::new();
    durable(&disk, "/f", &[0; 512]);
    disk.keep_history();
    through(&disk, "/f", DurableWrites::Cached).write_all_at(&[7; 512], 0).unwrap();
    let during = disk.at_operation(disk.operations()).unwrap();
    assert_eq!(outcomes(&during, "/f"), BTreeSet::from([Some(vec![0; 512]), Some(vec![7; 512])]));
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([Some(vec![7; 512])]));
}

#[test]
fn a_durable_write_beyond_the_end_makes_a_length_durable_that_no_earlier_one_takes_back() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/f", b"");
    file.write_all_at(&[1; 512], 0).unwrap();
    through(&disk, "/f", DurableWrites::Cached).write_all_at(&[2; 512], 512).unwrap();
    let expected = |first: u8| Some([[first; 512], [2; 512]].concat());
    assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([expected(0), expected(1)]));
}

#[test]
fn a_durable_write_that_fails_is_lost_and_only_the_page_cache_may_show_it() {
    let cases = [
        (DurableWrites::Cached, FaultKind::SyncErrorKept, 9),
        (DurableWrites::Cached, FaultKind::SyncErrorDropped, 0),
        (DurableWrites::Direct, FaultKind::SyncErrorKept, 0),
    ];
    let memory = vec![9; 2 * 4_096];
    let start = memory.as_ptr().addr().wrapping_neg() % 4_096;
    for (writes, kind, shown) in cases {
        let disk = SimDisk::new();
        durable(&disk, "/f", &[0; 4_096]);
        disk.inject(Fault::new(kind));
        let file = through(&disk, "/f", writes);
        file.write_all_at(&memory[start..start + 4_096], 0).unwrap_err();
        assert_eq!(read(&disk, "/f").unwrap(), [shown; 4_096], "{writes:?} {kind:?}");
        assert_eq!(outcomes(&disk, "/f"), BTreeSet::from([Some(vec![0; 4_096])]));
    }
}

#[test]
fn direct_input_and_output_is_refused_unless_all_of_it_is_aligned() {
    let disk = SimDisk::new();
    durable(&disk, "/f", &[0; 3 * 4_096]);
    let file = through(&disk, "/f", DurableWrites::Direct);
    let mut memory = vec![9; 3 * 4_096];
    let start = memory.as_ptr().addr().wrapping_neg() % file.alignment();
    let mut check = |from: usize, len: usize, offset: u64, fits: bool| {
        let buf = &mut memory[start + from..start + from + len];
        assert_eq!(file.write_all_at(buf, offset).is_ok(), fits, "{from} {len} {offset}");
        assert_eq!(file.read_at(buf, offset).is_ok(), fits, "{from} {len} {offset}");
    };
    check(0, 4_096, 4_096, true);
    check(512, 4_096, 4_096, false);
    check(0, 4_095, 4_096, false);
    check(0, 4_096, 512, false);
    assert_eq!(disk.operations(), 5);
}

/// Whoever tries again on a full disk needs the space of what was begun.
#[test]
fn a_replacement_that_does_not_fit_leaves_nothing_behind() {
    let disk = SimDisk::new();
    durable(&disk, "/f", b"old");
    disk.set_capacity(Some(1_500));
    let (vfs, path) = (disk.mount(), Path::new("/f"));
    let error = crate::write_atomic(&*vfs, path, &[1; 2_000]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(vfs.available_bytes(Path::new("/")).unwrap(), 1_497);
    assert_eq!(read(&disk, "/f").unwrap(), b"old");
}

#[test]
fn a_full_disk_takes_the_name_of_a_holder_away_and_not_the_lock() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(0));
    let (vfs, path) = (disk.mount(), Path::new("/LOCK"));
    let _held = vfs.lock(path, "first").unwrap();
    let refused = disk.mount().lock(path, "second");
    assert!(matches!(refused, Err(LockError::Held { holder }) if holder.is_empty()));
}

/// What is told of a step that fails.
type Failed = (&'static str, PathBuf, io::ErrorKind);

fn create_dir(disk: &SimDisk, path: &str) -> Result<bool, Failed> {
    crate::create_dir_durable(&*disk.mount(), Path::new(path), |step, path, error| {
        (step, path.to_owned(), error.kind())
    })
}

#[test]
fn a_directory_created_durably_survives_every_crash() {
    for path in ["/a", "relative"] {
        let disk = SimDisk::new();
        assert_eq!(create_dir(&disk, path), Ok(true));
        disk.crash(Survivors::None);
        assert_eq!(create_dir(&disk, &format!("{path}/below")), Ok(true));
        disk.crash(Survivors::None);
        let found = disk.mount().read_dir(Path::new(path)).unwrap();
        assert!(found.len() == 1 && found[0].name == "below", "{found:?}");
    }
}

/// Whoever made it may have died before its name was durable.
#[test]
fn a_directory_that_is_there_becomes_durable() {
    let disk = SimDisk::new();
    disk.mount().create_dir(Path::new("/a")).unwrap();
    assert_eq!(create_dir(&disk, "/a"), Ok(false));
    disk.crash(Survivors::None);
    assert!(disk.mount().read_dir(Path::new("/a")).unwrap().is_empty());
    durable(&disk, "/file", b"");
    assert_eq!(create_dir(&disk, "/file"), Ok(false));
}

#[test]
fn whoever_creates_a_directory_hears_which_step_failed_and_where() {
    let disk = SimDisk::new();
    let missing = PathBuf::from("/none/a");
    assert_eq!(create_dir(&disk, "/none/a"), Err(("create", missing, io::ErrorKind::NotFound)));
    disk.power_off_at(disk.operations() + 2);
    let failed = create_dir(&disk, "/a").unwrap_err();
    assert_eq!((failed.0, failed.1), ("sync", PathBuf::from("/")));
    let disk = SimDisk::new();
    disk.mount().create_dir(Path::new("/a")).unwrap();
    disk.power_off_at(disk.operations() + 1);
    assert_eq!(create_dir(&disk, "/a").unwrap_err().0, "sync");
}
