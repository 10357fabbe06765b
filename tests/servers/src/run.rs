//! A command that is run to its end.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::process::{end_of, with_us};

/// How long a command may take.
const TO_RUN: Duration = Duration::from_secs(120);

/// What a command came to.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Run {
    /// Runs it, with nothing on its stdin; the directory is for what it prints.
    pub(crate) fn of(command: Command, directory: &Path) -> Self {
        Self::within(TO_RUN, command, directory)
    }

    /// The same for one that may take as long as this.
    pub(crate) fn within(bound: Duration, wanted: Command, directory: &Path) -> Self {
        let (out, errors) = (directory.join("command.out"), directory.join("command.err"));
        let file = |path: &Path| std::fs::File::create(path).expect("a test's directory can be written to");
        let shown = format!("{wanted:?}");
        let mut command = with_us(&wanted);
        // What it starts (`make` does) ends with it.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&errors));
        let mut child = crate::process::spawn(command).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let deadline = Instant::now() + bound;
        let status = loop {
            match child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                None => {
                    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
                    let _ = child.wait();
                    panic!("{shown} did not end within {bound:?}");
                }
            }
        };
        let text =
            |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        Self { code: status.code(), stdout: text(&out), stderr: text(&errors) }
    }

    /// Claims the exit code.
    ///
    /// # Panics
    ///
    /// If it is another.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        let (out, errors) = (end_of(&self.stdout), end_of(&self.stderr));
        assert_eq!(self.code, Some(code), "it printed:\n{out}\nand complained:\n{errors}");
        self
    }

    /// What it printed, which is JSON.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("no JSON ({error}):\n{}\nand complained:\n{}", end_of(&self.stdout), end_of(&self.stderr))
        })
    }
}
