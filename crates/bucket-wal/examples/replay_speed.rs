//! How fast a log is replayed from a hot cache, beside a bare loop that reads the same bytes and checks
//! them in pieces of the same size: `cargo run --release -p bucket-wal --example replay_speed`.
//!
//! Arguments: directory, MiB of log, bytes of a record, records to a frame (512, 1024 and 1 by default).
//! Rounds alternate, and the median of each is printed, so that a machine with other work says something.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bucket_core::{Clock, SystemClock};
use bucket_wal::{Lsn, SyncPolicy, Wal};

const ROUNDS: usize = 9;
const CHUNK: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(|| std::env::temp_dir().join("replay-speed"), PathBuf::from);
    let mut number = |default: usize| args.next().map_or(Ok(default), |arg| arg.parse());
    let (mib, len, group) = (number(512)?, number(1_024)?, number(1)?);

    let options = Wal::options().sync_policy(SyncPolicy::None)?.write_through(true);
    let (wal, _) = options.open(&dir)?;
    let record: Vec<u8> = (0..len).map(|n| (n * 131) as u8).collect();
    while wal.stats().log_bytes < (mib as u64) << 20 {
        wal.append_batch(std::iter::repeat_n(record.as_slice(), group))?;
    }
    wal.sync()?;
    let paths: Vec<PathBuf> = std::fs::read_dir(&dir)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();

    type Way<'a> = Box<dyn Fn() -> Result<u64, Box<dyn Error>> + 'a>;
    let ways: Vec<(&str, Way<'_>)> = vec![
        ("bare loop, 1 thread", Box::new(|| bare(&paths, len, 1))),
        ("replay, 1 thread", Box::new(|| replay(&wal, 1))),
        ("bare loop, 2 threads", Box::new(|| bare(&paths, len, 2))),
        ("replay, 2 threads", Box::new(|| replay(&wal, 2))),
        ("reader, borrowed", Box::new(|| read(&wal, false))),
        ("reader, owned", Box::new(|| read(&wal, true))),
    ];
    let clock = SystemClock::new();
    let mut speeds = vec![Vec::new(); ways.len()];
    for round in 0..=ROUNDS {
        for ((_, way), speeds) in ways.iter().zip(&mut speeds) {
            let start = clock.now();
            let bytes = way()?;
            let took = clock.now().since(start).as_secs_f64();
            if round > 0 {
                speeds.push(bytes as f64 / took / 1e9);
            }
        }
    }
    for ((name, _), speeds) in ways.iter().zip(&mut speeds) {
        speeds.sort_by(f64::total_cmp);
        let (low, middle, high) = (speeds[0], speeds[ROUNDS / 2], speeds[ROUNDS - 1]);
        println!("{name:22} {middle:6.2} GB/s ({low:.2} to {high:.2})");
    }
    let middle = |at: usize| speeds[at][ROUNDS / 2];
    println!("one thread over the bare loop: {:.2}", middle(1) / middle(0));
    let (ours, bare) = (middle(3) / middle(1), middle(2) / middle(0));
    println!("two threads over one: {ours:.2}, the bare loop {bare:.2}; ratio {:.2}", ours / bare);

    let reads = 100_000;
    let start = clock.now();
    let newest = wal.durable_lsn().get();
    for n in 0..reads {
        black_box(wal.read(Lsn::new(n * 7_919 % newest + 1))?);
    }
    let took = clock.now().since(start).as_secs_f64();
    println!("one record by its number: {:.2} us", took * 1e6 / reads as f64);
    drop(ways);
    drop(wal);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn replay(wal: &Wal, threads: usize) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    wal.replay(Lsn::new(1)).threads(threads).ordered(|record| {
        sum += record.payload.len() as u64;
        Ok::<_, Infallible>(())
    })?;
    black_box(sum);
    Ok(wal.stats().log_bytes)
}

fn read(wal: &Wal, owned: bool) -> Result<u64, Box<dyn Error>> {
    let mut reader = wal.reader(Lsn::new(1));
    if owned {
        for record in reader {
            black_box(record?);
        }
    } else {
        while let Some(record) = reader.next_ref() {
            black_box(record?);
        }
    }
    Ok(wal.stats().log_bytes)
}

/// Reads MiB after MiB and checks each in pieces of `len` bytes; threads share the segments out.
fn bare(paths: &[PathBuf], len: usize, threads: usize) -> Result<u64, Box<dyn Error>> {
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> std::io::Result<()> {
        let mut buf = vec![0; CHUNK];
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes.fetch_add(check(path, &mut buf, len)?, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        work()?;
        for other in others {
            // The thread does nothing that panics.
            other.join().expect("no panic")?;
        }
        Ok::<_, std::io::Error>(())
    })?;
    Ok(bytes.into_inner() as u64)
}

fn check(path: &Path, buf: &mut [u8], len: usize) -> std::io::Result<usize> {
    let file = File::open(path)?;
    let mut at = 0;
    loop {
        let n = file.read_at(buf, at as u64)?;
        if n == 0 {
            return Ok(at);
        }
        for piece in buf[..n].chunks(len) {
            black_box(crc32fast::hash(piece));
        }
        at += n;
    }
}
