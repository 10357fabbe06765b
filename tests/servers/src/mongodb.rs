//! Servers that speak MongoDB's protocol, or the one that `MONGODB_URL` names.
//!
//! No package registry has MongoDB itself. Two stand in for it, and differ as MongoDB's
//! versions do: one takes keys with dots and dollars, the other refuses them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::error::Error;
use ::mongodb::options::ClientOptions;
use ::mongodb::{Client, Database};
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

use crate::directory::{Directory, find_own};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;
use crate::server::Server;

const VARIABLE: &str = "MONGODB_URL";
const INSTEAD: &str = "set MONGODB_URL to a server where databases may be made";

/// One is Python and slow to start on a busy machine.
const TO_DROP: Duration = Duration::from_secs(10);
const TO_START: Duration = Duration::from_secs(120);

/// How long one try to connect may take.
const TO_CONNECT: Duration = Duration::from_secs(5);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `nx-27017` of PyPI: takes keys with dots and dollars, as MongoDB 5 and later.
    Nx,
    /// FerretDB 1.24 on SQLite (`tests/servers/ferretdb`): refuses them.
    Ferret,
    /// What the environment names.
    Given,
}

/// A server that speaks MongoDB's protocol.
#[derive(Debug)]
pub struct Mongodb {
    flavour: Flavour,
    process: Option<Process>,
    /// Without a database.
    url: Url,
    directory: Option<Directory>,
}

impl Mongodb {
    /// The server that all tests of this process share: each takes a database of its own
    /// and leaves the server alone.
    ///
    /// # Panics
    ///
    /// If there is none; the message says how to get it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Mongodb> = OnceCell::const_new();
        let server = SHARED.get_or_try_init(|| async {
            match std::env::var(VARIABLE) {
                Ok(given) => Self::given(&given).await,
                Err(_) => Self::try_start(Flavour::Nx).await,
            }
        });
        server.await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, of the server that refuses keys with dots and dollars.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    pub async fn shared_ferretdb() -> &'static Self {
        static SHARED: OnceCell<Mongodb> = OnceCell::const_new();
        let server = SHARED.get_or_try_init(|| Self::try_start(Flavour::Ferret)).await;
        server.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server for a test that stops or kills it.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    pub async fn start(flavour: Flavour) -> Self {
        Self::try_start(flavour).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn given(given: &str) -> Result<Self, StartError> {
        let refuse = |reason: String| StartError::Given { variable: VARIABLE, reason };
        let mut url = Url::parse(given).map_err(|error| refuse(error.to_string()))?;
        keep_auth_source(&mut url);
        ping(&url).await.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { flavour: Flavour::Given, process: None, url, directory: None })
    }

    async fn try_start(flavour: Flavour) -> Result<Self, StartError> {
        let directory = Directory::create("mongodb")?;
        let url = Url::parse(&format!("mongodb://127.0.0.1:{}/", free_port()));
        let url = url.expect("the parts of the URL are constants and a port");
        let mut server = Self { flavour, process: None, url, directory: Some(directory) };
        server.process = Some(server.run().await?);
        Ok(server)
    }

    /// A database that does not exist yet.
    #[must_use]
    pub fn database(&self) -> MongoDatabase {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("returner_test_{}_{number}", std::process::id());
        MongoDatabase { name, url: self.url.clone(), dropped: self.flavour == Flavour::Given }
    }
}

impl Server for Mongodb {
    fn process(&mut self) -> &mut Option<Process> {
        &mut self.process
    }

    async fn run(&self) -> Result<Process, StartError> {
        let directory = self.directory.as_ref().expect("only a server that was started here is run").path();
        let data = directory.join("data");
        std::fs::create_dir_all(&data).map_err(|error| StartError::Write { path: data.clone(), error })?;
        let (port, data) = (self.url.port().unwrap_or_default(), data.display().to_string());
        let mut process = match self.flavour {
            Flavour::Ferret => {
                let address = format!("127.0.0.1:{port}");
                Process::spawn("ferretdb", &find_own("ferretdb", INSTEAD)?, directory, [&address, &data])?
            }
            Flavour::Nx | Flavour::Given => {
                let port = port.to_string();
                let arguments =
                    ["--data-dir", &data, "-p", &port, "--log-file", "nx.log", "--pid-file", "nx.pid"];
                Process::spawn("nx-27017", &find_own("mongo/bin/nx-27017", INSTEAD)?, directory, arguments)?
            }
        };
        let url = self.url.clone();
        process.ready(TO_START, async || ping(&url).await).await?;
        Ok(process)
    }
}

