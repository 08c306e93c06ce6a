//! [`Cmd`]: a process to run, printed before it runs, failed unless it succeeds.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::Result;

/// One process. Runs in the root of the workspace, without a shell.
#[derive(Clone, Debug)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Cmd {
    /// The cargo that runs us, with the arguments in `line`, which are separated by spaces.
    pub(crate) fn cargo(line: &str) -> Self {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { program, args: Vec::new(), env: Vec::new() }.args(line.split_whitespace())
    }

    /// Any other program.
    pub(crate) fn new(program: &str) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    /// More arguments.
    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// An environment variable for this process alone.
    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Prints the command, runs it and waits; fails unless it exits with 0.
    pub(crate) fn run(&self) -> Result<()> {
        println!("$ {self}");
        let status =
            self.command().status().map_err(|error| format!("cannot run `{self}`: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("`{self}`: {status}").into()) }
    }

    /// Prints the command and runs it; returns whether it exits with 0 and what it wrote to standard
    /// output. Standard error goes straight through.
    pub(crate) fn capture(&self) -> Result<(bool, String)> {
        println!("$ {self}");
        let output = self.command().stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("cannot run `{self}`: {error}"))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Runs it silently; true when it exits with 0.
    pub(crate) fn succeeds_silently(&self) -> bool {
        self.command().output().is_ok_and(|output| output.status.success())
    }

    /// Runs it silently and returns what it wrote to its standard output; fails unless it exits with
    /// 0, then with what it wrote to its standard error.
    pub(crate) fn output(&self) -> Result<String> {
        let output =
            self.command().output().map_err(|error| format!("cannot run `{self}`: {error}"))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`{self}`: {}\n{}", output.status, stderr.trim_end()).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Prints the command and runs it, with each line of its standard error going to `each`; fails
    /// unless it exits with 0.
    pub(crate) fn run_and_read_stderr(&self, mut each: impl FnMut(&str)) -> Result<()> {
        println!("$ {self}");
        let cannot_run = |error| format!("cannot run `{self}`: {error}");
        let mut child = self.command().stderr(Stdio::piped()).spawn().map_err(cannot_run)?;
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n') {
                each(&String::from_utf8_lossy(&line?));
            }
        }
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("`{self}`: {status}").into()) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(crate::root());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// As a shell would take it.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program.to_string_lossy()))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted_into_a_shell() {
        let cmd =
            Cmd::new("tool").args(["-p", "two words", "it's", ""]).env("FLAGS", "-D warnings");
        assert_eq!(cmd.to_string(), r"FLAGS='-D warnings' tool -p 'two words' 'it'\''s' ''");
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_exits_with_failure_is_an_error() {
        assert!(Cmd::new("true").run().is_ok());
        assert!(Cmd::new("false").run().is_err());
        assert!(Cmd::new("no-such-program-anywhere").run().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn output_is_returned_and_a_failure_says_what_the_process_said() {
        assert_eq!(Cmd::new("echo").args(["a", "b"]).output().unwrap(), "a b\n");
        let error = Cmd::new("ls").args(["/no/such/folder"]).output().unwrap_err().to_string();
        assert!(error.contains("/no/such/folder"), "{error}");
    }
}
