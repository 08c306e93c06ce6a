//! [`Service`]: one real server process with ports, a directory and a log of its own.
//!
//! It counts as started once it answered, its ports are its own, and it and its descendants are gone
//! when the value is dropped, when the test process is killed, and whenever a test says so. What a
//! server promises about its data is the server's matter.

mod client;
mod http;
mod ipfs;
mod port;
mod postgres;
mod process;
mod redis;
mod s3;
mod secret_service;
mod server;
mod signature;
mod socket;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use bucket_core::{Clock as _, SystemClock};
use rustix::process::Signal;
use tempfile::TempDir;

pub use ipfs::Ipfs;
pub use postgres::Postgres;
pub use redis::Redis;
pub use s3::S3;
pub use secret_service::SecretService;
pub use server::Server;
pub use socket::{Socket, sockets};

use port::Port;
use process::Tree;

/// A running server, or one that was stopped and can be started again.
///
/// While it is dropped by a test that fails, it prints the end of its log.
#[derive(Debug)]
pub struct Service {
    plan: Plan,
    place: Place,
    tree: Option<Tree>,
    ports: Vec<Port>,
    /// Where in the log the present run begins.
    run_starts_at: u64,
    _dir: TempDir,
}

/// Where a service lives: what its command and its probe may use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Place {
    /// A directory of its own, which stays over restarts and belongs to the user it runs as.
    pub data: PathBuf,
    /// Loopback ports of its own, as many as were asked for; the same after a restart.
    pub ports: Vec<u16>,
}

/// Why a service did not come up, with the end of its log.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotReady {
    /// The name of the service.
    pub name: &'static str,
    /// What went wrong.
    pub why: String,
    /// The last lines that it wrote.
    pub log: String,
}

/// Describes a service before it is started.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    plan: Plan,
    n_ports: usize,
    prepare: Step,
}

#[derive(Debug)]
struct Plan {
    name: &'static str,
    command: Maker,
    ready: Step,
    ready_within: Duration,
    stdin: Vec<u8>,
    user: Option<&'static str>,
}

impl Service {
    /// A service called `name`, run by what `command` returns.
    ///
    /// The command has to stay in the foreground. Its streams, and the way it is started, are set
    /// here.
    pub fn builder(
        name: &'static str,
        command: impl Fn(&Place) -> Command + Send + 'static,
    ) -> Builder {
        let plan = Plan {
            name,
            command: Maker(Box::new(command)),
            ready: Step(Box::new(|_| Ok(()))),
            ready_within: Duration::from_secs(30),
            stdin: Vec::new(),
            user: None,
        };
        Builder { plan, n_ports: 0, prepare: Step(Box::new(|_| Ok(()))) }
    }

    /// Where it lives.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its first port.
    ///
    /// # Panics
    ///
    /// When it was not built with one.
    pub fn port(&self) -> u16 {
        *self.place.ports.first().expect("the service was built with a port")
    }

    /// The id of its process, which is the id of its group; `None` while it is stopped.
    pub fn id(&self) -> Option<u32> {
        self.tree.as_ref().map(Tree::id)
    }

    /// The ids of its process and of all descendants that are alive.
    pub fn members(&self) -> BTreeSet<u32> {
        self.tree.as_ref().map(Tree::members).unwrap_or_default()
    }

    /// The members of the service whose process has, or had, this id.
    pub fn members_of(id: u32) -> BTreeSet<u32> {
        process::members(id)
    }

