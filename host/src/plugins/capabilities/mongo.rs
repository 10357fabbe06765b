//! `mongo`: operations on a granted connection's database.

use std::fmt::Debug;
use std::sync::Arc;

use crate::connections::{Connection, MongoError, MongoFind, MongoPool, MongoUpdate, MongoWriteError};
use crate::plugins::asked::{Asked, CallFailure, Fault};
use crate::plugins::contract::v0_1::salt::returner::mongo::{Error, FindOptions, Host, Update, WriteError};
use crate::plugins::narrow::{Narrowed, writes};
use crate::plugins::state::GuestState;

/// What is asked for.
struct Wanted<'w> {
    connection: &'w str,
    action: &'static str,
    /// It inserts, too, where nothing matches.
    upserts: bool,
    collection: &'w str,
    /// The bytes that are handed over.
    bytes: usize,
    /// The stages of an aggregation.
    pipeline: &'w [String],
    asked: Option<Asked>,
}

impl<'w> Wanted<'w> {
    fn new<'h>(
        state: &GuestState,
        [connection, collection]: [&'w str; 2],
        action: &'static str,
        handed: impl IntoIterator<Item = &'h String> + Clone,
    ) -> Self {
        let bytes = handed.clone().into_iter().map(String::len).sum();
        let what = || format!("mongo.{action} {connection}: {collection}");
        let asked = state.asked(|| Asked::one(what(), handed.into_iter().map(String::as_str)));
        Self { connection, action, upserts: false, collection, bytes, pipeline: &[], asked }
    }

    fn in_bulk(self) -> Self {
        Self { asked: self.asked.map(Asked::in_bulk), ..self }
    }
}

/// MongoDB's code for what does not fit a collection's rules (`DocumentValidationFailure`).
const REFUSED: i32 = 121;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for GuestState {
    async fn insert(
        &mut self,
        connection: String,
        collection: String,
        documents: Vec<String>,
    ) -> Answer<Vec<WriteError>> {
        let wanted = Wanted::new(self, [&connection, &collection], "insert", &documents).in_bulk();
        let insert = async |pool: &MongoPool, within: Option<Fault>| {
            in_bulk(documents, within, async |documents| pool.insert(&collection, documents).await).await
        };
        Ok(self.mongo(wanted, insert).await.map(write_errors))
    }

    async fn update_many(
        &mut self,
        connection: String,
        collection: String,
        updates: Vec<Update>,
    ) -> Answer<Vec<WriteError>> {
        let handed = updates.iter().flat_map(|update| [&update.filter, &update.change]);
        let wanted = Wanted::new(self, [&connection, &collection], "update", handed).in_bulk();
        let wanted = Wanted { upserts: updates.iter().any(|update| update.upsert), ..wanted };
        let update = |Update { filter, change, upsert }| MongoUpdate { filter, change, upsert };
        let updates = updates.into_iter().map(update).collect();
        let update = async |pool: &MongoPool, within: Option<Fault>| {
            in_bulk(updates, within, async |updates| pool.update_many(&collection, updates).await).await
        };
        Ok(self.mongo(wanted, update).await.map(write_errors))
    }

    async fn find(
        &mut self,
        connection: String,
        collection: String,
        filter: String,
        options: FindOptions,
    ) -> Answer<Vec<String>> {
        let wanted = Wanted::new(self, [&connection, &collection], "find", [&filter]);
        let FindOptions { sort, projection, limit } = options;
        let options = MongoFind { sort, projection, limit };
        let bounds = self.grants.answer();
        let find = async |pool: &MongoPool, _| pool.find(&collection, filter, options, bounds).await;
        Ok(self.mongo(wanted, find).await)
    }

    async fn aggregate(
        &mut self,
        connection: String,
        collection: String,
        pipeline: Vec<String>,
    ) -> Answer<Vec<String>> {
        let (stages, bounds) = (pipeline.clone(), self.grants.answer());
        let wanted = Wanted::new(self, [&connection, &collection], "aggregate", &stages);
        let wanted = Wanted { pipeline: &stages, ..wanted };
        let aggregate = async |pool: &MongoPool, _| pool.aggregate(&collection, pipeline, bounds).await;
        Ok(self.mongo(wanted, aggregate).await)
    }

    async fn delete(&mut self, connection: String, collection: String, filter: String) -> Answer<u64> {
        let wanted = Wanted::new(self, [&connection, &collection], "delete", [&filter]);
        let delete = async |pool: &MongoPool, _| pool.delete(&collection, filter).await;
        Ok(self.mongo(wanted, delete).await)
    }

    async fn create_index(
        &mut self,
        connection: String,
        collection: String,
        keys: String,
        unique: bool,
    ) -> Answer<()> {
        let wanted = Wanted::new(self, [&connection, &collection], "create-index", [&keys]);
        let create = async |pool: &MongoPool, _| pool.create_index(&collection, keys, unique).await;
        Ok(self.mongo(wanted, create).await)
    }
}

