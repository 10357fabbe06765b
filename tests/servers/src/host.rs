//! The host as a process, and its command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Once;
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::answer::Answer;
use crate::directory::{Directory, program};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;
use crate::run::Run;
use crate::system::System;
use crate::wait::{PATIENCE, until};

/// How long a request may take; longer than any time that the host has for one.
const TO_ANSWER: Duration = Duration::from_secs(120);

/// How long a connection may be idle and be used again.
const TO_REUSE: Duration = Duration::from_secs(3);

/// Where a host without a configuration listens.
const DEFAULT_PORT: u16 = 4510;

/// A running `returner serve`, with a port, a data directory and a configuration file of
/// its own.
#[derive(Debug)]
pub struct Host {
    process: Process,
    client: reqwest::Client,
    port: u16,
    /// None for the defaults.
    file: Option<PathBuf>,
    /// Variables that it starts with.
    environment: Vec<String>,
    // Removed after the process is gone: fields are dropped in their order.
    directory: Directory,
}

impl Host {
    /// Starts a host with this configuration, `host.listen` and `host.data` added, and
    /// waits until it takes items in.
    ///
    /// # Panics
    ///
    /// If it does not get there; the message has what it wrote.
    pub async fn start(config: &str) -> Self {
        Self::start_in(Directory::new("host"), config).await
    }

    /// As [`Host::start`], in a directory that holds what the configuration names by a
    /// relative path.
    ///
    /// # Panics
    ///
    /// If it does not get there.
    pub async fn start_in(directory: Directory, config: &str) -> Self {
        Self::configure(directory, config, Vec::new()).await
    }

    /// As [`Host::start_in`], on a system that fails when it is told to.
    ///
    /// # Panics
    ///
    /// If it does not get there.
    pub async fn start_on(system: &System, directory: Directory, config: &str) -> Self {
        Self::configure(directory, config, system.environment().to_vec()).await
    }

    async fn configure(directory: Directory, config: &str, environment: Vec<String>) -> Self {
        let port = free_port();
        let file = directory.write("returner.yaml", own(config, port, directory.path()));
        Self::run(directory, port, Some(file), environment).await
    }

    /// Starts a host as a new user does: no configuration, in an empty directory. There
    /// can be one at a time on a machine.
    ///
    /// # Panics
    ///
    /// If it does not get there.
    pub async fn start_default() -> Self {
        Self::run(Directory::new("default"), DEFAULT_PORT, None, Vec::new()).await
    }

    async fn run(directory: Directory, port: u16, file: Option<PathBuf>, environment: Vec<String>) -> Self {
        let process = match serve(directory.path(), file.as_deref(), &environment) {
            Ok(process) => process,
            Err(error) => panic!("{error}"),
        };
        let mut host = Self { process, client: client(), port, file, environment, directory };
        host.wait_ready().await;
        host
    }

