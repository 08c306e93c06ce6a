//! [`Cmd`]: a process to run, printed before it runs, failed unless it succeeds.

use std::ffi::OsString;
use std::fmt;
use std::process::{Command, Stdio};

use crate::Result;

/// One process. Runs in the root of the workspace, without a shell.
#[derive(Debug)]
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
}
