//! Where and when something was measured, and with which versions: what a figure means nothing without.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::harness::Failure;

/// The conditions of the last measurement of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) date: String,
    pub(crate) disk: String,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// The load average over one minute before the group and after it.
    pub(crate) load: (f64, f64),
    pub(crate) seconds: f64,
}

/// The conditions by group.
pub(crate) type Runs = BTreeMap<String, Conditions>;

impl Conditions {
    /// The conditions now; `load` and `seconds` are known at the end.
    pub(crate) fn here(scratch: &Path) -> Self {
        Self {
            commit: commit(),
            cpu: cpu(),
            date: date(now_seconds()),
            disk: disk(scratch),
            kernel: kernel(),
            rustc: output("rustc", &["--version"]),
            load: (load(), f64::NAN),
            seconds: f64::NAN,
        }
    }
}

/// The load average over one minute; the machine is idle below 0.5.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

pub(crate) fn load_runs(path: &Path) -> Runs {
    // Beside the report and of no use without it: a file that cannot be read is as good as none.
    fs::read_to_string(path)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

pub(crate) fn save_runs(path: &Path, runs: &Runs) -> Result<(), Failure> {
    Ok(fs::write(path, serde_json::to_string_pretty(runs)? + "\n")?)
}

/// The version that the lock file has of the package `name`, the newest where there are several.
pub(crate) fn version_of(name: &str) -> Option<String> {
    version_in(LOCK, name)
}

fn version_in(lock: &str, name: &str) -> Option<String> {
    let head = format!("name = \"{name}\"\nversion = \"");
    let versions = lock.match_indices(&head).filter_map(|(at, _)| {
        let rest = &lock[at + head.len()..];
        rest.split('"').next()
    });
    versions
        .max_by_key(|version| {
            version
                .split(['.', '-', '+'])
                .map(|part| part.parse::<u64>().unwrap_or(0))
                .collect::<Vec<_>>()
        })
        .map(str::to_owned)
}

/// The versions that were compiled in.
const LOCK: &str = include_str!("../Cargo.lock");

fn commit() -> String {
    let hash = output("git", &["rev-parse", "--short", "HEAD"]);
    // The page that the run itself writes does not count.
    let changes = output("git", &["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"]);
    if changes.is_empty() { hash } else { format!("{hash} with changes") }
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}

fn kernel() -> String {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {}", text(uname.sysname()), text(uname.release()))
}

/// The device and the file system under `path`, as the table of mounts has it.
fn disk(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (device, folder, kind) = (words.next()?, words.next()?, words.next()?);
            path.starts_with(folder).then(|| (folder.len(), format!("{kind} on {device}")))
        })
        .max_by_key(|(len, _)| *len)
        .map_or_else(|| "unknown".to_owned(), |(_, disk)| disk)
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(crate::default_root()).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[expect(clippy::disallowed_methods, reason = "the date of a measurement")]
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// The day and minute in UTC, of seconds since 1970.
fn date(seconds: u64) -> String {
    let (mut days, minutes) = (seconds / 86_400, seconds / 60 % 1_440);
    let mut year = 1970;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", days + 1, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_one_of_the_lock_file_and_of_no_other_package() {
        let lock = "[[package]]\nname = \"retry-more\"\nversion = \"9.0.0\"\n\n\
                    [[package]]\nname = \"retry\"\nversion = \"2.9.0\"\n\n\
                    [[package]]\nname = \"retry\"\nversion = \"2.10.0\"\n";
        assert_eq!(version_in(lock, "retry").as_deref(), Some("2.10.0"));
        assert_eq!(version_in(lock, "retr"), None);
    }

    #[test]
    fn a_date_is_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_798_761_599), "2026-12-31 23:59 UTC");
        assert_eq!(date(1_709_251_200), "2024-03-01 00:00 UTC");
    }

    #[test]
    fn the_conditions_are_known() {
        let here = Conditions::here(Path::new("/"));
        for text in [&here.cpu, &here.date, &here.kernel, &here.disk] {
            assert!(!text.is_empty() && !text.contains("unknown"), "{here:?}");
        }
        assert!(here.load.0 >= 0.0, "{here:?}");
    }
}