/// A database of one test.
#[derive(Debug)]
pub struct MongoDatabase {
    name: String,
    url: Url,
    /// Whether it is dropped with its value, because the server stays.
    dropped: bool,
}

impl MongoDatabase {
    /// `mongodb://HOST:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.url.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Salt's lines of configuration for it.
    #[must_use]
    pub fn config(&self) -> String {
        self.options().iter().map(|(key, value)| format!("mongo.{key}: '{value}'\n")).collect()
    }

    /// Salt's options for it, without the name of the returner.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        if self.dropped {
            // Only a URI has all that a server of one's own may need.
            return vec![("uri", self.url())];
        }
        vec![
            ("host", self.url.host_str().unwrap_or("127.0.0.1").to_owned()),
            ("port", self.url.port().unwrap_or(27017).to_string()),
            ("db", self.name.clone()),
        ]
    }

    /// All documents of a collection that a filter selects, without their `_id`, in the
    /// order of their job ids.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn find(&self, collection: &str, filter: Document) -> Vec<Document> {
        match self.try_find(collection, filter).await {
            Ok(found) => found,
            Err(error) => panic!("find in {collection}: {error}"),
        }
    }

    /// As [`MongoDatabase::find`].
    ///
    /// # Errors
    ///
    /// If the server refuses or is not there.
    pub async fn try_find(&self, collection: &str, filter: Document) -> Result<Vec<Document>, Error> {
        let collection = connect(&self.url).await?.database(&self.name).collection::<Document>(collection);
        let mut cursor = collection.find(filter).projection(doc! {"_id": 0}).await?;
        let mut found = Vec::new();
        while cursor.advance().await? {
            found.push(cursor.deserialize_current()?);
        }
        found.sort_by_key(|document| document.get_str("jid").unwrap_or_default().to_owned());
        Ok(found)
    }

    /// How many documents a collection has.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn count(&self, collection: &str) -> usize {
        self.find(collection, doc! {}).await.len()
    }
}

impl Drop for MongoDatabase {
    fn drop(&mut self) {
        if !self.dropped {
            return;
        }
        let (url, name) = (self.url.clone(), self.name.clone());
        let done = std::thread::spawn(move || -> Result<(), String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let dropped = async { database(&url, &name).await?.drop().await };
            let dropped = runtime.block_on(async { tokio::time::timeout(TO_DROP, dropped).await });
            dropped.map_err(|late| late.to_string())?.map_err(|error| error.to_string())
        });
        if let Ok(Err(error)) = done.join() {
            eprintln!("the database `{}` stays: {error}", self.name);
        }
    }
}

/// A value as JSON: numbers of each width are numbers.
///
/// # Panics
///
/// If it cannot be JSON.
pub fn bson_as_json(value: impl Into<Bson>) -> Value {
    serde_json::to_value(value.into()).unwrap_or_else(|error| panic!("not to be had as JSON: {error}"))
}

/// The path of a URI is both the database and where its user is known; with another
/// database in the path the latter must be said.
fn keep_auth_source(url: &mut Url) {
    let named = url.query_pairs().any(|(key, _)| key == "authSource");
    if !named && !url.username().is_empty() {
        let source = match url.path().trim_start_matches('/') {
            "" => "admin".to_owned(),
            database => database.to_owned(),
        };
        url.query_pairs_mut().append_pair("authSource", &source);
    }
    url.set_path("/");
}

async fn ping(url: &Url) -> Result<(), Error> {
    database(url, "admin").await?.run_command(doc! {"ping": 1}).await.map(drop)
}

async fn database(url: &Url, name: &str) -> Result<Database, Error> {
    Ok(connect(url).await?.database(name))
}

async fn connect(url: &Url) -> Result<Client, Error> {
    let mut options = ClientOptions::parse(url.as_str()).await?;
    options.server_selection_timeout = Some(TO_CONNECT);
    options.connect_timeout = Some(TO_CONNECT);
    Client::with_options(options)
}
