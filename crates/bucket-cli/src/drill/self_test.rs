//! `bucket drill --self-test`: the drill once for each planted bug that the death of a process can show.
//! The drill must fail each time, or it could not be believed when it succeeds.
//!
//! What only a loss of power shows, the simulated disk shows: a killed process leaves its page cache.

use std::io::Write;
use std::process::ExitCode;

use bucket_store::Bug;

use super::{DrillArgs, parent, report};

const BUGS: &[(&str, Bug)] =
    &[("evict-undrained", Bug::EvictUndrained), ("skip-the-replay", Bug::SkipReplay)];

/// So many drills may miss a bug before it counts as not caught.
const ATTEMPTS: u64 = 3;

/// The bug of this name.
pub(super) fn bug(name: &str) -> Option<Bug> {
    BUGS.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug)
}

/// Runs the drills: 0 when each bug was caught, 7 when one was not, 2 when a drill could not be set up.
pub(super) fn run(args: &DrillArgs, seed: u64) -> ExitCode {
    let mut out = std::io::stdout();
    let mut all_caught = true;
    for &(name, _) in BUGS {
        // A few seconds may pass without an object that the bug takes; three times over, they do not.
        let mut caught = false;
        for seed in (0..ATTEMPTS).map(|nth| seed.wrapping_add(nth)) {
            let drill = DrillArgs {
                seed: Some(seed),
                duration: args.duration,
                json: false,
                report: None,
                input: None,
                self_test: false,
                bug: Some(name),
            };
            let outcome = match parent::run(&drill, seed) {
                Ok(outcome) => outcome,
                Err(why) => return report::set_up_failed(&why, seed, &drill),
            };
            if let Some(kept) = &outcome.kept {
                // The evidence of a bug that was planted helps nobody.
                let _ = std::fs::remove_dir_all(kept);
            }
            caught = outcome.acknowledged > 0 && !outcome.holds();
            let verdict = if caught { "caught" } else { "NOT CAUGHT" };
            let failed = report::failed(&outcome).join(", ");
            let _ = writeln!(out, "{verdict}: drill {name}: seed {seed}: {failed}");
            if caught {
                break;
            }
        }
        all_caught &= caught;
    }
    if all_caught { ExitCode::SUCCESS } else { ExitCode::from(7) }
}
