//! Redis, or whatever server `REDIS_URL` names.
//!
//! Salt's keys have no prefix, so each test has one of the server's numbered databases.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};
use tokio::sync::OnceCell;
use url::Url;

use crate::certificates::Issued;
use crate::directory::{Directory, find};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;
use crate::server::Server;

const VARIABLE: &str = "REDIS_URL";
const INSTEAD: &str =
    "`apt-get install redis-server`; or set REDIS_URL to a server whose databases 1 to 15 may be emptied";

const TO_START: Duration = Duration::from_secs(60);

/// How long a test waits for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The numbered databases of a server that is started here.
const DATABASES: u16 = 256;

/// Those of a server as it comes.
const USUAL_DATABASES: u16 = 16;

/// The databases that no test has.
#[derive(Debug, Clone)]
struct Free(Arc<Mutex<Vec<u16>>>);

impl Free {
    fn new(numbers: std::ops::Range<u16>) -> Self {
        // The first ones are taken first.
        Self(Arc::new(Mutex::new(numbers.rev().collect())))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    /// Without a database.
    url: Url,
    directory: Option<Directory>,
    tls: Option<Tls>,
    free: Free,
}

/// What a server needs to speak TLS, on a port beside the other one.
#[derive(Debug)]
struct Tls {
    port: u16,
    issued: Issued,
    ca: PathBuf,
}

impl Redis {
    /// The server that all tests of this process share: each takes a database of its own
    /// and leaves the server alone.
    ///
    /// # Panics
    ///
    /// If there is none; the message says how to get it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Redis> = OnceCell::const_new();
        let server = SHARED.get_or_try_init(|| async {
            match std::env::var(VARIABLE) {
                Ok(given) => Self::given(&given).await,
                Err(_) => Self::try_start().await,
            }
        });
        server.await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server for a test that stops or kills it. It writes every command to disk
    /// before it answers.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    pub async fn start() -> Self {
        Self::try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Redis::start`], one that speaks TLS with this certificate, too, and wants one of this
    /// authority from its clients; gives the port.
    ///
    /// # Panics
    ///
    /// As [`Redis::start`].
    pub async fn start_with_tls(issued: &Issued, ca: &Path) -> (Self, u16) {
        let mut server = Self::start().await;
        let port = free_port();
        server.tls = Some(Tls { port, issued: issued.clone(), ca: ca.to_owned() });
        server.restart().await;
        (server, port)
    }

    async fn given(given: &str) -> Result<Self, StartError> {
        let refuse = |reason: String| StartError::Given { variable: VARIABLE, reason };
        let mut url = Url::parse(given).map_err(|error| refuse(error.to_string()))?;
        url.set_path("");
        ping(&url).await.map_err(|error| refuse(error.to_string()))?;
        // Database 0 is what others use.
        Ok(Self { process: None, url, directory: None, tls: None, free: Free::new(1..USUAL_DATABASES) })
    }

    async fn try_start() -> Result<Self, StartError> {
        let directory = Directory::create("redis")?;
        let url = Url::parse(&format!("redis://127.0.0.1:{}", free_port()));
        let url = url.expect("the parts of the URL are constants and a port");
        let mut server =
            Self { process: None, url, directory: Some(directory), tls: None, free: Free::new(0..DATABASES) };
        server.process = Some(server.run().await?);
        Ok(server)
    }

    /// An empty database.
    ///
    /// # Panics
    ///
    /// If all of them are in use, or the server refuses.
    pub async fn database(&self) -> RedisDatabase {
        let number = self.free.lock().pop();
        let number = number.expect("there is a numbered database for each test that runs");
        let mut url = self.url.clone();
        url.set_path(&number.to_string());
        let database = RedisDatabase { number, url, free: self.free.clone() };
        let _: () = database.ask(&["FLUSHDB"]).await;
        database
    }
}

impl Server for Redis {
    fn process(&mut self) -> &mut Option<Process> {
        &mut self.process
    }

    async fn run(&self) -> Result<Process, StartError> {
        let directory = self.directory.as_ref().expect("only a server that was started here is run").path();
        let (port, databases) = (self.url.port().unwrap_or_default().to_string(), DATABASES.to_string());
        let mut arguments = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--databases",
            &databases,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            // For DEBUG.
            "--enable-debug-command",
            "local",
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(Tls { port, issued, ca }) = &self.tls {
            arguments.extend(["--tls-port".to_owned(), port.to_string()]);
            for (option, file) in [("cert", &issued.certificate), ("key", &issued.key), ("ca-cert", ca)] {
                arguments.extend([format!("--tls-{option}-file"), file.display().to_string()]);
            }
        }
        let mut process = Process::spawn("redis", &find("redis-server", INSTEAD)?, directory, arguments)?;
        let url = self.url.clone();
        process.ready(TO_START, async || ping(&url).await).await?;
        Ok(process)
    }
}

/// A numbered database of one test.
#[derive(Debug)]
pub struct RedisDatabase {
    number: u16,
    url: Url,
    free: Free,
}

impl RedisDatabase {
    /// Which of the server's databases it is.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `redis://HOST:PORT/NUMBER`.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.url.clone();
        url.set_path(&self.number.to_string());
        url.into()
    }

    /// Salt's lines of configuration for it.
    #[must_use]
    pub fn config(&self) -> String {
        self.options().iter().map(|(key, value)| format!("redis.{key}: '{value}'\n")).collect()
    }

    /// Salt's options for it, without the name of the returner.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let url = &self.url;
        let mut options = vec![
            ("host", url.host_str().unwrap_or("127.0.0.1").to_owned()),
            ("port", url.port().unwrap_or(6379).to_string()),
            ("db", self.number.to_string()),
        ];
        options.extend(url.password().map(|password| ("password", password.to_owned())));
        options
    }

    /// Sends a command.
    ///
    /// # Panics
    ///
    /// If it fails, or answers with another type.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        match self.try_ask(command).await {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {error}", command.join(" ")),
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    ///
    /// If it fails, or answers with another type.
    pub async fn try_ask<T: FromRedisValue>(&self, command: &[&str]) -> Result<T, RedisError> {
        let mut connection = connect(&self.url).await?;
        let mut sent = ::redis::Cmd::new();
        for part in command {
            sent.arg(*part);
        }
        sent.query_async(&mut connection).await
    }

    /// The names of all keys, sorted.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }
}

impl Drop for RedisDatabase {
    fn drop(&mut self) {
        self.free.lock().push(self.number);
    }
}

async fn ping(url: &Url) -> Result<(), RedisError> {
    ::redis::cmd("PING").query_async(&mut connect(url).await?).await
}

async fn connect(url: &Url) -> Result<MultiplexedConnection, RedisError> {
    // The library waits half a second if nothing is said, and a busy disk is slower.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
    Client::open(url.as_str())?.get_multiplexed_async_connection_with_config(&config).await
}
