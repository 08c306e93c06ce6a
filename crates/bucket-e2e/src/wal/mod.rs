//! Proof of the log with real processes and real file systems.
//!
//! A worker process writes to a log and says what it was promised; a parent takes the process, the
//! space, the disk or the power away, opens what is left, and checks it against what was said. The
//! binary `wal` of this crate is the worker and, for a person, the parent.

mod full;
mod inject;
mod job;
mod kill;
mod line;
mod machine;
mod mount;
mod oracle;
mod power;
mod process;
mod record;
mod trace;
mod worker;
mod writes;

use std::process::ExitCode;

pub use self::full::{Full, SmallDisk, file_size_limit};
pub use self::inject::{Disturbance, Injections, Outcomes};
pub use self::kill::{Campaign, Tally};
pub use self::power::{PowerLoss, Replayed};

/// The binary `wal`.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("write") => return worker::main(&args[1..]),
        Some("kill") => kill(&args[1..]),
        Some("inject") => inject(&args[1..]),
        Some("machine") => machine(&args[1..]),
        Some("power") => power(&args[1..]),
        Some("list") => list(&args[1..]),
        _ => {
            eprintln!(
                "usage: wal kill [--kills N] [--seed S] | inject CALL error|errors|kill N | list DIR"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn kill(args: &[String]) -> Result<String, String> {
    let mut campaign = (500, 1);
    for pair in args.chunks(2) {
        let number = || pair.get(1).and_then(|value| value.parse().ok());
        let number = number().ok_or_else(|| format!("{} needs a number", pair[0]))?;
        match pair[0].as_str() {
            "--kills" => campaign.0 = number,
            "--seed" => campaign.1 = number,
            other => return Err(format!("no option {other:?}")),
        }
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let tally = Campaign::new(program, campaign.0, campaign.1).run()?;
    Ok(format!("{tally}\nseed {}", campaign.1))
}

fn inject(args: &[String]) -> Result<String, String> {
    let [call, how, most] = args else { return Err("inject CALL error|errors|kill N".to_owned()) };
    let most: u32 = most.parse().map_err(|_| format!("{most:?} is no number"))?;
    let how: fn(u32) -> Disturbance = match how.as_str() {
        "error" => Disturbance::Error,
        "errors" => Disturbance::ErrorsFrom,
        "kill" => Disturbance::Kill,
        other => return Err(format!("no disturbance {other:?}")),
    };
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let outcomes = Injections::new(program).sweep(call, (1..=most).map(how))?;
    Ok(format!("{call}: {outcomes}"))
}

/// Opens a log, which changes it, and lists what it holds.
fn list(args: &[String]) -> Result<String, String> {
    let [dir] = args else { return Err("list DIR".to_owned()) };
    let found = oracle::Found::open(dir.as_ref(), false).map_err(|why| why.to_string())?;
    Ok(format!("{found}{}", found.report))
}

/// Takes the power away at every flush, on one file system.
fn power(args: &[String]) -> Result<String, String> {
    let (file_system, bug) = match args {
        [file_system] => (file_system, None),
        [file_system, bug] => (file_system, Some(bug)),
        _ => return Err("power FILE-SYSTEM [BUG]".to_owned()),
    };
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut power = PowerLoss::new(program, file_system, 1);
    if let Some(bug) = bug {
        power = power.with_bug(bug);
    }
    Ok(format!("{file_system}: {}", power.run()?))
}

/// Crashes a virtual machine, so many times, with the kernel of an unpacked package.
fn machine(args: &[String]) -> Result<String, String> {
    let [kernel, file_system, crashes] = args else {
        return Err("machine KERNEL FILE-SYSTEM CRASHES".to_owned());
    };
    let crashes = crashes.parse().map_err(|_| format!("{crashes:?} is no number"))?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (kernel, file_system) = (kernel.into(), file_system.clone());
    let machine = machine::Machine { program, kernel, file_system, crashes, seed: 1 };
    Ok(format!("{}: {}", args[1], machine.run()?))
}
