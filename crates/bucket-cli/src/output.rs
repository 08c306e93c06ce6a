//! Where results and messages go: stdout for machines and pipes, stderr for people.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::exit::Failure;

/// How a command speaks.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json: json || std::env::var_os("BUCKET_FORMAT").is_some_and(|f| f == "json") }
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// One result: an object with `--json`, else a line of text; an empty text prints nothing.
    pub(crate) fn result(&self, value: &Value, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            let mut value = value.clone();
            if let Value::Object(fields) = &mut value {
                fields.insert("v".into(), json!(1));
            }
            writeln!(out, "{value}")
        } else if text.is_empty() {
            Ok(())
        } else {
            writeln!(out, "{text}")
        };
        written.and_then(|()| out.flush()).map_err(stdout_failure)
    }

    /// A remark for people, on stderr.
    #[expect(clippy::unused_self, reason = "what a command says goes through its output")]
    pub(crate) fn note(&self, text: &str) {
        // A closed stderr is no reason to stop.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// True when somebody watches.
    #[expect(clippy::unused_self, reason = "what a command says goes through its output")]
    pub(crate) fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Says why the command failed, what that means for the data, and what to do.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let code = failure.code();
        let mut err = io::stderr().lock();
        let _ = if self.json {
            let error = json!({
                "v": 1,
                "type": "error",
                "code": failure.name(),
                "exit": code,
                "message": failure.to_string(),
                "durability": failure.durability().to_string(),
                "hint": failure.hint(),
            });
            writeln!(err, "{error}")
        } else {
            let first = writeln!(err, "error[{}]: {failure}", failure.name());
            match failure.hint() {
                Some(hint) => first.and_then(|()| writeln!(err, "hint: {hint}")),
                None => first,
            }
        };
        ExitCode::from(code)
    }
}

/// A write to stdout that failed.
pub(crate) fn stdout_failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::BrokenPipe
    } else {
        Failure::File { what: "cannot write to stdout".into(), source: error }
    }
}
