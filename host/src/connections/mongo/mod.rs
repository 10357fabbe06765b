//! MongoDB, by its driver: JSON text in and out, on the database of the connection.
//!
//! An operation ends within the connection's bound of time, also when the server
//! hangs. Writes are on the server's journal before they are acknowledged, unless
//! the configuration's URI has a write concern of its own.
//!
//! The driver owns the sockets; it throws those away that a timeout left in the
//! middle of the protocol, and finds a server within half a second of its return.

mod bson;
mod error;
#[cfg(test)]
mod fuzz;
mod write;

use std::time::Duration;

use ::bson::{RawDocumentBuf, rawdoc};
use futures_util::TryStreamExt;
use mongodb::options::{
    ClientOptions, ConnectionString, Credential, IndexOptions, ServerAddress, Tls, TlsOptions, WriteConcern,
};
use mongodb::{Client, Collection, Cursor, Database, IndexModel};
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub(crate) use self::error::MongoError;
pub(crate) use self::write::{MongoUpdate, MongoWriteError};
use super::answer::{AnswerBounds, AnswerSize, TooLarge};
use super::pool::{CONNECTIONS, PING};
use super::{CheckError, OpenError, connect_bound, tls};
use crate::config::{Address, MongoSettings, TlsSettings};

/// How long an operation waits for a server that is away.
const SELECTION: Duration = Duration::from_secs(2);

pub(crate) struct MongoPool {
    /// Made when it is first used: the driver starts to look for the server at once.
    client: OnceCell<Client>,
    options: Box<ClientOptions>,
    database: String,
    /// What writes wait for, as a command has it.
    concern: RawDocumentBuf,
    /// For messages: `mongo.example:27017`.
    address: String,
    bound: Duration,
}

/// What `find` may be told beside the filter; JSON.
#[derive(Debug, Clone, Default)]
pub(crate) struct MongoFind {
    pub(crate) sort: Option<String>,
    pub(crate) projection: Option<String>,
    pub(crate) limit: Option<u32>,
}

impl MongoPool {
    pub(super) fn open(name: &str, settings: &MongoSettings, bound: Duration) -> Result<Self, OpenError> {
        let (mut options, database) = match &settings.uri {
            Some(uri) => of_uri(name, uri.expose())?,
            None => (of_address(settings), None),
        };
        if let Some(wanted) = &settings.tls {
            options.tls = Some(Tls::Enabled(tls_options(name, wanted)?));
        }
        options.app_name.get_or_insert_with(|| "returner".to_owned());
        options.max_pool_size.get_or_insert(u32::try_from(CONNECTIONS).unwrap_or(u32::MAX));
        options.connect_timeout.get_or_insert(connect_bound(bound));
        options.server_selection_timeout.get_or_insert(SELECTION.min(bound));
        let concern =
            options.write_concern.get_or_insert_with(|| WriteConcern::builder().journal(true).build());
        let concern =
            ::bson::serialize_to_raw_document_buf(concern).map_err(|error| OpenError::new(name, error))?;
        let address = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let database = database.unwrap_or_else(|| settings.database.clone());
        Ok(Self { client: OnceCell::new(), options: Box::new(options), database, concern, address, bound })
    }

    /// Inserts documents; those that were not inserted are named.
    pub(crate) async fn insert(
        &self,
        collection: &str,
        documents: Vec<String>,
    ) -> Result<Vec<MongoWriteError>, MongoError> {
        let collection = self.collection(collection).await?;
        self.bounded(write::insert(&collection, documents)).await
    }

    /// Runs updates, each of one document at most; those that failed are named.
    pub(crate) async fn update_many(
        &self,
        collection: &str,
        updates: Vec<MongoUpdate>,
    ) -> Result<Vec<MongoWriteError>, MongoError> {
        let database = self.database().await?;
        self.bounded(write::update_many(&database, collection, &self.concern, updates)).await
    }

