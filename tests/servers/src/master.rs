//! A real Salt: a master and its minions on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::directory::{Directory, find_own};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;
use crate::run::Run;
use crate::wait::until_within;

/// Two of them on a busy machine of two cores take most of a minute.
const TO_START: Duration = Duration::from_secs(180);

/// What a master calls itself.
const ID: &str = "the_master";

/// Which Salt it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaltVersion {
    /// 3007.15, the long-term release with returners of its own.
    V3007,
    /// 3008.3, which ships no returner for MySQL, Redis and MongoDB.
    V3008,
}

impl SaltVersion {
    /// Python, with this Salt to import; the directory is for what it prints.
    ///
    /// # Panics
    ///
    /// If it is not there.
    #[must_use]
    pub fn python(self, directory: &Path, arguments: &[&str]) -> Run {
        let mut command = self.command("python").unwrap_or_else(|error| panic!("{error}"));
        command.args(arguments);
        // Many commands of Salt's in one, where Salt's own tests run.
        Run::within(3 * TO_START, command, directory)
    }

    /// The directory with the `tests` of its source distribution.
    ///
    /// # Panics
    ///
    /// If it is not there.
    #[must_use]
    pub fn source(self) -> PathBuf {
        let instead =
            "unpack `tests` of this Salt's source distribution there (`pip download --no-binary :all:`)";
        let file = find_own(&format!("{}-source/tests/__init__.py", self.directory()), instead);
        let tests = file.unwrap_or_else(|error| panic!("{error}"));
        tests.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
    }

    /// Of its virtual environment.
    fn directory(self) -> &'static str {
        match self {
            Self::V3007 => "salt",
            Self::V3008 => "salt8",
        }
    }

    fn command(self, name: &str) -> Result<Command, StartError> {
        let (directory, instead) = (
            self.directory(),
            match self {
                Self::V3007 => "put a virtual environment with salt==3007.15 there",
                Self::V3008 => "put a virtual environment with salt==3008.3 there",
            },
        );
        let mut command = Command::new(find_own(&format!("{directory}/bin/{name}"), instead)?);
        // `sitecustomize.py`, which says why.
        command.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/../salt"));
        Ok(command)
    }
}

/// A master, which accepts every minion.
#[derive(Debug)]
pub struct Master {
    version: SaltVersion,
    process: Process,
    config: String,
    publish: u16,
    returns: u16,
    sockets: Sockets,
    directory: Directory,
}

/// A minion of a [`Master`].
#[derive(Debug)]
pub struct Minion {
    id: String,
    version: SaltVersion,
    process: Process,
    root: PathBuf,
    _sockets: Sockets,
}

