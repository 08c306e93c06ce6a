//! Kills a process that writes to a log, and checks what is left; see `bucket_e2e::wal`.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    bucket_e2e::wal::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("error: processes and disks are taken away on Linux only");
    std::process::exit(1);
}