    pub(crate) async fn find(
        &self,
        collection: &str,
        filter: String,
        options: MongoFind,
        bounds: AnswerBounds,
    ) -> Result<Vec<String>, MongoError> {
        // To MongoDB, a limit of 0 is none.
        if options.limit == Some(0) {
            return Ok(Vec::new());
        }
        let collection = self.collection(collection).await?;
        let mut find = collection.find(document(&filter)?);
        if let Some(sort) = options.sort {
            find = find.sort(document(&sort)?);
        }
        if let Some(projection) = options.projection {
            find = find.projection(document(&projection)?);
        }
        if let Some(limit) = options.limit {
            find = find.limit(limit.into());
        }
        self.bounded(async { all(find.await?, bounds).await }).await
    }

    pub(crate) async fn aggregate(
        &self,
        collection: &str,
        pipeline: Vec<String>,
        bounds: AnswerBounds,
    ) -> Result<Vec<String>, MongoError> {
        let collection = self.collection(collection).await?;
        let stages = pipeline.iter().map(|stage| document(stage)).collect::<Result<Vec<_>, _>>()?;
        let aggregate = collection.aggregate(stages).with_type::<RawDocumentBuf>();
        self.bounded(async { all(aggregate.await?, bounds).await }).await
    }

    /// Deletes what matches; gives how many.
    pub(crate) async fn delete(&self, collection: &str, filter: String) -> Result<u64, MongoError> {
        let collection = self.collection(collection).await?;
        let filter = document(&filter)?;
        self.bounded(async { Ok(collection.delete_many(filter).await?.deleted_count) }).await
    }

    /// The names of all collections of the database.
    pub(crate) async fn collections(&self) -> Result<Vec<String>, MongoError> {
        let database = self.database().await?;
        self.bounded(async { Ok(database.list_collection_names().await?) }).await
    }

    pub(crate) async fn create_index(
        &self,
        collection: &str,
        keys: String,
        unique: bool,
    ) -> Result<(), MongoError> {
        let collection = self.collection(collection).await?;
        let options = IndexOptions::builder().unique(unique.then_some(true)).build();
        let index = IndexModel::builder().keys(document(&keys)?).options(options).build();
        self.bounded(async { Ok(collection.create_index(index).await.map(drop)?) }).await
    }

    pub(super) async fn check(&self) -> Result<String, CheckError> {
        let ask = async {
            let database = self.database().await?;
            self.bounded(async { Ok(database.run_raw_command(rawdoc! { "buildInfo": 1 }).await?) }).await
        };
        let reply = ask.await.map_err(|error: MongoError| CheckError(error.to_string()))?;
        Ok(reply.get_str("version").unwrap_or("unknown").to_owned())
    }

    pub(super) async fn close(&self) {
        if let Some(client) = self.client.get() {
            // What does not end in time ends with the client.
            let _ = timeout(PING, client.clone().shutdown().immediate(true)).await;
        }
    }

    async fn collection(&self, name: &str) -> Result<Collection<RawDocumentBuf>, MongoError> {
        Ok(self.database().await?.collection(name))
    }

    async fn database(&self) -> Result<Database, MongoError> {
        let client = self
            .client
            .get_or_try_init(async || Client::with_options(ClientOptions::clone(&self.options)))
            .await;
        Ok(client.map_err(|error| MongoError::outage(error.to_string()))?.database(&self.database))
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, MongoError>>) -> Result<T, MongoError> {
        match timeout(self.bound, work).await {
            // The driver's errors without a code do not say whose they are.
            Ok(Err(MongoError { code: None, message, retryable: true })) => {
                Err(MongoError::outage(format!("{}: {message}", self.address)))
            }
            Ok(result) => result,
            Err(_) => {
                Err(MongoError::outage(format!("{} did not answer within {:?}", self.address, self.bound)))
            }
        }
    }
}

fn document(json: &str) -> Result<::bson::Document, MongoError> {
    let raw = bson::document(json)?;
    ::bson::Document::try_from(raw.as_ref()).map_err(|error| MongoError {
        code: None,
        message: error.to_string(),
        retryable: false,
    })
}

async fn all(mut cursor: Cursor<RawDocumentBuf>, bounds: AnswerBounds) -> Result<Vec<String>, MongoError> {
    let mut documents = Vec::new();
    let mut held = AnswerSize::within(bounds);
    while let Some(document) = cursor.try_next().await? {
        let json = bson::json(&document)?;
        held.add(json.len() + size_of::<String>())?;
        documents.push(json);
    }
    Ok(documents)
}

