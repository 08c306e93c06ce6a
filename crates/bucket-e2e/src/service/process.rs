//! [`Tree`]: a process with all that it started, killed by id and together.
//!
//! The leader gets a process group of its own, and the group dies when this process dies, however it
//! does. A descendant that leaves the group is found through its parent as long as both live; one that
//! also leaves its parent, as a daemon does, is not. Servers are therefore started in the foreground.
//! Of those here only PostgreSQL's children leave, and they end when their parent is gone.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

/// A running process and its descendants, or how it ended.
#[derive(Debug)]
pub(super) struct Tree {
    child: Child,
    leader: OwnedFd,
    /// Kills the group and clears up when its input, which is ours to write, ends.
    watcher: Child,
    ended: Option<ExitStatus>,
}

impl Tree {
    /// Starts what [`guarded`] returned, with streams set; `scratch` goes when this process dies.
    pub(super) fn start(command: Command, scratch: &Path) -> io::Result<Self> {
        let mut child = spawn_from_a_lasting_thread(command)?;
        let group = Pid::from_child(&child);
        let start = || Ok((pidfd_open(group, PidfdFlags::empty())?, watch(child.id(), scratch)?));
        match start() {
            Ok((leader, watcher)) => Ok(Self { child, leader, watcher, ended: None }),
            Err(error) => {
                // Nothing here could look after the process, so it must not stay.
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The id of the leader, which is that of its group as well.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The ids of what is alive: the leader, its group, its descendants.
    pub(super) fn members(&self) -> BTreeSet<u32> {
        if self.ended.is_some() { BTreeSet::new() } else { members(self.id()) }
    }

    /// Waits at most `limit` for the leader to end; the rest is then killed.
    pub(super) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() && ends_within(&self.leader, limit) {
            self.kill();
        }
        self.ended
    }

    /// Sends `signal` to every member.
    pub(super) fn signal(&self, signal: Signal) {
        if self.ended.is_some() {
            return;
        }
        // Until the leader is waited for, nobody else gets its id, nor that of its group.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
        for (_, fd) in open(&self.members()) {
            let _ = pidfd_send_signal(fd, signal);
        }
    }

    /// Sends `signal` to the leader alone.
    pub(super) fn signal_leader(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = pidfd_send_signal(&self.leader, signal);
        }
    }

    /// Kills every member and waits until all are gone.
    ///
    /// # Panics
    ///
    /// When one of them is still there after [`GONE_WITHIN`].
    pub(super) fn kill(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        // What is stopped does not fork: stop until a look finds nobody new.
        let mut seen = BTreeSet::new();
        loop {
            self.signal(Signal::STOP);
            let now = self.members();
            if now.is_subset(&seen) {
                break;
            }
            seen.extend(now);
        }
        let others = open(&seen);
        self.signal(Signal::KILL);
        for (_, fd) in &others {
            let _ = pidfd_send_signal(fd, Signal::KILL);
        }
        // While the leader is not waited for, no other group can have its id, and be hit instead.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let status = self.child.wait().expect("only this waits for the child");
        self.ended = Some(status);
        for (id, fd) in others {
            let gone = ends_within(&fd, GONE_WITHIN);
            // A second panic would hide the first.
            assert!(gone || std::thread::panicking(), "process {id} outlived SIGKILL");
        }
        status
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The living members of the tree under `leader`, by their ids.
pub(super) fn members(leader: u32) -> BTreeSet<u32> {
    let table: Vec<Row> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Row::read)
        .collect();
    let mut found = BTreeSet::from([leader]);
    loop {
        let before = found.len();
        for row in &table {
            if row.group == leader || found.contains(&row.parent) {
                found.insert(row.id);
            }
        }
        if found.len() == before {
            break;
        }
    }
    // A zombie runs no more; who has to wait for it may be slow or, for an orphan, not care.
    found.retain(|id| table.iter().any(|row| row.id == *id && row.state != 'Z'));
    found
}

/// One process as the kernel describes it.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: u32,
    state: char,
    parent: u32,
    group: u32,
}

impl Row {
    fn read(id: u32) -> Option<Self> {
        Self::parse(id, &std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    fn parse(id: u32, stat: &str) -> Option<Self> {
        // The name stands in parentheses and may contain some itself.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Self {
            id,
            state,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

/// Handles of the processes that still exist. Unlike an id, a handle never comes to mean another.
fn open(ids: &BTreeSet<u32>) -> Vec<(u32, OwnedFd)> {
    let handle = |&id: &u32| {
        let before = Row::read(id)?;
        let pid = Pid::from_raw(i32::try_from(id).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // An id that went to a stranger meanwhile has another parent, or at least another group.
        let now = Row::read(id)?;
        (now.parent == before.parent && now.group == before.group).then_some((id, fd))
    };
    ids.iter().filter_map(handle).collect()
}

fn ends_within(process: &OwnedFd, limit: Duration) -> bool {
    let timeout = Timespec::try_from(limit).ok();
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref())).is_ok_and(|ready| ready > 0)
}

/// `command` in a group of its own, so that the kernel kills it when the thread that starts it ends;
/// run as `user` when one is given, which takes root. Its streams have to be set afterwards.
pub(super) fn guarded(command: &Command, user: Option<&str>) -> Command {
    let mut guarded = Command::new("setpriv");
    guarded.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user {
        guarded.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    // The kernel says nothing when we died before it was asked, hence the look at the parent.
    let ours = std::process::id();
    guarded.args(["--", "sh", "-c", r#"[ "$PPID" = "$0" ] || exit 1; exec "$@""#]);
    guarded.arg(ours.to_string()).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        guarded.current_dir(dir);
    }
    guarded.process_group(0);
    guarded
}

/// Starts what kills `group` and removes `scratch` when this process is gone: the kernel itself would
/// kill the leader only.
fn watch(group: u32, scratch: &Path) -> io::Result<Child> {
    let mut watcher = Command::new("sh");
    watcher.args(["-c", WATCH, &group.to_string()]).arg(scratch);
    watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Not in our group, where whoever kills that would kill the watcher first.
    watcher.process_group(0).spawn()
}

type Job = (Command, Sender<io::Result<Child>>);

/// Starts `command` from a thread that lives as long as this process: what the kernel calls the
/// death of the parent is that of the thread, and the thread of a test ends early.
fn spawn_from_a_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, child) = channel();
    spawner.send((command, answer)).expect("the thread waits for jobs as long as this lives");
    child.recv().expect("the thread answers every job")
}

/// Tries more than once, because who was just told to end may still be writing.
const WATCH: &str = r#"
read -r _
kill -s KILL -- "-$0"
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && break; sleep 0.2; done
"#;

/// How long the kernel may take to end a process that it was told to kill.
const GONE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let row = Row::parse(7, "7 (a) S 9 (b)) R 3 5 5 0 -1").unwrap();
        assert_eq!(row, Row { id: 7, state: 'R', parent: 3, group: 5 });
        assert_eq!(Row::parse(7, "7 (cut"), None);
    }

    #[test]
    fn this_process_is_a_member_of_its_own_tree() {
        assert!(members(std::process::id()).contains(&std::process::id()));
    }
}
