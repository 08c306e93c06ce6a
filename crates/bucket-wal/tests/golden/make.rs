//! Makes one log for each case, small, by what anybody can call.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use bucket_core::ByteCount;
use bucket_wal::{CheckpointState, Lsn, RecoveryPolicy, SegmentEnd, Wal, WalOptions};

/// One kind of log.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) lifecycle: bool,
    /// Its files are kept as they are, with all zeros.
    pub(crate) is_whole_file: bool,
    pub(crate) make: fn(&Path),
}

pub(crate) const CASES: &[Case] = &[
    Case { name: "closed", lifecycle: false, is_whole_file: false, make: closed },
    Case { name: "crashed", lifecycle: false, is_whole_file: true, make: crashed },
    Case { name: "damaged", lifecycle: false, is_whole_file: false, make: damaged },
    Case { name: "gap", lifecycle: false, is_whole_file: false, make: gap },
    Case { name: "lifecycle", lifecycle: true, is_whole_file: false, make: lifecycle },
    Case { name: "reused", lifecycle: false, is_whole_file: false, make: reused },
];

fn options() -> WalOptions {
    let options = Wal::options().segment_size(ByteCount::kib(64)).expect("it is the smallest");
    options.housekeeping_by_hand(true)
}

fn open(log: &Path, options: WalOptions) -> Wal {
    options.open(log).unwrap_or_else(|error| panic!("{}: {error}", log.display())).0
}

fn append(wal: &Wal, payloads: &[&[u8]]) -> Vec<Lsn> {
    payloads.iter().map(|payload| wal.append(payload).expect("the disk is healthy")).collect()
}

/// Segments with a seal and without, records that were taken back, epochs, a batch, a checkpoint.
fn closed(log: &Path) {
    let wal = open(log, options());
    append(&wal, &[b"first", b"", b"third"]);
    wal.append_batch([&b"of a batch"[..], &[b'b'; 1_000], b"and its end"]).expect("it is healthy");
    wal.seal().expect("the disk is healthy");
    append(&wal, &[b"seventh", b"eighth", b"taken back"]);
    wal.truncate_after(Lsn::new(8)).expect("no checkpoint needs it");
    append(&wal, &[b"ninth"]);
    wal.set_replicated(Lsn::new(4)).expect("they are there");
    wal.checkpoint(Lsn::new(3), b"").expect("the disk is healthy");
    wal.begin_epoch(7).expect("the disk is healthy");
    append(&wal, &[b"tenth"]);
    wal.close().expect("the disk is healthy");
}

/// A process that died in a write: the newest frame is there in part, with zeros for the rest.
fn crashed(log: &Path) {
    let wal = open(log, options());
    append(&wal, &[b"in a segment with a seal"]);
    wal.seal().expect("the disk is healthy");
    append(&wal, &[b"second", b"the last that was acknowledged"]);
    let newest = Wal::options().inspect(log).expect("it can be read").segments;
    let newest = newest.last().expect("there are two").clone();
    append(&wal, &[&[b't'; 3_000]]);
    drop(wal);
    let mut bytes = fs::read(&newest.path).expect("it is there");
    bytes[newest.end_offset as usize + 1_024..].fill(0);
    fs::write(&newest.path, bytes).expect("the disk is healthy");
}

/// A byte of a record in the middle is not what was written.
fn damaged(log: &Path) {
    let wal = open(log, options());
    append(&wal, &[b"before the damage", b"in the damage", b"behind the damage"]);
    wal.seal().expect("the disk is healthy");
    append(&wal, &[b"in another segment"]);
    wal.close().expect("the disk is healthy");
    hurt(log, b"in the damage");
}

/// Numbers were left out, because their records were lost to damage.
fn gap(log: &Path) {
    damaged(log);
    let wal = open(log, options().recovery(RecoveryPolicy::Salvage));
    append(&wal, &[b"after the repair"]);
    wal.close().expect("the disk is healthy");
    // What is kept of the damage is none of the log's.
    fs::remove_dir_all(log.join("quarantine")).expect("damage was kept there");
}

/// Operations that are done, given up, pending, and pending and copied forward; two checkpoints.
fn lifecycle(log: &Path) {
    let wal = open(log, options().lifecycle(true));
    let old = append(&wal, &[b"pending since long", b"done", b"given up"]);
    let settle = |op, why: Option<&str>| {
        let settled = why.map_or_else(|| wal.complete(op), |why| wal.abort(op, why));
        settled.and_then(|ticket| ticket.wait()).expect("it is pending");
    };
    settle(old[1], None);
    settle(old[2], Some("it was of no use"));
    for _ in 0..12 {
        let much = append(&wal, &[&[b'x'; 20_000]]);
        settle(much[0], None);
    }
    let from = wal.durable_lsn();
    wal.checkpoint(from, b"what the application knows").expect("the disk is healthy");
    wal.housekeep().expect("the disk is healthy");
    let new = append(&wal, &[b"pending", b"done before the end", b"given up before the end"]);
    let elsewhere = CheckpointState::reference("store://states/2", 1 << 33, [0x5a; 32]);
    wal.checkpoint(new[0], elsewhere).expect("the disk is healthy");
    settle(new[1], None);
    settle(new[2], Some("too late"));
    drop(wal);
}

/// The newest segment is in the file of an older one, whose frames are behind its end.
fn reused(log: &Path) {
    let wal = open(log, options().keep_checkpoints(1).expect("one is enough"));
    for _ in 0..4 {
        append(&wal, &[&[b'o'; 20_000]]);
    }
    wal.checkpoint(wal.durable_lsn(), b"").expect("the disk is healthy");
    wal.seal().expect("the disk is healthy");
    append(&wal, &[b"over what was there", &[b'n'; 1_000]]);
    assert_eq!(wal.stats().reused, 1);
    drop(wal);
}

/// Changes a byte of a record.
fn hurt(log: &Path, payload: &[u8]) {
    for path in segments(log) {
        let mut bytes = fs::read(&path).expect("it is there");
        let found = bytes.windows(payload.len()).position(|window| window == payload);
        if let Some(at) = found {
            bytes[at + 3] ^= 0x20;
            fs::write(&path, bytes).expect("the disk is healthy");
            return;
        }
    }
    panic!("no segment holds the record");
}

fn segments(log: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(log).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|name| name == "wal")).collect();
    paths.sort();
    paths
}

/// Leaves out what is none of the log's, and of the zeros ahead what says nothing: all behind a segment
/// that is followed by another, and what is beyond the 32 KiB that have to be behind the newest record.
pub(crate) fn pack(log: &Path, is_whole_file: bool) {
    fs::remove_file(log.join("LOCK")).expect("the log was open");
    if is_whole_file {
        return;
    }
    let looked_at = Wal::options().inspect(log).expect("it can be read");
    let count = looked_at.segments.len();
    for (nth, segment) in looked_at.segments.iter().enumerate() {
        let next = looked_at.segments[nth + 1..].iter().filter_map(|segment| segment.header);
        let counts = next.filter(|header| header.prev_segment_id == segment.id);
        let len = match counts.map(|header| header.prev_data_len).next() {
            Some(len) => len,
            None if nth + 1 == count && segment.end == SegmentEnd::Clean => {
                (segment.end_offset + (32 << 10)).next_multiple_of(4 << 10)
            }
            None => segment.file_bytes,
        };
        let file = OpenOptions::new().write(true).open(&segment.path).expect("it is there");
        file.set_len(len.min(segment.file_bytes)).expect("it becomes shorter");
    }
}