impl From<TooLarge> for MongoError {
    fn from(error: TooLarge) -> Self {
        Self { code: None, message: error.to_string(), retryable: false }
    }
}

/// The driver's own message could quote a part of a password that is not encoded.
fn of_uri(name: &str, uri: &str) -> Result<(ClientOptions, Option<String>), OpenError> {
    if uri.starts_with("mongodb+srv:") {
        let reason = "`mongodb+srv://` is not supported\n  hint: name the hosts: `mongodb://a:27017,b:27017/?replicaSet=...`";
        return Err(OpenError::new(name, reason));
    }
    let invalid = "its URI is not valid\n  hint: `mongodb://USER:PASSWORD@HOST:PORT/DATABASE`, with `: / ? # [ ] @ %` in \
                   USER and PASSWORD percent-encoded";
    let parsed = ConnectionString::parse(uri).map_err(|_| OpenError::new(name, invalid))?;
    let database = parsed.default_database.clone();
    // Without a name to look up there is nothing to wait for.
    let options = futures_util::FutureExt::now_or_never(async { ClientOptions::parse(parsed).await });
    let Some(Ok(options)) = options else { return Err(OpenError::new(name, invalid)) };
    Ok((options, database))
}

fn of_address(settings: &MongoSettings) -> ClientOptions {
    let host = match &settings.address {
        Address::Tcp { host, port } => ServerAddress::Tcp { host: host.clone(), port: Some(*port) },
        Address::Unix(path) => ServerAddress::Unix { path: path.clone() },
    };
    let mut options = ClientOptions::builder().hosts(vec![host]).build();
    // As Salt's client has it: a user of the database `admin`.
    options.credential = settings.user.as_ref().map(|user| {
        let password = settings.password.as_ref().map(|password| password.expose().to_owned());
        Credential::builder().username(user.clone()).password(password).build()
    });
    options
}

fn tls_options(name: &str, wanted: &TlsSettings) -> Result<TlsOptions, OpenError> {
    tls::read(wanted).map_err(|error| OpenError::new(name, error))?;
    if wanted.certificate != wanted.key {
        let reason = "the client's certificate and key are in two files\n  hint: MongoDB's driver wants both in one PEM file; \
                      name it for both";
        return Err(OpenError::new(name, reason));
    }
    let mut options = TlsOptions::default();
    options.ca_file_path.clone_from(&wanted.ca);
    options.cert_key_file_path.clone_from(&wanted.certificate);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(uri: Option<&str>) -> MongoSettings {
        MongoSettings {
            uri: uri.map(Into::into),
            address: Address::Tcp { host: "db".to_owned(), port: 27017 },
            database: "salt".to_owned(),
            user: Some("root".to_owned()),
            password: Some("secret".into()),
            tls: None,
        }
    }

    fn open(uri: Option<&str>) -> Result<MongoPool, OpenError> {
        MongoPool::open("mongo", &settings(uri), Duration::from_secs(15))
    }

    #[test]
    fn a_uri_names_its_database_and_its_write_concern() {
        let pool =
            open(Some("mongodb://u:p@a:1,b:2/jobs?w=majority")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((pool.database.as_str(), pool.address.as_str()), ("jobs", "a:1,b:2"));
        assert_eq!(pool.concern.get_str("w").ok(), Some("majority"));
        assert!(pool.concern.get("j").is_ok_and(|journal| journal.is_none()));
    }

    #[test]
    fn writes_wait_for_the_journal() {
        let pool = open(None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((pool.database.as_str(), pool.address.as_str()), ("salt", "db:27017"));
        assert_eq!(pool.concern.get_bool("j").ok(), Some(true));
    }

    #[test]
    fn a_wrong_uri_is_not_quoted() {
        for uri in [
            "mongodb://user:hunter2?@db/",
            "mongodb://user:hunter2/x@db",
            "hunter2",
            "mongodb+srv://u:hunter2@db",
        ] {
            if let Err(error) = open(Some(uri)) {
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
        }
        assert!(open(Some("hunter2")).is_err());
    }
}
