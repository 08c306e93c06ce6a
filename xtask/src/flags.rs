//! The command line: [`parse`] turns arguments into a [`Command`].

use crate::bench::Bench;

/// What `cargo xtask help` prints.
pub(crate) const USAGE: &str = "\
usage: cargo xtask COMMAND

  bench [GROUP…]     our benches; --peers against other crates ([--quick|--list|--page|--compare OLD])
  ci [--keep-going]  everything below, in the order of CI; stops at the first failure
  fmt [--check]      format the sources, or fail where they are not
  tidy               the rules that no other tool checks (docs/style.md, docs/architecture.md)
  lint               clippy with every feature, and each published crate with none
  test [-p CRATE]    unit, integration and documentation tests with every feature
  loom [FILTER]      models of interleavings, and twins of them with a bug that must be found
  doc                the documentation, warnings denied
  drill              write, kill and check for 30 s with the real binary
  self-test          plants every bug there is to plant, and sees each of them caught
  services [--heavy] install the servers that the tests start; --heavy: the IPFS node as well
  sim [SCENARIO…]    policies in simulated outages: table, chart, report; --seeds N, else 20
  help               this text";

/// One command with its options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Bench(Bench),
    Ci { keep_going: bool },
    Doc,
    Drill,
    Fmt { check: bool },
    Help,
    Lint,
    Loom { filter: Option<String> },
    SelfTest,
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
        Some("ci") => Command::Ci { keep_going: false },
        Some("doc") => Command::Doc,
        Some("drill") => Command::Drill,
        Some("fmt") => Command::Fmt { check: false },
        Some("help" | "--help" | "-h") => Command::Help,
        Some("lint") => Command::Lint,
        Some("loom") => Command::Loom { filter: None },
        Some("self-test") => Command::SelfTest,
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
            (Command::Ci { keep_going }, "--keep-going") => *keep_going = true,
            (Command::Fmt { check }, "--check") => *check = true,
            (Command::Loom { filter }, name) if filter.is_none() && !name.starts_with('-') => {
                *filter = Some(name.to_owned());
            }
            (Command::Services { heavy }, "--heavy") => *heavy = true,
            (Command::Test { package }, "-p" | "--package") => {
                *package = Some(args.next().ok_or("-p needs the name of a crate")?);
            }
            _ => return Err(format!("no option {arg:?} here")),
        }
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
        assert_eq!(parse_line("ci --keep-going"), Ok(Command::Ci { keep_going: true }));
        assert_eq!(parse_line("fmt --check"), Ok(Command::Fmt { check: true }));
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
    fn what_is_not_known_is_refused() {
        let lines =
            "|frob|tidy --check|test -p|ci extra|loom a b|loom -x|bench --x|bench --compare";
        for line in lines.split('|') {
            assert!(parse_line(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_usage_names_every_command() {
        for line in USAGE.lines().filter(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap();
            assert!(parse_line(name).is_ok(), "{name}");
        }
    }
}
