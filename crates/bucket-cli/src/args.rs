//! The grammar of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use bucket_core::ByteCount;

use crate::drill::{DrillArgs, WorkerArgs};

/// A durable bucket over a remote that fails: puts succeed while it is down, and nothing acknowledged is
/// lost.
#[derive(Debug, Parser)]
#[command(name = "bucket", version, propagate_version = true)]
#[command(after_help = "An ADDRESS is PROFILE:KEY, for example photos:2026/a.jpg.\n\
    Exit codes: 0 ok, 1 other, 2 usage or settings, 3 not found, 4 condition false, 5 temporary, 6 full, \
    7 damage or loss, 8 attention needed, 9 in use by another process, 10 credentials, 11 partial, \
    124 time-out.")]
pub(crate) struct Args {
    /// Write one JSON object a line to stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write an object to stdout.
    Cat(CatArgs),
    /// Look at a bucket's health; accept damage that was found; tune the log to the disk.
    Doctor(DoctorArgs),
    /// Run the fire drill: kill a bucket again and again while its remote fails, and count what is lost.
    Drill(DrillArgs),
    /// The bucket that the drill kills.
    #[command(hide = true)]
    DrillWorker(WorkerArgs),
    /// Wait until the remote has everything that was acknowledged.
    Flush(FlushArgs),
    /// Read an object into a file.
    Get(GetArgs),
    /// Create a bucket and give it a profile name.
    Init(InitArgs),
    /// List objects, also those on their way to the remote (+) and refused ones (!).
    Ls(LsArgs),
    /// Store files, or `-` for stdin. Drains as it goes, and exits once all is acknowledged.
    Put(PutArgs),
    /// Remove objects.
    Rm(RmArgs),
    /// Describe an object.
    Stat(StatArgs),
    /// Say what a bucket is doing.
    Status(StatusArgs),
    /// Look into a log, bring one over.
    Wal(WalArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The profile name; addresses are PROFILE:KEY.
    pub(crate) profile: String,
    /// The local directory that keeps what is acknowledged.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The remote: fs:PATH for a directory.
    #[arg(long)]
    pub(crate) remote: String,
    /// How many bytes may wait for the remote, for example 512MiB.
    #[arg(long, default_value = "1 GiB")]
    pub(crate) max_pending: ByteCount,
    /// What a put does when that is reached: block=SECONDS or fail.
    #[arg(long, default_value = "block=30")]
    pub(crate) when_full: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// The files, or directories with -r, or - for stdin; then the ADDRESS.
    #[arg(required = true, num_args = 2..)]
    pub(crate) paths: Vec<PathBuf>,
    /// Store directories: every regular file below them.
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Wait until the remote has everything.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Store also what was acknowledged before with the same content.
    #[arg(long)]
    pub(crate) always: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// PROFILE:KEY.
    pub(crate) address: String,
    /// The file; by default the last part of the key, in the current directory.
    pub(crate) destination: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CatArgs {
    /// PROFILE:KEY.
    pub(crate) address: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// PROFILE: or PROFILE:PREFIX.
    pub(crate) address: String,
    /// Show sizes, states and versions.
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Whom to ask: auto (the remote, or what is known here when it does not answer), local, strict.
    #[arg(long, default_value = "auto")]
    pub(crate) mode: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// PROFILE:KEY, one or more.
    #[arg(required = true)]
    pub(crate) addresses: Vec<String>,
    /// Wait until the remote has removed them.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatArgs {
    /// PROFILE:KEY.
    pub(crate) address: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The profile.
    pub(crate) profile: String,
    /// Exit with 5, 7 or 8 when something is wrong or waiting.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FlushArgs {
    /// The profile.
    pub(crate) profile: String,
    /// Give up after this many seconds; by default wait for as long as it takes.
    #[arg(long)]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The profile.
    pub(crate) profile: String,
    /// Accept the damage: keep copies of the damaged files and drain what can be read.
    #[arg(long)]
    pub(crate) accept: bool,
    /// Measure the disk for two seconds, and store by which sync method the log writes from then on.
    #[arg(long, conflicts_with = "accept")]
    pub(crate) tune: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WalArgs {
    #[command(subcommand)]
    pub(crate) command: WalCommand,
}

/// None of these takes the lock of the log that it reads, or changes anything in it.
#[derive(Debug, Subcommand)]
pub(crate) enum WalCommand {
    /// Write the records that can be read as JSON lines, with their content in base64.
    Export(WalExportArgs),
    /// Bring every operation of a log of ipfs_kit_py's DurableWAL over into a new log.
    ImportLegacy(WalImportArgs),
    /// Show segments, checkpoints and damage. Works beside a living owner.
    Inspect(WalDirArgs),
    /// Make a damaged log whole: with what is readable, or with what comes before the damage.
    Repair(WalRepairArgs),
    /// Show the newest records, and with --follow those that come.
    Tail(WalTailArgs),
    /// Check every byte that counts, and say whether the log is whole.
    Verify(WalDirArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct WalDirArgs {
    /// The directory of a log, or of a bucket.
    pub(crate) dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WalRepairArgs {
    /// The directory of a log that nobody has open.
    pub(crate) dir: PathBuf,
    /// Do it. Without this nothing is changed, and the damage is listed.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Where all files are copied to before anything is changed: a new directory.
    #[arg(long, value_name = "NEWDIR")]
    pub(crate) backup: Option<PathBuf>,
    /// Drop what comes behind the first damage, also what is readable of it.
    #[arg(long)]
    pub(crate) point_in_time: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WalExportArgs {
    /// The directory of a log, or of a bucket.
    pub(crate) dir: PathBuf,
    /// The first record.
    #[arg(long, value_name = "LSN", default_value_t = 1)]
    pub(crate) from: u64,
    /// The last record; by default the newest.
    #[arg(long, value_name = "LSN")]
    pub(crate) to: Option<u64>,
    /// A new file to write to; by default stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WalTailArgs {
    /// The directory of a log, or of a bucket.
    pub(crate) dir: PathBuf,
    /// The first record; by default the last ten are shown.
    #[arg(long, value_name = "LSN")]
    pub(crate) from: Option<u64>,
    /// Go on with what is written, until interrupted. A crash may take back what is not durable yet.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WalImportArgs {
    /// The directory of the old log, with segments/ and checkpoints/.
    pub(crate) dir: PathBuf,
    /// The directory of the new log: new or empty.
    #[arg(long, value_name = "LOGDIR", required_unless_present = "dry_run")]
    pub(crate) to: Option<PathBuf>,
    /// Only say what would be brought over.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
