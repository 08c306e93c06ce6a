//! The command `bucket`: a durable bucket over a remote that fails, from the shell.
//!
//! Every message about a failure says whether the data is safe. Results go to stdout, one JSON object a
//! line with `--json`; progress and messages go to stderr.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod drill;
mod exit;
mod output;
mod profiles;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::exit::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let out = Output::new(args.json);
    let result = match args.command {
        Command::Cat(args) => commands::get::cat(&args, &out),
        Command::Doctor(args) => commands::doctor::run(&args, &out),
        Command::Drill(mut drill) => {
            drill.json |= out.is_json();
            return drill::run(&drill);
        }
        Command::DrillWorker(args) => return drill::work(&args),
        Command::Flush(args) => commands::flush::run(&args, &out),
        Command::Get(args) => commands::get::run(&args, &out),
        Command::Init(args) => commands::init::run(&args, &out),
        Command::Ls(args) => commands::ls::run(&args, &out),
        Command::Put(args) => commands::put::run(&args, &out),
        Command::Rm(args) => commands::rm::run(&args, &out),
        Command::Stat(args) => commands::stat::run(&args, &out),
        Command::Status(args) => commands::status::run(&args, &out),
        Command::Wal(args) => commands::wal::run(&args, &out),
    };
    match result {
        Ok(code) => code,
        // Who reads us has gone, as in `bucket ls | head`: nothing to complain about.
        Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(failure) => out.fail(&failure),
    }
}