    /// Waits at most `limit` for it to end by itself.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let status = self.tree.as_mut()?.ended_within(limit)?;
        self.tree = None;
        Some(status)
    }

    /// Everything that it wrote, over all its runs.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Ends it and its descendants with SIGKILL, as a crash would, and waits until they are gone.
    pub fn kill(&mut self) {
        if let Some(mut tree) = self.tree.take() {
            tree.kill();
        }
    }

    /// Asks it to end with SIGTERM; kills it when it has not after `limit`. `None` when it was not
    /// running.
    pub fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut tree = self.tree.take()?;
        tree.signal_leader(Signal::TERM);
        // Stopped, it would not see the signal.
        tree.signal(Signal::CONT);
        tree.ended_within(limit).or_else(|| Some(tree.kill()))
    }

    /// Starts it again, on the same ports and data, after killing it if it runs.
    ///
    /// # Panics
    ///
    /// When it does not come up; shows its log.
    pub fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|not_ready| panic!("{not_ready}"));
    }

    /// Stops it as it stands: connections stay open, and nobody answers.
    pub fn pause(&mut self) {
        if let Some(tree) = &self.tree {
            tree.signal(Signal::STOP);
        }
    }

    /// Lets it go on after [`Service::pause`].
    pub fn resume(&mut self) {
        if let Some(tree) = &self.tree {
            tree.signal(Signal::CONT);
        }
    }

    fn launch(&mut self) -> Result<(), NotReady> {
        let start = || -> std::io::Result<(Tree, u64)> {
            let mut log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
            let command = (self.plan.command.0)(&self.place);
            writeln!(log, "--- {command:?}")?;
            let mut command = process::guarded(&command, self.plan.user);
            let at = log.metadata()?.len();
            let stdin = self.root().join("stdin");
            fs::write(&stdin, &self.plan.stdin)?;
            command.stdin(File::open(stdin)?);
            command.stdout(log.try_clone()?).stderr(log);
            Ok((Tree::start(command, self.root())?, at))
        };
        match start() {
            Ok((tree, at)) => (self.tree, self.run_starts_at) = (Some(tree), at),
            Err(error) => return Err(self.not_ready(format!("cannot be started: {error}"))),
        }
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), NotReady> {
        let clock = SystemClock::new();
        let deadline = clock.now().after(self.plan.ready_within);
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(status) = self.ended_within(pause) {
                return Err(self.not_ready(format!("ended before it was ready: {status}")));
            }
            let answer = (self.plan.ready.0)(&self.place).and_then(|()| self.owns_its_ports());
            let Err(why) = answer else { return Ok(()) };
            if clock.now() >= deadline {
                self.kill();
                let bound = self.plan.ready_within;
                return Err(self.not_ready(format!("not ready within {bound:?}: {why}")));
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Whoever answered on its ports, it must have been this service.
    fn owns_its_ports(&self) -> Result<(), String> {
        let sockets = sockets(&self.members());
        let listens = |port| sockets.iter().any(|s| s.listens && s.local.port() == port);
        match self.place.ports.iter().find(|port| !listens(**port)) {
            Some(port) => Err(format!("it does not listen on port {port}")),
            None => Ok(()),
        }
    }

    fn not_ready(&self, why: String) -> NotReady {
        NotReady { name: self.plan.name, why, log: self.log_tail() }
    }

    fn root(&self) -> &Path {
        self._dir.path()
    }

    fn log_path(&self) -> PathBuf {
        self.root().join("log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Whether the present run found a port taken.
    fn found_port_taken(&self) -> bool {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let at = usize::try_from(self.run_starts_at).unwrap_or(0).min(log.len());
        let log = String::from_utf8_lossy(&log[at..]).to_lowercase();
        log.contains("address already in use") || log.contains("eaddrinuse")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the end of the log of {}:\n{}", self.plan.name, self.log_tail());
        }
    }
}

impl Builder {
    /// Asks for `n` loopback ports. The service is ready only when it listens on all of them.
    pub const fn ports(mut self, n: usize) -> Self {
        self.n_ports = n;
        self
    }

    /// Runs it as this user, where the tests run as root.
    pub fn user(mut self, user: &'static str) -> Self {
        self.plan.user = client::is_root().then_some(user);
        self
    }

    /// What to do once before the first start, with the directory in place.
    pub fn prepare(mut self, step: impl Fn(&Place) -> Result<(), String> + Send + 'static) -> Self {
        self.prepare = Step(Box::new(step));
        self
    }

    /// The round trip that a ready server answers. It has to bound its own waiting.
    pub fn ready(mut self, probe: impl Fn(&Place) -> Result<(), String> + Send + 'static) -> Self {
        self.plan.ready = Step(Box::new(probe));
        self
    }

    /// How long each start may take until the probe succeeds; 30 s by default.
    pub const fn ready_within(mut self, limit: Duration) -> Self {
        self.plan.ready_within = limit;
        self
    }

    /// What it reads from its standard input at each start; nothing by default.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.plan.stdin = bytes.into();
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not come up; shows its log.
    pub fn start(self) -> Service {
        self.try_start().unwrap_or_else(|not_ready| panic!("{not_ready}"))
    }

    /// Starts it and waits until it answers. A port that was snatched away is replaced by another.
    ///
    /// # Errors
    ///
    /// When it cannot be prepared, ends, or does not answer in time; nothing is left running.
    pub fn try_start(self) -> Result<Service, NotReady> {
        let name = self.plan.name;
        let broken = |why: String| NotReady { name, why, log: String::new() };
        let dir = tempfile::Builder::new().prefix("bucket-e2e-").tempdir();
        let dir = dir.map_err(|error| broken(error.to_string()))?;
        let data = dir.path().join("data");
        client::create_folder(dir.path(), &data, self.plan.user).map_err(broken)?;
        let place = Place { data, ports: Vec::new() };
        (self.prepare.0)(&place).map_err(|why| broken(format!("cannot be prepared: {why}")))?;
        let mut service = Service {
            plan: self.plan,
            place,
            tree: None,
            ports: Vec::new(),
            run_starts_at: 0,
            _dir: dir,
        };
        let mut attempts = 0;
        loop {
            let ports: Result<Vec<_>, _> = (0..self.n_ports).map(|_| Port::take()).collect();
            service.ports = ports.map_err(|error| broken(error.to_string()))?;
            service.place.ports = service.ports.iter().map(Port::number).collect();
            attempts += 1;
            match service.launch() {
                Err(_) if service.found_port_taken() && attempts < MAX_ATTEMPTS => {}
                Err(not_ready) => return Err(not_ready),
                Ok(()) => return Ok(service),
            }
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n--- the end of its log:\n{}", self.name, self.why, self.log)
    }
}

impl std::error::Error for NotReady {}

struct Maker(Box<dyn Fn(&Place) -> Command + Send>);
struct Step(Box<dyn Fn(&Place) -> StepResult + Send>);
type StepResult = Result<(), String>;

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maker")
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step")
    }
}

const LOG_TAIL_LINES: usize = 40;
const MAX_ATTEMPTS: u32 = 5;