impl GuestState {
    async fn mongo<T: Default + Debug>(
        &mut self,
        mut wanted: Wanted<'_>,
        operation: impl AsyncFnOnce(&MongoPool, Option<Fault>) -> Result<T, MongoError>,
    ) -> Result<T, Error> {
        let asked = wanted.asked.take();
        let work = async |state: &mut Self, within: Option<Fault>| {
            let granted: Arc<Connection> = state.connection(wanted.connection).map_err(denied)?;
            let Connection::Mongo(pool) = &*granted else {
                return Err(denied(Self::wrong_kind(wanted.connection, &granted, "mongo")));
            };
            match state.held_back(&wanted)? {
                true => Ok(T::default()),
                false => operation(pool, within).await.map_err(Error::from),
            }
        };
        self.answer_with(asked, work, |answer| format!("{answer:?}")).await
    }

    /// Whether what is allowed is not to be done, because this is a trial and it writes.
    fn held_back(&self, wanted: &Wanted<'_>) -> Result<bool, Error> {
        let Wanted { connection, action, upserts, collection, pipeline, bytes, .. } = *wanted;
        self.fits([bytes]).map_err(denied)?;
        for action in upserts.then_some("insert").into_iter().chain([action]) {
            let allows = |granted: &Narrowed| granted.allows_action(action, collection, pipeline);
            self.narrowed(connection, allows).map_err(denied)?;
        }
        if self.is_trial() && action == "aggregate" && writes(pipeline) {
            return Err(denied("this is a trial, and the aggregation writes".to_owned()));
        }
        Ok(self.is_trial() && !matches!(action, "find" | "aggregate"))
    }
}

fn denied(message: String) -> Error {
    Error { code: None, message, retryable: false }
}

/// Does all operations; at a bench, perhaps all but the last, which is refused.
async fn in_bulk<T>(
    mut operations: Vec<T>,
    within: Option<Fault>,
    work: impl AsyncFnOnce(Vec<T>) -> Result<Vec<MongoWriteError>, MongoError>,
) -> Result<Vec<MongoWriteError>, MongoError> {
    let Some((fault, _)) = within.zip(operations.pop_if(|_| within.is_some())) else {
        return work(operations).await;
    };
    let index = u32::try_from(operations.len()).unwrap_or(u32::MAX);
    let mut errors = if operations.is_empty() { Vec::new() } else { work(operations).await? };
    errors.push(MongoWriteError { index, code: REFUSED, message: fault.message().to_owned() });
    Ok(errors)
}

fn write_errors(errors: Vec<MongoWriteError>) -> Vec<WriteError> {
    let write_error = |MongoWriteError { index, code, message }| WriteError { index, code, message };
    errors.into_iter().map(write_error).collect()
}

impl CallFailure for Error {
    fn of(fault: Fault) -> Self {
        Self { code: None, message: fault.message().to_owned(), retryable: fault.is_retryable() }
    }

    fn message(&self) -> &str {
        &self.message
    }
}

impl From<MongoError> for Error {
    fn from(error: MongoError) -> Self {
        Self { code: error.code, message: error.message, retryable: error.retryable }
    }
}
