//! [`Running`]: a worker as a process of its own, what it says, and its end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bucket_core::{Clock as _, SystemClock};

use super::job::Job;
use super::line::Line;

/// A worker that runs. Ends with its parent, because nobody listens to it any more.
pub(super) struct Running {
    child: Child,
    /// Closed when the worker has hung up.
    lines: Receiver<String>,
    clock: SystemClock,
}

impl Running {
    /// Starts `program` with the job, as an argument of what `wrapper` names, if it names something.
    pub(super) fn start(program: &Path, job: &Job, wrapper: &[&str]) -> Result<Self, String> {
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.arg("write").args(job.args());
        Self::spawn(command)
    }

    pub(super) fn spawn(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            // Ends with the pipe.
            std::thread::spawn(move || {
                let (mut stdout, mut line) = (BufReader::new(stdout), Vec::new());
                while stdout.read_until(b'\n', &mut line).is_ok() {
                    // Half a line was not said.
                    let Some(whole) = line.strip_suffix(b"\n") else { break };
                    if sender.send(String::from_utf8_lossy(whole).into_owned()).is_err() {
                        break;
                    }
                    line.clear();
                }
            });
        }
        Ok(Self { child, lines, clock: SystemClock::new() })
    }

    /// Hears what the worker says until `limit` has passed, it has said `most` lines, or it has ended.
    /// True when it may say more.
    pub(super) fn listen(
        &mut self,
        limit: Duration,
        most: u64,
        mut hear: impl FnMut(&Line) -> Result<(), String>,
    ) -> Result<bool, String> {
        let start = self.clock.now();
        let mut heard = 0;
        while heard < most {
            let left = limit.saturating_sub(self.clock.now().since(start));
            match self.lines.recv_timeout(left) {
                Ok(text) => hear(&parse(&text)?)?,
                Err(RecvTimeoutError::Timeout) => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            heard += 1;
        }
        Ok(true)
    }

    /// SIGKILL; then hears what was said before.
    pub(super) fn kill(
        mut self,
        mut hear: impl FnMut(&Line) -> Result<(), String>,
    ) -> Result<ExitStatus, String> {
        let _ = self.child.kill();
        let status = self.child.wait().map_err(|error| error.to_string())?;
        while let Ok(text) = self.lines.recv() {
            hear(&parse(&text)?)?;
        }
        Ok(status)
    }

    /// Hears the worker out and waits for its end; kills it after two minutes.
    pub(super) fn finish(
        mut self,
        mut hear: impl FnMut(&Line) -> Result<(), String>,
    ) -> Result<ExitStatus, String> {
        if self.listen(Duration::from_secs(120), u64::MAX, &mut hear)? {
            let _ = self.kill(hear);
            return Err("the worker hangs".to_owned());
        }
        self.child.wait().map_err(|error| error.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where hearing it has failed it still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(text: &str) -> Result<Line, String> {
    text.parse().map_err(|()| format!("the worker says {text:?}"))
}
