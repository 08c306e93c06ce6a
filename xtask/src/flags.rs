//! The command line: [`parse`] turns arguments into a [`Command`].

use crate::bench::Bench;
use crate::release;

/// What `cargo xtask help` prints.
pub(crate) const USAGE: &str = "\
usage: cargo xtask COMMAND

  bench [GROUP…]     our benches; --peers against other crates ([--quick|--list|--page|--compare OLD])
  ci [--full] [--keep-going]
                     every check, in the order of CI; stops at the first failure
  fmt [--check]      format the sources, or fail where they are not
  tidy               the rules that no other tool checks (docs/style.md, docs/architecture.md)
  lint               clippy with every feature, and each published crate with none
  test [-p CRATE]    unit, integration and documentation tests with every feature
  loom [FILTER]      models of interleavings, and twins of them with a bug that must be found
  doc                the documentation, warnings denied
  features [--powerset]
                     each published crate with each feature alone, with none and with all
  deny               licences, sources, duplicates and advisories of the dependencies
  drill              write, kill and check for 30 s with the real binary
  kill-wal [--kills N] [--seed S]
                     kill a process that writes to a log, 500 times or N, and check what is left
  power [FILE-SYSTEM…]
                     the log on ext4, xfs and btrfs: power lost at every flush, and crashing machines
  self-test          plants every bug there is to plant, and sees each of them caught
  fuzz [TARGET] [--seconds N]
                     each fuzz target for 30 s, or N; needs a nightly toolchain
  release --all --dry-run [--allow-dirty] [--no-verify]
                     package every published crate in order, build and check the packages
  services [--heavy] install the servers that the tests start; --heavy: the IPFS node as well
  sim [SCENARIO…]    policies in simulated outages: table, chart, report; --seeds N, else 20
  help               this text";

/// One command with its options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Bench(Bench),
    Ci { full: bool, keep_going: bool },
    Deny,
    Doc,
    Drill,
    Features { powerset: bool },
    Fmt { check: bool },
    Fuzz { target: Option<String>, seconds: u32 },
    Help,
    KillWal { kills: u32, seed: u64 },
    Lint,
    Loom { filter: Option<String> },
    Power { file_systems: Vec<String> },
    SelfTest,
    Release { all: bool, dry_run: bool, options: release::Options },
    Services { heavy: bool },
    Sim { args: Vec<String> },
    Test { package: Option<String> },
    Tidy,
}

