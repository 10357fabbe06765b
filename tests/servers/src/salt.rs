//! Salt's own returner modules, as the oracle of what Salt writes and reads.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::directory::{Directory, find_own};
use crate::error::StartError;
use crate::process::with_us;

const INSTEAD: &str = "put a virtual environment with salt==3007.15, pymysql, redis and pymongo there";

const TO_ANSWER: Duration = Duration::from_secs(120);

/// A Python process with Salt 3007.15 in it, which calls functions of its returners.
#[derive(Debug)]
pub struct Salt {
    child: Child,
    calls: ChildStdin,
    /// Its lines, which a thread reads: they are not waited for without a bound.
    answers: Receiver<String>,
    log: PathBuf,
    _directory: Directory,
}

impl Salt {
    /// Starts Salt with these options of a minion's configuration, such as
    /// `{"mysql.host": "127.0.0.1"}`.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    #[must_use]
    pub fn start(options: &Map<String, Value>) -> Self {
        Self::try_start(options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_start(options: &Map<String, Value>) -> Result<Self, StartError> {
        let directory = Directory::create("salt")?;
        let (file, log) = (directory.path().join("options.json"), directory.path().join("salt.log"));
        let write = |path: &Path, error| StartError::Write { path: path.to_owned(), error };
        let mut options = options.clone();
        options.insert("root_dir".to_owned(), directory.path().display().to_string().into());
        std::fs::write(&file, Value::from(options).to_string()).map_err(|error| write(&file, error))?;
        let errors = std::fs::File::create(&log).map_err(|error| write(&log, error))?;
        let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../salt/oracle.py");
        let mut command = Command::new(find_own("salt/bin/python", INSTEAD)?);
        command.arg(oracle).arg(&file).env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/../salt"));
        let mut command = with_us(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let failed = |error| StartError::Spawn { name: "Salt".to_owned(), error };
        let mut child = crate::process::spawn(command).map_err(failed)?;
        let missing = || failed(std::io::Error::other("it has no pipe"));
        let calls = child.stdin.take().ok_or_else(missing)?;
        let lines = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { child, calls, answers, log, _directory: directory })
    }

    /// Calls a function of a returner: `call("mysql", "get_jid", [jid])`.
    ///
    /// # Errors
    ///
    /// What Salt raised, as `Type: message`.
    ///
    /// # Panics
    ///
    /// If Salt is gone.
    pub fn try_call<const N: usize>(
        &mut self,
        returner: &str,
        function: &str,
        arguments: [Value; N],
    ) -> Result<Value, String> {
        let call = json!({"module": returner, "call": function, "args": arguments.as_slice()});
        let sent = writeln!(self.calls, "{call}").ok();
        let answer = sent.and_then(|()| self.answers.recv_timeout(TO_ANSWER).ok());
        let answer: Option<Value> = answer.and_then(|answer| serde_json::from_str(&answer).ok());
        let Some(mut answer) = answer else {
            panic!("Salt gave no answer to {call}; it wrote:\n{}", self.log());
        };
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["result"].take()),
        }
    }

    /// As [`Salt::try_call`], for what must not fail.
    ///
    /// # Panics
    ///
    /// If Salt raises an exception.
    pub fn call<const N: usize>(&mut self, returner: &str, function: &str, arguments: [Value; N]) -> Value {
        match self.try_call(returner, function, arguments) {
            Ok(result) => result,
            Err(error) => panic!("Salt's {returner}.{function} failed: {error}; it wrote:\n{}", self.log()),
        }
    }

    fn log(&self) -> String {
        crate::process::end_of(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Salt {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
