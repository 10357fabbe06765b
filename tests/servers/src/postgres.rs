//! PostgreSQL, or whatever server `POSTGRES_URL` names.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use url::Url;

use crate::certificates::Issued;
use crate::directory::{Directory, find};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::{Process, end_of};
use crate::run::Run;
use crate::server::Server;
use crate::wait::wait;

const VARIABLE: &str = "POSTGRES_URL";
const INSTEAD: &str =
    "`apt-get install postgresql`; or set POSTGRES_URL to a server whose user may create databases";

/// Where Debian puts the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";

const TO_START: Duration = Duration::from_secs(120);

/// How long removing a database may hold up the end of a test.
const TO_DROP: Duration = Duration::from_secs(10);

/// Of the server that is started: a user who may do everything.
const USER: &str = "salt";
const PASSWORD: &str = "s3cret";

/// `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    /// Without a database.
    url: Url,
    directory: Option<Directory>,
    with_tls: bool,
}

impl Postgres {
    /// The server that all tests of this process share: each takes a database of its own
    /// and leaves the server alone.
    ///
    /// # Panics
    ///
    /// If there is none; the message says how to get it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        let server = SHARED.get_or_try_init(|| async {
            match std::env::var(VARIABLE) {
                Ok(given) => Self::given(&given).await,
                Err(_) => Self::try_start().await,
            }
        });
        server.await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server for a test that stops or kills it.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    pub async fn start() -> Self {
        Self::try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Postgres::start`], one that speaks TLS with this certificate, and listens on all
    /// addresses of loopback.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    pub async fn start_with_tls(issued: &Issued) -> Self {
        let mut server = Self::start().await;
        let directory = server.directory.as_ref().expect("it was started here");
        for (name, file) in [("server.crt", &issued.certificate), ("server.key", &issued.key)] {
            let path = directory.write(name, fs::read(file).expect("a certificate that was issued"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of this test");
            give_away(&path).expect("a file of this test");
        }
        server.with_tls = true;
        server.restart().await;
        server
    }

    async fn given(given: &str) -> Result<Self, StartError> {
        let refuse = |reason: String| StartError::Given { variable: VARIABLE, reason };
        let mut url = Url::parse(given).map_err(|error| refuse(error.to_string()))?;
        url.set_path("postgres");
        connect(&url).await.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { process: None, url, directory: None, with_tls: false })
    }

    async fn try_start() -> Result<Self, StartError> {
        let directory = Directory::create_for_others("postgres")?;
        install(&directory)?;
        let port = free_port();
        let url = Url::parse(&format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"));
        let url = url.expect("the parts of the URL are constants and a port");
        let mut server = Self { process: None, url, directory: Some(directory), with_tls: false };
        server.process = Some(server.run().await?);
        Ok(server)
    }

    /// Makes an empty database.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn database(&self) -> PostgresDatabase {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("returner_test_{}_{number}", std::process::id());
        let created = run(&self.url, &format!("CREATE DATABASE {name}")).await;
        created.unwrap_or_else(|error| panic!("cannot make the database `{name}`: {error}"));
        PostgresDatabase { name, server: self.url.clone(), dropped: self.process.is_none() }
    }
}

impl Server for Postgres {
    fn process(&mut self) -> &mut Option<Process> {
        &mut self.process
    }

    async fn run(&self) -> Result<Process, StartError> {
        let directory = self.directory.as_ref().expect("only a server that was started here is run").path();
        let mut arguments = vec![
            "-D".to_owned(),
            directory.join("data").display().to_string(),
            format!("--port={}", self.url.port().unwrap_or_default()),
            "--listen_addresses=127.0.0.1".to_owned(),
            format!("--unix_socket_directories={}", directory.display()),
        ];
        if self.with_tls {
            arguments.push("--listen_addresses=127.0.0.1,127.0.0.2".to_owned());
            arguments.push("--ssl=on".to_owned());
            for (setting, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
                arguments.push(format!("--{setting}={}", directory.join(file).display()));
            }
        }
        let start = async || {
            let command = as_nobody(&program("postgres")?, arguments.clone());
            let (name, arguments) = (PathBuf::from(command.get_program()), command.get_args());
            let mut process = Process::spawn("postgres", &name, directory, arguments)?;
            process.ready(TO_START, async || connect(&self.url).await.map(drop)).await?;
            Ok(process)
        };
        // What served the connections of one that was killed ends a moment after it, and keeps
        // its memory until then.
        let tried = wait(TO_START, async || match start().await {
            Err(StartError::Failed { log, .. }) if log.contains("is still in use") => Err(log),
            other => Ok(other),
        });
        let silent = |last| StartError::Silent {
            name: "postgres".to_owned(),
            limit: TO_START,
            last,
            log: String::new(),
        };
        tried.await.map_err(silent)?
    }
}

/// A database of one test.
#[derive(Debug)]
pub struct PostgresDatabase {
    name: String,
    server: Url,
    /// Whether it is dropped with its value, because the server stays.
    dropped: bool,
}

impl PostgresDatabase {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self) -> String {
        self.with_name().into()
    }

    fn with_name(&self) -> Url {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url
    }

    /// Salt's lines of configuration for it, which describe the connection `pgjsonb`.
    #[must_use]
    pub fn config(&self) -> String {
        self.options().iter().map(|(key, value)| format!("returner.pgjsonb.{key}: '{value}'\n")).collect()
    }

    /// Salt's options for it, without the name of the returner.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.server.host_str().unwrap_or("127.0.0.1").to_owned()),
            ("port", self.server.port().unwrap_or(5432).to_string()),
            ("user", self.server.username().to_owned()),
            ("pass", self.server.password().unwrap_or_default().to_owned()),
            ("db", self.name.clone()),
        ]
    }

    /// Runs statements.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn execute(&self, statements: &str) {
        self.rows(statements).await;
    }

    /// The rows of a query, as text; a NULL is an empty one.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn rows(&self, query: &str) -> Vec<Vec<String>> {
        match run(&self.with_name(), query).await {
            Ok(rows) => rows,
            Err(error) => panic!("{query}: {error:?}"),
        }
    }

    /// How many rows a table has, or a part of it: `salt_returns WHERE jid = '1'`.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn count(&self, table: &str) -> i64 {
        let rows = self.rows(&format!("SELECT COUNT(*) FROM {table}")).await;
        rows.first().and_then(|row| row.first()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        if !self.dropped {
            return;
        }
        let (url, drop) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let done = std::thread::spawn(move || -> Result<(), String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            // A server that is in trouble must not hold up the end of a test.
            let ran = runtime.block_on(async { timeout(TO_DROP, run(&url, &drop)).await });
            ran.map_err(|late| late.to_string())?.map_err(|error| error.to_string())?;
            Ok(())
        });
        if let Ok(Err(error)) = done.join() {
            eprintln!("the database `{}` stays: {error}", self.name);
        }
    }
}

async fn connect(url: &Url) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn run(url: &Url, statements: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
    let messages = connect(url).await?.simple_query(statements).await?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    };
    Ok(messages.iter().filter_map(row).collect())
}

/// Makes the data directory, for the user that the server is to run as.
fn install(directory: &Directory) -> Result<(), StartError> {
    let path = directory.path();
    give_away(path).map_err(|error| StartError::Write { path: path.to_owned(), error })?;
    let password = directory.write("password", PASSWORD);
    let arguments = [
        "--pgdata".to_owned(),
        path.join("data").display().to_string(),
        format!("--username={USER}"),
        format!("--pwfile={}", password.display()),
        "--auth=scram-sha-256".to_owned(),
        "--encoding=UTF8".to_owned(),
        "--locale=C".to_owned(),
        "--no-sync".to_owned(),
    ];
    let mut command = as_nobody(&program("initdb")?, arguments);
    command.current_dir(path);
    let run = Run::of(command, path);
    if run.code == Some(0) {
        return Ok(());
    }
    let (name, status) = ("initdb".to_owned(), format!("the exit code {:?}", run.code));
    Err(StartError::Failed { name, status, log: end_of(&(run.stdout + &run.stderr)) })
}

/// To the user that the server runs as.
fn give_away(path: &Path) -> io::Result<()> {
    if rustix::process::geteuid().is_root() { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

/// The newest of Debian's, or the one in the path.
fn program(name: &str) -> Result<PathBuf, StartError> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let number = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or_default()
    };
    let newest = versions.map(|version| version.path()).max_by_key(number);
    let debians = newest.map(|version| version.join("bin").join(name)).filter(|path| path.is_file());
    debians.map_or_else(|| find(name, INSTEAD), Ok)
}

/// The command of a program as another user, if this one is root. Another user is another
/// owner to the kernel, which forgets that the process is to end with its parent.
fn as_nobody(program: &Path, arguments: impl IntoIterator<Item = String>) -> Command {
    if !rustix::process::geteuid().is_root() {
        let mut command = Command::new(program);
        command.args(arguments);
        return command;
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
    command.args(["--clear-groups", "--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
    command
}
