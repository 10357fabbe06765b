//! `mongo`: operations on a granted connection's database.

use std::fmt::Debug;
use std::sync::Arc;

use crate::connections::{Connection, MongoError, MongoFind, MongoPool, MongoUpdate, MongoWriteError};
use crate::plugins::contract::salt::returner::mongo::{Error, FindOptions, Host, Update, WriteError};
use crate::plugins::narrow::Narrowed;
use crate::plugins::state::GuestState;

/// What is asked for.
struct Wanted<'w> {
    action: &'static str,
    collection: &'w str,
    /// The stages of an aggregation.
    pipeline: &'w [String],
}

impl<'w> Wanted<'w> {
    fn of(action: &'static str, collection: &'w str) -> Self {
        Self { action, collection, pipeline: &[] }
    }
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for GuestState {
    async fn insert(
        &mut self,
        connection: String,
        collection: String,
        documents: Vec<String>,
    ) -> Answer<Vec<WriteError>> {
        self.note(|| format!("mongo {connection}: insert into {collection}"), &documents);
        if let Err(message) = self.fits(documents.iter().map(String::len)) {
            return Ok(Err(denied(message)));
        }
        let result = self
            .mongo(&connection, Wanted::of("insert", &collection), async |pool| {
                pool.insert(&collection, documents).await
            })
            .await;
        Ok(result.map(write_errors))
    }

    async fn update_many(
        &mut self,
        connection: String,
        collection: String,
        updates: Vec<Update>,
    ) -> Answer<Vec<WriteError>> {
        let handed = updates.iter().flat_map(|update| [&update.filter, &update.change]);
        self.note(|| format!("mongo {connection}: update {collection}"), handed);
        if let Err(message) =
            self.fits(updates.iter().map(|update| update.filter.len() + update.change.len()))
        {
            return Ok(Err(denied(message)));
        }
        let updates = updates
            .into_iter()
            .map(|Update { filter, change, upsert }| MongoUpdate { filter, change, upsert })
            .collect();
        let result = self
            .mongo(&connection, Wanted::of("update", &collection), async |pool| {
                pool.update_many(&collection, updates).await
            })
            .await;
        Ok(result.map(write_errors))
    }

    async fn find(
        &mut self,
        connection: String,
        collection: String,
        filter: String,
        options: FindOptions,
    ) -> Answer<Vec<String>> {
        self.note(|| format!("mongo {connection}: find in {collection}"), [&filter]);
        let FindOptions { sort, projection, limit } = options;
        let options = MongoFind { sort, projection, limit };
        let bounds = self.grants.answer();
        Ok(self
            .mongo(&connection, Wanted::of("find", &collection), async |pool| {
                pool.find(&collection, filter, options, bounds).await
            })
            .await)
    }

    async fn aggregate(
        &mut self,
        connection: String,
        collection: String,
        pipeline: Vec<String>,
    ) -> Answer<Vec<String>> {
        self.note(|| format!("mongo {connection}: aggregate {collection}"), &pipeline);
        let (stages, bounds) = (pipeline.clone(), self.grants.answer());
        let wanted = Wanted { pipeline: &stages, ..Wanted::of("aggregate", &collection) };
        Ok(self
            .mongo(&connection, wanted, async |pool| pool.aggregate(&collection, pipeline, bounds).await)
            .await)
    }

    async fn delete(&mut self, connection: String, collection: String, filter: String) -> Answer<u64> {
        self.note(|| format!("mongo {connection}: delete from {collection}"), [&filter]);
        Ok(self
            .mongo(&connection, Wanted::of("delete", &collection), async |pool| {
                pool.delete(&collection, filter).await
            })
            .await)
    }

    async fn create_index(
        &mut self,
        connection: String,
        collection: String,
        keys: String,
        unique: bool,
    ) -> Answer<()> {
        self.note(|| format!("mongo {connection}: index of {collection}"), [&keys]);
        Ok(self
            .mongo(&connection, Wanted::of("create-index", &collection), async |pool| {
                pool.create_index(&collection, keys, unique).await
            })
            .await)
    }
}

impl GuestState {
    async fn mongo<T: Default + Debug>(
        &mut self,
        name: &str,
        wanted: Wanted<'_>,
        operation: impl AsyncFnOnce(&MongoPool) -> Result<T, MongoError>,
    ) -> Result<T, Error> {
        let told = self.asked.take();
        let result = self.allowed(name, wanted, operation).await;
        self.tell(told, || match &result {
            Ok(answer) => format!("{answer:?}"),
            Err(error) => format!("error: {}", error.message),
        });
        result
    }

    async fn allowed<T: Default>(
        &mut self,
        name: &str,
        Wanted { action, collection, pipeline }: Wanted<'_>,
        operation: impl AsyncFnOnce(&MongoPool) -> Result<T, MongoError>,
    ) -> Result<T, Error> {
        let granted: Arc<Connection> = self.connection(name).map_err(denied)?;
        let Connection::Mongo(pool) = &*granted else {
            return Err(denied(Self::wrong_kind(name, &granted, "mongo")));
        };
        let allows = |granted: &Narrowed| granted.allows_action(action, collection, pipeline);
        self.narrowed(name, allows).map_err(denied)?;
        if self.is_trial() {
            match action {
                "find" => {}
                "aggregate"
                    if pipeline.iter().any(|stage| stage.contains("$out") || stage.contains("$merge")) =>
                {
                    return Err(denied("this is a trial, and the aggregation writes".to_owned()));
                }
                "aggregate" => {}
                _ => return Ok(T::default()),
            }
        }
        self.host_call(async |_| operation(pool).await).await.map_err(Error::from)
    }
}

fn denied(message: String) -> Error {
    Error { code: None, message, retryable: false }
}

fn write_errors(errors: Vec<MongoWriteError>) -> Vec<WriteError> {
    let write_error = |MongoWriteError { index, code, message }| WriteError { index, code, message };
    errors.into_iter().map(write_error).collect()
}

impl From<MongoError> for Error {
    fn from(error: MongoError) -> Self {
        Self { code: error.code, message: error.message, retryable: error.retryable }
    }
}
