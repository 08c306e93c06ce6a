//! `cargo xtask bench [GROUP…] [--peers]`: our own measurements, or those against other crates.
//!
//! The latter are a workspace of their own, which builds and runs here in its own folder and writes
//! target/bench/report.json and docs/benchmarks.md.

use crate::cmd::Cmd;
use crate::{Outcome, Result};

/// What to measure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bench {
    pub(crate) groups: Vec<String>,
    pub(crate) peers: bool,
    /// Options of the comparison with peers, passed on as they are.
    pub(crate) passed_on: Vec<String>,
}

pub(crate) fn run(bench: &Bench) -> Result {
    if bench.peers {
        peers(bench).run()?;
    } else {
        ours(&bench.groups)?.run()?;
    }
    Ok(Outcome::Done)
}

fn ours(groups: &[String]) -> Result<Cmd> {
    let mut cmd = Cmd::cargo("bench --locked -p bucket-benches");
    for group in groups {
        // A row belongs to a group, and ours have no rows.
        let group = group.split('.').next().unwrap_or_default();
        if !OURS.contains(&group) {
            return Err(format!("no group {group:?}: there are {}", OURS.join(", ")).into());
        }
        cmd = cmd.args(["--bench", group]);
    }
    Ok(cmd)
}

fn peers(bench: &Bench) -> Cmd {
    let run = "run --locked --release --manifest-path benches/peers/Cargo.toml --";
    let mut cmd = Cmd::cargo(run);
    for (name, value) in PEERS_ENV {
        cmd = cmd.env(name, value);
    }
    cmd.args(["--root", "."])
        .args(bench.passed_on.iter().map(String::as_str))
        .args(bench.groups.iter().map(String::as_str))
}

/// As in benches/peers/.cargo/config.toml, which cargo reads only when it runs there.
const PEERS_ENV: &[(&str, &str)] = &[
    ("LIBSQLITE3_FLAGS", "-DHAVE_FDATASYNC=1"),
    ("WALRUS_DATA_DIR", "target/bench/tmp/walrus"),
    ("WALRUS_QUIET", "1"),
];

const OURS: &[&str] = &["breaker", "pool", "retry", "store", "vocabulary", "wal"];

#[cfg(test)]
mod tests {
    use super::*;

    use crate::root;

    #[test]
    fn a_group_or_a_row_of_it_chooses_a_bench() {
        let groups = ["wal.8t".to_owned(), "pool".to_owned()];
        let cmd = ours(&groups).unwrap().to_string();
        assert!(
            cmd.ends_with("bench --locked -p bucket-benches --bench wal --bench pool"),
            "{cmd}"
        );
        assert!(ours(&["frob".to_owned()]).is_err());
    }

    #[test]
    fn every_bench_of_ours_can_be_chosen() {
        for name in OURS {
            assert!(root().join(format!("benches/{name}.rs")).exists(), "{name}");
        }
    }

    #[test]
    fn groups_and_options_reach_the_comparison() {
        let bench = Bench {
            groups: vec!["wal".to_owned()],
            peers: true,
            passed_on: vec!["--quick".to_owned()],
        };
        let cmd = peers(&bench).to_string();
        assert!(cmd.ends_with("-- --root . --quick wal"), "{cmd}");
    }

    #[test]
    fn peers_find_the_same_environment_from_here_and_from_their_folder() {
        let config = root().join("benches/peers/.cargo/config.toml");
        let config = std::fs::read_to_string(config).unwrap();
        for (name, value) in PEERS_ENV {
            assert!(config.contains(&format!("{name} = \"{value}\"")), "{name}: {config}");
        }
    }
}
