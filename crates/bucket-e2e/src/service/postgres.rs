//! [`Postgres`]: a cluster of its own with the default durability: a committed row is on disk.

use std::path::PathBuf;
use std::process::Command;

use crate::missing::{Missing, find};
use crate::service::{Server, Service, client};

/// A PostgreSQL server; whoever comes from this machine is its superuser `postgres`.
#[derive(Debug)]
pub struct Postgres {
    service: Service,
}

impl Postgres {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.service.port()
    }

    /// What a client needs to connect.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port())
    }

    /// Runs SQL through `psql`; returns the rows without decoration, columns divided by `|`.
    ///
    /// # Errors
    ///
    /// What the server complains about, and when it does not answer within 10 s.
    pub fn query(&self, sql: &str) -> Result<String, String> {
        query(self.port(), sql)
    }
}

impl Server for Postgres {
    fn availability() -> Result<(), Missing> {
        match (program("postgres"), find("psql")) {
            (Some(_), Some(_)) => Ok(()),
            (None, _) => Err(Missing::package("postgres", "postgresql")),
            (_, None) => Err(Missing::package("psql", "postgresql")),
        }
    }

    fn start() -> Self {
        let service = Service::builder("postgres", |place| {
            // The server itself, not pg_ctl: the process has to be ours.
            let mut command = Command::new(program("postgres").unwrap_or_default());
            command.arg("-D").arg(place.data.join("cluster"));
            command.args(["-p", &place.ports[0].to_string()]);
            command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
            without_settings(command)
        });
        let service = service
            // It refuses to run as root.
            .user(USER)
            .prepare(|place| {
                let mut command = Command::new(program("initdb").unwrap_or_default());
                command.arg("-D").arg(place.data.join("cluster"));
                // What initdb writes need not survive this machine; the server syncs what follows.
                command.args(["--username", USER, "--auth", "trust", "--no-sync"]);
                command.args(["--encoding", "UTF8", "--locale", "C"]);
                let user = client::is_root().then_some(USER);
                let command = client::as_user(user, &without_settings(command));
                client::run(&command, b"", 120).map(|_| ())
            })
            .ports(1)
            .ready(|place| match query(place.ports[0], "SELECT 6 * 7")?.as_str() {
                "42" => Ok(()),
                other => Err(format!("6 * 7 is {other}")),
            })
            .start();
        Self { service }
    }

    fn processes(&mut self) -> Vec<&mut Service> {
        vec![&mut self.service]
    }
}

fn query(port: u16, sql: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--no-password"]);
    command.args(["--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1"]);
    command.args(["--port", &port.to_string(), "--username", USER, "--dbname", "postgres"]);
    command.args(["--command", sql]);
    client::run(&without_settings(command), b"", 10)
}

/// `command`, deaf to what the caller has set for servers of their own.
fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command
}

/// A program of the newest version here: Debian keeps them out of the search path.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions
        .filter_map(|entry| {
            let program = entry.path().join("bin").join(name);
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            program.is_file().then_some((version, program))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, program)| program).or_else(|| find(name))
}

const USER: &str = "postgres";
