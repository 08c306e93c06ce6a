//! Starts one of the harness's servers, says where it is, and stops it when its input ends.
//!
//! For a person: `cargo run -p bucket-e2e --bin serve redis`. For the tests: a process to kill, to see
//! that its server dies with it.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("error: the harness starts servers on Linux only");
    std::process::exit(1);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::{Command, ExitCode};

    use bucket_e2e::{Ipfs, Postgres, Redis, S3, SecretService, Server, Service};

    pub(crate) fn main() -> ExitCode {
        match std::env::args().nth(1).as_deref() {
            Some("ipfs") => serve::<Ipfs>(|it| format!("url={}", it.url())),
            Some("postgres") => serve::<Postgres>(|it| format!("url={}", it.url())),
            Some("redis") => serve::<Redis>(|it| format!("port={}", it.port())),
            Some("s3") => serve::<S3>(|it| {
                let (access, secret) = (S3::ACCESS_KEY, S3::SECRET_KEY);
                format!("url={} access_key={access} secret_key={secret}", it.url())
            }),
            Some("secret-service") => serve::<SecretService>(|it| {
                let pairs = it.environment().map(|(name, value)| format!("{name}={value}"));
                pairs.join(" ")
            }),
            Some("sleep") => {
                let command = |_: &_| {
                    let mut command = Command::new("sh");
                    command.args(["-c", "sleep 1000 & sleep 1000"]);
                    command
                };
                let service = Service::builder("sleep", command).start();
                println!("id={}", service.id().unwrap_or_default());
                wait();
                ExitCode::SUCCESS
            }
            _ => {
                eprintln!("usage: serve ipfs|postgres|redis|s3|secret-service|sleep");
                ExitCode::from(2)
            }
        }
    }

    fn serve<S: Server>(describe: impl Fn(&S) -> String) -> ExitCode {
        if let Err(missing) = S::availability() {
            missing.skip();
            return ExitCode::FAILURE;
        }
        let mut server = S::start();
        for process in server.processes() {
            println!("id={}", process.id().unwrap_or_default());
        }
        println!("{}", describe(&server));
        wait();
        server.terminate();
        ExitCode::SUCCESS
    }

    /// Until the input ends.
    fn wait() {
        println!("ready");
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    }
}
