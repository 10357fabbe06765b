//! MariaDB, or whatever server `MYSQL_URL` names.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Connection, FromRow};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use url::Url;

use crate::certificates::Issued;
use crate::directory::{Directory, find};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::{Process, end_of};
use crate::run::Run;
use crate::server::Server;

const VARIABLE: &str = "MYSQL_URL";
const INSTEAD: &str = "`apt-get install mariadb-server`; or set MYSQL_URL to a server whose user may create databases and users";

/// Making a data directory and starting takes seconds, more on a busy machine.
const TO_START: Duration = Duration::from_secs(120);

/// How long removing a database may hold up the end of a test.
const TO_DROP: Duration = Duration::from_secs(10);

/// Of the server that is started: a user who may do everything, over TCP only.
const USER: &str = "salt";
const PASSWORD: &str = "s3cret";

/// A server that speaks MySQL's protocol.
#[derive(Debug)]
pub struct Mariadb {
    process: Option<Process>,
    /// Without a database.
    url: Url,
    directory: Option<Directory>,
    tls: Option<Issued>,
}

impl Mariadb {
    /// The server that all tests of this process share: each takes a database of its own
    /// and leaves the server alone.
    ///
    /// # Panics
    ///
    /// If there is none; the message says how to get it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Mariadb> = OnceCell::const_new();
        let server = SHARED.get_or_try_init(|| async {
            match std::env::var(VARIABLE) {
                Ok(given) => Self::given(&given).await,
                Err(_) => Self::try_start(None).await,
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
        Self::try_start(None).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Mariadb::start`], for a server that offers TLS.
    ///
    /// # Panics
    ///
    /// As [`Mariadb::start`].
    pub async fn start_with_tls(issued: &Issued) -> Self {
        Self::try_start(Some(issued.clone())).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn given(given: &str) -> Result<Self, StartError> {
        let refuse = |reason: String| StartError::Given { variable: VARIABLE, reason };
        let mut url = Url::parse(given).map_err(|error| refuse(error.to_string()))?;
        url.set_path("");
        let server = Self { process: None, url, directory: None, tls: None };
        let connected = MySqlConnection::connect(server.url.as_str()).await;
        connected.map_err(|error| refuse(error.to_string()))?;
        Ok(server)
    }

    async fn try_start(tls: Option<Issued>) -> Result<Self, StartError> {
        let directory = Directory::create("mariadb")?;
        install(&directory)?;
        let port = free_port();
        let url = Url::parse(&format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}"));
        let url = url.expect("the parts of the URL are constants and a port");
        let mut server = Self { process: None, url, directory: Some(directory), tls };
        server.process = Some(server.run().await?);
        Ok(server)
    }

    /// Makes an empty database (utf8mb4).
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn database(&self) -> MysqlDatabase {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("returner_test_{}_{number}", std::process::id());
        let mut url = self.url.clone();
        url.set_path(&name);
        let database = MysqlDatabase { name: name.clone(), url, dropped: self.process.is_none() };
        let create = format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4");
        let created = run(&self.url, &create).await;
        created.unwrap_or_else(|error| panic!("cannot make the database `{name}`: {error}"));
        database
    }
}

impl Server for Mariadb {
    fn process(&mut self) -> &mut Option<Process> {
        &mut self.process
    }

    async fn run(&self) -> Result<Process, StartError> {
        let directory = self.directory.as_ref().expect("only a server that was started here is run").path();
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", directory.join("data").display()),
            format!("--init-file={}", directory.join("users.sql").display()),
            format!("--tmpdir={}", directory.display()),
            format!("--port={}", self.url.port().unwrap_or_default()),
            "--bind-address=127.0.0.1".to_owned(),
            // Relative to the data: a socket's path may have 107 bytes only.
            "--socket=mariadb.sock".to_owned(),
            "--max-allowed-packet=64M".to_owned(),
        ];
        if let Some(Issued { certificate, key, .. }) = &self.tls {
            arguments.push(format!("--ssl-cert={}", certificate.display()));
            arguments.push(format!("--ssl-key={}", key.display()));
        }
        arguments.extend(as_root());
        let mut process = Process::spawn("mariadb", &find("mariadbd", INSTEAD)?, directory, arguments)?;
        let url = self.url.clone();
        process.ready(TO_START, async || MySqlConnection::connect(url.as_str()).await.map(drop)).await?;
        Ok(process)
    }
}

/// A database of one test.
#[derive(Debug)]
pub struct MysqlDatabase {
    name: String,
    url: Url,
    /// Whether it is dropped with its value, because the server stays.
    dropped: bool,
}

impl MysqlDatabase {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `mysql://USER:PASSWORD@HOST:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.url.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Salt's lines of configuration for it.
    #[must_use]
    pub fn config(&self) -> String {
        self.config_as("mysql")
    }

    /// The same under another name, such as `alternative.mysql`.
    #[must_use]
    pub fn config_as(&self, name: &str) -> String {
        let options = self.options();
        options.iter().map(|(key, value)| format!("{name}.{key}: '{value}'\n")).collect()
    }

    /// Salt's options for it, without the name of the returner.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.url.host_str().unwrap_or("127.0.0.1").to_owned()),
            ("port", self.url.port().unwrap_or(3306).to_string()),
            ("user", self.url.username().to_owned()),
            ("pass", self.url.password().unwrap_or_default().to_owned()),
            ("db", self.name.clone()),
        ]
    }

    /// The same for a user of its own, who may do everything with databases and nothing with the
    /// server: who may do that as well writes where it is read-only, and has no `init_connect`.
    ///
    /// # Panics
    ///
    /// If the server has made the user already.
    pub async fn options_of_a_common_user(&self) -> Vec<(&'static str, String)> {
        self.execute("CREATE USER common@'%' IDENTIFIED BY 'common'; GRANT ALL ON `%`.* TO common@'%'").await;
        let own =
            |(key, value)| (key, if ["user", "pass"].contains(&key) { "common".to_owned() } else { value });
        self.options().into_iter().map(own).collect()
    }

    /// Runs statements that give no rows.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn execute(&self, statements: &str) {
        if let Err(error) = self.try_execute(statements).await {
            panic!("{statements}: {error}");
        }
    }