/// Reads the arguments after the name of the program.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut args = args.into_iter();
    let mut command = match args.next().as_deref() {
        Some("bench") => Command::Bench(Bench::default()),
        Some("ci") => Command::Ci { full: false, keep_going: false },
        Some("deny") => Command::Deny,
        Some("doc") => Command::Doc,
        Some("drill") => Command::Drill,
        Some("features") => Command::Features { powerset: false },
        Some("fmt") => Command::Fmt { check: false },
        Some("fuzz") => Command::Fuzz { target: None, seconds: 30 },
        Some("help" | "--help" | "-h") => Command::Help,
        Some("kill-wal") => Command::KillWal { kills: 500, seed: 1 },
        Some("lint") => Command::Lint,
        Some("loom") => Command::Loom { filter: None },
        Some("power") => Command::Power { file_systems: Vec::new() },
        Some("self-test") => Command::SelfTest,
        Some("release") => {
            let options = release::Options { allow_dirty: false, verify: true };
            Command::Release { all: false, dry_run: false, options }
        }
        Some("services") => Command::Services { heavy: false },
        // The simulator reads its own.
        Some("sim") => return Ok(Command::Sim { args: args.collect() }),
        Some("test") => Command::Test { package: None },
        Some("tidy") => Command::Tidy,
        Some(other) => return Err(format!("no command {other:?}")),
        None => return Err("a command is missing".into()),
    };
    while let Some(arg) = args.next() {
        match (&mut command, arg.as_str()) {
            (Command::Bench(bench), "--peers") => bench.peers = true,
            (Command::Bench(bench), "--compare" | "--list" | "--page" | "--quick") => {
                bench.peers = true;
                let old = if arg == "--compare" {
                    Some(args.next().ok_or("--compare needs a report")?)
                } else {
                    None
                };
                bench.passed_on.push(arg);
                bench.passed_on.extend(old);
            }
            (Command::Bench(bench), group) if !group.starts_with('-') => {
                bench.groups.push(arg);
            }
            (Command::Ci { full, .. }, "--full") => *full = true,
            (Command::Ci { keep_going, .. }, "--keep-going") => *keep_going = true,
            (Command::Features { powerset }, "--powerset") => *powerset = true,
            (Command::Fmt { check }, "--check") => *check = true,
            (Command::KillWal { kills, .. }, "--kills") => {
                let number = args.next().and_then(|number| number.parse().ok());
                *kills = number.filter(|n| *n > 0).ok_or("--kills needs a number above 0")?;
            }
            (Command::KillWal { seed, .. }, "--seed") => {
                let number = args.next().and_then(|number| number.parse().ok());
                *seed = number.ok_or("--seed needs a number")?;
            }
            (Command::Loom { filter }, name) if filter.is_none() && !name.starts_with('-') => {
                *filter = Some(name.to_owned());
            }
            (Command::Fuzz { seconds, .. }, "--seconds") => {
                let number = args.next().and_then(|number| number.parse().ok());
                // The fuzzer takes 0 for no end.
                *seconds = number.filter(|n| *n > 0).ok_or("--seconds needs a number above 0")?;
            }
            (Command::Fuzz { target: target @ None, .. }, name) if !name.starts_with('-') => {
                *target = Some(name.to_owned());
            }
            (Command::Power { file_systems }, name) if !name.starts_with('-') => {
                file_systems.push(name.to_owned());
            }
            (Command::Release { all, .. }, "--all") => *all = true,
            (Command::Release { dry_run, .. }, "--dry-run") => *dry_run = true,
            (Command::Release { options, .. }, "--allow-dirty") => options.allow_dirty = true,
            (Command::Release { options, .. }, "--no-verify") => options.verify = false,
            (Command::Services { heavy }, "--heavy") => *heavy = true,
            (Command::Test { package }, "-p" | "--package") => {
                *package = Some(args.next().ok_or("-p needs the name of a crate")?);
            }
            _ => return Err(format!("no option {arg:?} here")),
        }
    }
    if matches!(command, Command::Release { all, dry_run, .. } if !(all && dry_run)) {
        return Err("release wants --all and --dry-run: publishing is by hand so far".into());
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_command_takes_its_own_options() {
        let ci = Command::Ci { full: true, keep_going: true };
        assert_eq!(parse_line("ci --keep-going --full"), Ok(ci));
        assert_eq!(parse_line("features --powerset"), Ok(Command::Features { powerset: true }));
        assert_eq!(parse_line("fmt --check"), Ok(Command::Fmt { check: true }));
        let kill = Command::KillWal { kills: 9, seed: 2 };
        assert_eq!(parse_line("kill-wal --seed 2 --kills 9"), Ok(kill));
        let power = Command::Power { file_systems: vec!["xfs".to_owned()] };
        assert_eq!(parse_line("power xfs"), Ok(power));
        let filter = Some("late".to_owned());
        assert_eq!(parse_line("loom late"), Ok(Command::Loom { filter }));
        assert_eq!(parse_line("services --heavy"), Ok(Command::Services { heavy: true }));
        let args = ["A1", "--seeds", "3"].map(str::to_owned).to_vec();
        assert_eq!(parse_line("sim A1 --seeds 3"), Ok(Command::Sim { args }));
        let package = Some("bucket-wal".to_owned());
        assert_eq!(parse_line("test -p bucket-wal"), Ok(Command::Test { package }));
    }

    #[test]
    fn a_bench_takes_groups_and_what_only_the_comparison_knows_implies_it() {
        let bench = |groups: &[&str], peers, passed_on: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            Ok(Command::Bench(Bench { groups: owned(groups), peers, passed_on: owned(passed_on) }))
        };
        assert_eq!(parse_line("bench"), bench(&[], false, &[]));
        assert_eq!(parse_line("bench wal --peers pool"), bench(&["wal", "pool"], true, &[]));
        assert_eq!(parse_line("bench --quick"), bench(&[], true, &["--quick"]));
        let compare = bench(&[], true, &["--compare", "old.json"]);
        assert_eq!(parse_line("bench --compare old.json"), compare);
    }

    #[test]
    fn fuzz_takes_a_target_and_a_time() {
        let fuzz = |target: Option<&str>, seconds| {
            Ok(Command::Fuzz { target: target.map(str::to_owned), seconds })
        };
        assert_eq!(parse_line("fuzz"), fuzz(None, 30));
        assert_eq!(parse_line("fuzz --seconds 5 decode"), fuzz(Some("decode"), 5));
        for line in ["fuzz a b", "fuzz --seconds", "fuzz --seconds 0", "fuzz --seconds x"] {
            assert!(parse_line(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn nothing_is_released_for_real() {
        let options = release::Options { allow_dirty: true, verify: false };
        assert_eq!(
            parse_line("release --all --dry-run --allow-dirty --no-verify"),
            Ok(Command::Release { all: true, dry_run: true, options })
        );
        for line in ["release", "release --all", "release --dry-run", "release bucket-wal"] {
            assert!(parse_line(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let lines = "|frob|tidy --check|test -p|ci extra|loom a b|loom -x|bench --x|bench --compare|kill-wal --kills 0|power -x";
        for line in lines.split('|') {
            assert!(parse_line(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_usage_names_every_command() {
        let is_command = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
        for line in USAGE.lines().filter(is_command) {
            let name = line.split_whitespace().next().unwrap();
            let error = parse_line(name).err().unwrap_or_default();
            assert!(!error.starts_with("no command"), "{name}");
        }
    }
}