impl Master {
    /// Starts one with these lines in its configuration.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start(version: SaltVersion, config: &str) -> Self {
        match Self::try_start(version, config) {
            Ok(master) => master,
            Err(error) => panic!("{error}"),
        }
    }

    fn try_start(version: SaltVersion, config: &str) -> Result<Self, StartError> {
        let directory = Directory::create("salt-master")?;
        let (publish, returns, sockets) = (free_port(), free_port(), Sockets::new());
        fs::create_dir_all(directory.path().join("srv")).expect("a test's directory can be written to");
        let own = format!(
            "{}id: {ID}\ninterface: 127.0.0.1\npublish_port: {publish}\nret_port: {returns}\nauto_accept: true\n\
             worker_threads: 3\nfile_roots: {{base: [{}]}}\n",
            common(directory.path(), &sockets),
            directory.path().join("srv").display()
        );
        directory.write("master", format!("{own}{config}"));
        let process = run(version, "salt-master", directory.path())?;
        Ok(Self { version, process, config: own, publish, returns, sockets, directory })
    }

    /// Ends it, and starts it again with these lines in its configuration.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn restart(&mut self, config: &str) {
        self.process.kill();
        self.sockets.empty();
        self.directory.write("master", format!("{}{config}", self.config));
        match run(self.version, "salt-master", self.directory.path()) {
            Ok(process) => self.process = process,
            Err(error) => panic!("{error}"),
        }
    }

    /// The directory of its files, as `/srv/salt` usually is.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.directory.path().join("srv")
    }

    /// The socket of its event bus.
    #[must_use]
    pub fn event_bus(&self) -> PathBuf {
        self.sockets.0.join("master_event_pub.ipc")
    }

    /// Where it keeps what it caches.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// What it calls itself.
    #[must_use]
    pub fn id(&self) -> &'static str {
        ID
    }

    /// Its configuration.
    #[must_use]
    pub fn config_file(&self) -> String {
        self.directory.path().join("master").display().to_string()
    }

    /// What it wrote into its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Starts a minion with these lines in its configuration, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn minion(&self, id: &str, config: &str) -> Minion {
        let root = self.directory.path().join(id);
        fs::create_dir_all(&root).expect("a test's directory can be written to");
        let sockets = Sockets::new();
        // 3007.15 does not wait for what it sends to its own processes (`fire_event_async`),
        // so each job waits all these times for an answer before its returners have a turn.
        let config = format!(
            "{}master: 127.0.0.1\nid: {id}\npublish_port: {}\nmaster_port: {}\nreturn_retry_tries: 1\n\
             return_retry_timer: 1\nreturn_retry_timer_max: 1\n{config}",
            common(&root, &sockets),
            self.publish,
            self.returns
        );
        fs::write(root.join("minion"), config).expect("a test's directory can be written to");
        let process = run(self.version, "salt-minion", &root).unwrap_or_else(|error| panic!("{error}"));
        let minion = Minion { id: id.to_owned(), version: self.version, process, root, _sockets: sockets };
        self.wait_for(&minion).await;
        minion
    }

    /// Waits until a minion answers.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn wait_for(&self, minion: &Minion) {
        until_within(TO_START, "the minion's answer", async || {
            let answer =
                self.command("salt", &["-t", "5", &minion.id, "test.ping", "--out=json", "--static"]);
            match serde_json::from_str::<Value>(&answer.stdout) {
                Ok(value) if value == json!({ &minion.id: true }) => Ok(()),
                _ => Err(format!("{}{}\n{}", answer.stdout, answer.stderr, minion.process.log_end())),
            }
        })
        .await;
    }

    /// `salt '*' ...`: what each minion answered.
    ///
    /// # Panics
    ///
    /// If it prints no JSON.
    pub fn salt(&self, arguments: &[&str]) -> Value {
        let arguments = [&["*"], arguments, &["--out=json", "--static", "--no-color"]].concat();
        self.command("salt", &arguments).json()
    }

    /// `salt-run ...`: what the runner answered.
    ///
    /// # Panics
    ///
    /// If it prints no JSON.
    pub fn runner(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--out=json", "--no-color"]].concat();
        self.command("salt-run", &arguments).json()
    }

    /// Python, with this Salt to import.
    #[must_use]
    pub fn python(&self, arguments: &[&str]) -> Run {
        self.version.python(self.directory.path(), arguments)
    }

    /// One of Salt's programs, with the master's configuration.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Run {
        salt_program(self.version, program, self.directory.path(), arguments)
    }
}

impl Minion {
    /// `salt-call ...` on it.
    pub fn call(&self, arguments: &[&str]) -> Run {
        salt_program(self.version, "salt-call", &self.root, arguments)
    }

    /// Its configuration.
    #[must_use]
    pub fn config_file(&self) -> String {
        self.root.join("minion").display().to_string()
    }

    /// Where it keeps what it caches.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What it wrote into its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// What both have in their configuration. Without a `root_dir`, which Salt puts before every
/// path, that of the sockets included.
fn common(root: &Path, sockets: &Sockets) -> String {
    let (root, sockets, user) = (root.display(), sockets.0.display(), user());
    format!(
        "user: {user}\nlog_level: warning\nlog_level_logfile: quiet\npki_dir: {root}/pki\n\
         cachedir: {root}/cache\nextension_modules: {root}/extmods\nlog_file: {root}/log\nkey_logfile: {root}/key\n\
         pidfile: {root}/pid\nsqlite_queue_dir: {root}/queues\ntoken_dir: {root}/tokens\nsyndic_dir: {root}/syndics\n\
         sock_dir: {sockets}\n"
    )
}

/// Salt changes to the user that its configuration names.
fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
}

fn run(version: SaltVersion, program: &str, root: &Path) -> Result<Process, StartError> {
    let mut command = version.command(program)?;
    command.arg("-c").arg(root);
    Process::spawn_group(program, command, root)
}

fn salt_program(version: SaltVersion, program: &str, root: &Path, arguments: &[&str]) -> Run {
    let mut command = version.command(program).unwrap_or_else(|error| panic!("{error}"));
    command.arg("-c").arg(root).args(arguments).current_dir(root);
    Run::of(command, root)
}

/// A directory for Unix sockets, whose paths are short, which those of the tests are not.
#[derive(Debug)]
struct Sockets(PathBuf);

impl Sockets {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("salt-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the directory for temporary files can be written to");
        Self(path)
    }

    fn empty(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