    /// Runs statements; rows are thrown away.
    ///
    /// # Errors
    ///
    /// If the server refuses or is not there.
    pub async fn try_execute(&self, statements: &str) -> Result<(), sqlx::Error> {
        run(&self.url, statements).await
    }

    /// The rows of a query.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn rows<R>(&self, query: &str) -> Vec<R>
    where
        R: for<'r> FromRow<'r, MySqlRow> + Send + Unpin,
    {
        match self.try_rows(query).await {
            Ok(rows) => rows,
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// The rows of a query.
    ///
    /// # Errors
    ///
    /// If the server refuses or is not there.
    pub async fn try_rows<R>(&self, query: &str) -> Result<Vec<R>, sqlx::Error>
    where
        R: for<'r> FromRow<'r, MySqlRow> + Send + Unpin,
    {
        let mut connection = MySqlConnection::connect(self.url.as_str()).await?;
        let rows = sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows)
    }

    /// How many rows a table has, or a part of it: `salt_returns WHERE jid = '1'`.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn count(&self, table: &str) -> i64 {
        let rows: Vec<(i64,)> = self.rows(&format!("SELECT COUNT(*) FROM {table}")).await;
        rows.first().map_or(0, |(count,)| *count)
    }
}

impl Drop for MysqlDatabase {
    fn drop(&mut self) {
        if !self.dropped {
            return;
        }
        let (url, drop) = (self.url.clone(), format!("DROP DATABASE `{}`", self.name));
        let done = std::thread::spawn(move || -> Result<(), String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            // A server that is in trouble must not hold up the end of a test.
            let ran = runtime.block_on(async { timeout(TO_DROP, run(&url, &drop)).await });
            ran.map_err(|late| late.to_string())?.map_err(|error| error.to_string())
        });
        if let Ok(Err(error)) = done.join() {
            eprintln!("the database `{}` stays: {error}", self.name);
        }
    }
}

async fn run(url: &Url, statements: &str) -> Result<(), sqlx::Error> {
    let mut connection = MySqlConnection::connect(url.as_str()).await?;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
    connection.close().await
}

/// Makes the data directory, and the file of the user that the server reads at its start.
fn install(directory: &Directory) -> Result<(), StartError> {
    let hosts = ["127.0.0.1", "localhost"];
    let users: String = hosts
        .iter()
        .map(|host| {
            format!(
                "CREATE USER IF NOT EXISTS {USER}@'{host}' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL ON *.* TO {USER}@'{host}' WITH GRANT OPTION;\n"
            )
        })
        .collect();
    directory.write("users.sql", users);
    let mut command = Command::new(find("mariadb-install-db", INSTEAD)?);
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    command.arg(format!("--datadir={}", directory.path().join("data").display()));
    // Its temporary tables are named after its process: apart from those of others.
    command.arg(format!("--tmpdir={}", directory.path().display())).args(as_root());
    let run = Run::of(command, directory.path());
    if run.code == Some(0) {
        return Ok(());
    }
    let (name, status) = ("mariadb-install-db".to_owned(), format!("the exit code {:?}", run.code));
    Err(StartError::Failed { name, status, log: end_of(&(run.stdout + &run.stderr)) })
}

/// The server refuses to run as root unless it is told to, and lets nobody but root tell
/// it which user to be.
fn as_root() -> Option<String> {
    rustix::process::geteuid().is_root().then(|| "--user=root".to_owned())
}