    async fn wait_ready(&mut self) {
        let url = self.url("/readyz");
        let client = self.client.clone();
        let check = async || match client.get(&url).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("{url}: {}", response.status())),
            Err(error) => Err(format!("{url}: {error}")),
        };
        if let Err(error) = self.process.ready(PATIENCE, check).await {
            panic!("{error}");
        }
    }

    /// Writes another configuration over its file, `host.listen` and `host.data` added, as
    /// an editor does that renames. The host is not told.
    pub fn rewrite(&self, config: &str) {
        let path = self.directory.path();
        let new = self.directory.write("returner.yaml.new", own(config, self.port, path));
        std::fs::rename(new, path.join("returner.yaml")).expect("a file of a test can be renamed");
    }

    /// Writes another configuration and has it read; gives the host's answer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn reload(&self, config: &str) -> Answer {
        self.rewrite(config);
        self.send(Method::POST, "/v1/reload", "").await
    }

    /// Sends it SIGHUP.
    pub fn hangup(&self) {
        self.process.hangup();
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same port and data, and waits until it takes items in.
    ///
    /// # Panics
    ///
    /// If it does not get there.
    pub async fn restart(&mut self) {
        self.process.kill();
        match serve(self.directory.path(), self.file.as_deref(), &self.environment) {
            Ok(process) => self.process = process,
            Err(error) => panic!("{error}"),
        }
        self.wait_ready().await;
    }

    /// Asks it to stop, and waits until it did.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Asks it to stop, and does not wait for that.
    pub fn ask_to_stop(&self) {
        self.process.ask_to_end();
    }

    /// As [`Host::terminate`], and others go on meanwhile.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.stop().await
    }

    /// Makes it hang: connections stay open and nobody answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Bounds its processor time, and that of each process that it starts from now on.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn limit_processor(&self, within: Duration) {
        let maximum = getrlimit(Resource::Cpu).maximum;
        let limit = Rlimit { current: Some(within.as_secs()), maximum };
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        prlimit(id, Resource::Cpu, limit).expect("a child can be limited");
    }

    /// Everything that it wrote, restarts included.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The directory of its configuration file; its data is in `data` there.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `GET`.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Vec::new()).await
    }

    /// `POST` of JSON.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Any request with any body.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        match self.try_send(method.clone(), path, body).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error:?}; the host wrote:\n{}", self.process.log_end()),
        }
    }

    /// Any request, with an error if there is no answer.
    ///
    /// # Errors
    ///
    /// If the connection breaks off.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, reqwest::Error> {
        let request =
            self.client.request(method.clone(), self.url(path)).header("Content-Type", "application/json");
        Answer::of(format!("{method} {path}"), request.body(body).send().await?).await
    }

    /// Posts items and claims that all returners stored them.
    ///
    /// # Panics
    ///
    /// If they did not.
    pub async fn store(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(&format!("{path}?wait=stored"), body).await;
        assert_eq!(
            answer.status,
            200,
            "{path}: {}\nthe host wrote:\n{}",
            answer.text,
            self.process.log_end()
        );
        answer.json()
    }

    /// How a returner is doing: its entry in `GET /v1/returners`.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    pub async fn returner(&self, name: &str) -> Value {
        let answer = self.get("/v1/returners").await;
        let returners = answer.expect(200).json();
        let found =
            returners["returners"].as_array().and_then(|all| all.iter().find(|entry| entry["name"] == name));
        match found {
            Some(entry) => entry.clone(),
            None => panic!("no returner `{name}` in {returners}"),
        }
    }

    /// Waits until a returner has made its tables.
    ///
    /// # Panics
    ///
    /// If that does not come.
    pub async fn wait_set_up(&self, name: &str) {
        until(&format!("`{name}` to be ready"), async || {
            let entry = self.returner(name).await;
            match entry["state"].as_str() {
                Some("ready") => Ok(()),
                _ => Err(entry.to_string()),
            }
        })
        .await;
    }

    /// Waits until a returner holds nothing that is not stored.
    ///
    /// # Panics
    ///
    /// If that does not come.
    pub async fn wait_drained(&self, name: &str) {
        until(&format!("`{name}` to store everything"), async || {
            let entry = self.returner(name).await;
            match entry["depth"].as_u64() {
                Some(0) => Ok(()),
                _ => Err(entry.to_string()),
            }
        })
        .await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the host in `{}` wrote:\n{}", self.directory.path().display(), self.process.log_end());
        }
    }
}

fn own(config: &str, port: u16, directory: &Path) -> String {
    format!("{config}\nhost.listen: 127.0.0.1:{port}\nhost.data: {}/data\n", directory.display())
}

fn serve(directory: &Path, config: Option<&Path>, environment: &[String]) -> Result<Process, StartError> {
    // `env` becomes the host: the process is the same.
    let (env, program) = (Path::new("/usr/bin/env"), program());
    let mut arguments: Vec<&OsStr> = environment.iter().map(OsStr::new).collect();
    arguments.extend([program.as_os_str(), OsStr::new("serve")]);
    if let Some(config) = config {
        arguments.extend([OsStr::new("--config"), config.as_os_str()]);
    }
    Process::spawn("returner", env, directory, arguments)
}

/// Starts a command of the host's program in a directory, which ends with its value.
///
/// # Panics
///
/// If it cannot be started.
#[must_use]
pub fn returner_in_background(directory: &Path, arguments: &[&str]) -> Process {
    let started = Process::spawn("background", &program(), directory, arguments);
    started.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command of the host's program in a directory, with nothing on its stdin and
/// none of the environment's `RETURNER_*`.
///
/// # Panics
///
/// If it does not end in time.
#[must_use]
pub fn returner(directory: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(directory);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RETURNER_")) {
        command.env_remove(name);
    }
    Run::of(command, directory)
}

pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // The client wants one even for plain HTTP; an error says that there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    // The host closes what is idle for ten seconds; a test that waits for a command meanwhile
    // does not see that.
    let builder = reqwest::Client::builder().timeout(TO_ANSWER).pool_idle_timeout(TO_REUSE);
    let client = builder.no_proxy().build();
    client.expect("a client without certificates can be built")
}
