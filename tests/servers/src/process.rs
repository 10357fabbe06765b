//! A process that ends with the test.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::error::StartError;
use crate::wait::wait;

/// How many lines of what a process wrote a message shows.
const SHOWN: usize = 40;

/// How long a process has to end by itself.
const TO_END: Duration = Duration::from_secs(30);

/// A child process, killed when its value is dropped and when the test process ends,
/// however that ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Whether it leads a group of processes, which ends with it.
    leads: bool,
}

/// The same command, as one that is killed when this process ends.
pub(crate) fn with_us(wanted: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(wanted.get_program()).args(wanted.get_args());
    for (name, value) in wanted.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = wanted.get_current_dir() {
        command.current_dir(directory);
    }
    command
}

impl Process {
    /// Runs a program in a directory; what it writes is appended to `NAME.log` there.
    pub(crate) fn spawn(
        name: &str,
        program: &Path,
        directory: &Path,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn_command(name, command, directory, false)
    }

    /// As [`Process::spawn`], of a program that starts processes of its own, which are
    /// killed with it.
    pub(crate) fn spawn_group(name: &str, command: Command, directory: &Path) -> Result<Self, StartError> {
        Self::spawn_command(name, command, directory, true)
    }

    fn spawn_command(name: &str, wanted: Command, directory: &Path, leads: bool) -> Result<Self, StartError> {
        let log = directory.join(format!("{name}.log"));
        let output = open_log(&log)?;
        let errors = output.try_clone().map_err(|error| StartError::Write { path: log.clone(), error })?;
        let mut command = with_us(&wanted);
        command.current_dir(directory).env_remove("RETURNER_CONFIG");
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        if leads {
            command.process_group(0);
        }
        let child = spawn(command).map_err(|error| StartError::Spawn { name: name.to_owned(), error })?;
        Ok(Self { name: name.to_owned(), child, log, leads })
    }

    /// Waits until the check says that the server answers. A process that ends meanwhile
    /// is an error at once.
    pub(crate) async fn ready<T, E: std::fmt::Display>(
        &mut self,
        limit: Duration,
        mut check: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, StartError> {
        let outcome = wait(limit, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(Err(status)),
            _ => check().await.map(Ok),
        });
        match outcome.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => Err(StartError::Failed {
                name: self.name.clone(),
                status: status.to_string(),
                log: self.log_end(),
            }),
            Err(last) => {
                Err(StartError::Silent { name: self.name.clone(), limit, last, log: self.log_end() })
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would: `kill -9`.
    pub fn kill(&mut self) {
        if let Some(id) = self.pid().filter(|_| self.leads) {
            let _ = kill_process_group(id, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), and waits until it did.
    ///
    /// # Panics
    ///
    /// If it does not end within 30 seconds.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + TO_END;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                _ if Instant::now() > deadline => {
                    panic!(
                        "{} did not end within {TO_END:?} of SIGTERM; it wrote:\n{}",
                        self.name,
                        self.log_end()
                    )
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// As [`Process::terminate`], and others go on meanwhile.
    ///
    /// # Panics
    ///
    /// If it does not end within 30 seconds.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = wait(TO_END, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err("it runs"),
        })
        .await;
        ended.unwrap_or_else(|_| {
            panic!("{} did not end within {TO_END:?} of SIGTERM; it wrote:\n{}", self.name, self.log_end())
        })
    }

    /// Asks it to end (SIGTERM), and does not wait for that.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Makes it hang (SIGSTOP): connections stay open and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hangup(&self) {
        self.signal(Signal::HUP);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn signal(&self, signal: Signal) {
        let id = self.pid().expect("the id of a child is positive");
        if let Err(error) = kill_process(id, signal) {
            panic!("cannot send {signal:?} to {}: {error}", self.name);
        }
    }

    /// Everything that it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_end(&self) -> String {
        end_of(&self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a text, indented.
pub(crate) fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
    shown.iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

fn open_log(path: &Path) -> Result<File, StartError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| StartError::Write { path: path.to_owned(), error })
}

/// Spawns on a thread that lives as long as the process: a parent-death signal is sent
/// when the thread that spawned ends, and the thread of a test ends with the test.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, incoming) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in incoming {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    let gone = || io::Error::other("the thread that spawns processes is gone");
    spawner.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}
