//! The functions of the contract, as a component imports them: the test's host is asked.

use super::asked;
use crate::bindings::salt::returner;

/// The options that the configuration gives to this returner.
pub mod config {
    use super::asked;

    /// The value of an option; see [`Host::option`](crate::testing::Host::option).
    pub fn get(name: &str) -> Option<String> {
        asked("config::get", |host| host.option(name))
    }

    /// All options.
    pub fn all() -> Vec<(String, String)> {
        asked("config::all", |host| host.options())
    }
}

pub(crate) mod log {
    use super::{asked, returner};

    pub use returner::log::Level;

    /// Writes a line.
    pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
        asked("log::write", |host| host.log(level, message, fields));
    }
}

pub(crate) mod sql {
    use super::{asked, returner};

    pub use returner::sql::{Error, Kind, Rows, Value};

    /// Runs a statement; gives the number of rows that it changed.
    pub fn execute(connection: &str, statement: &str, params: &[Value]) -> Result<u64, Error> {
        asked("sql::execute", |host| host.sql_execute(connection, statement, params))
    }

    /// Runs a query.
    pub fn query(connection: &str, statement: &str, params: &[Value]) -> Result<Rows, Error> {
        asked("sql::query", |host| host.sql_query(connection, statement, params))
    }
}

pub(crate) mod redis {
    use super::{asked, returner};

    pub use returner::redis::{Error, Reply, Scalar};

    /// Sends commands; gives a reply to each.
    pub fn pipeline(connection: &str, commands: &[Vec<Vec<u8>>]) -> Result<Vec<Reply>, Error> {
        asked("redis::pipeline", |host| host.redis_pipeline(connection, commands))
    }

    /// The keys that match.
    pub fn scan(connection: &str, pattern: &str) -> Result<Vec<Vec<u8>>, Error> {
        asked("redis::scan", |host| host.redis_scan(connection, pattern))
    }
}

pub(crate) mod mongo {
    use super::{asked, returner};

    pub use returner::mongo::{Error, FindOptions, Update, WriteError};

    /// Inserts documents; gives those that were refused.
    pub fn insert(
        connection: &str,
        collection: &str,
        documents: &[String],
    ) -> Result<Vec<WriteError>, Error> {
        asked("mongo::insert", |host| host.mongo_insert(connection, collection, documents))
    }

    /// Changes documents; gives the changes that were refused.
    pub fn update_many(
        connection: &str,
        collection: &str,
        updates: &[Update],
    ) -> Result<Vec<WriteError>, Error> {
        asked("mongo::update_many", |host| host.mongo_update_many(connection, collection, updates))
    }

    /// The documents that match.
    pub fn find(
        connection: &str,
        collection: &str,
        filter: &str,
        options: &FindOptions,
    ) -> Result<Vec<String>, Error> {
        asked("mongo::find", |host| host.mongo_find(connection, collection, filter, options))
    }

    /// What the stages make of a collection.
    pub fn aggregate(connection: &str, collection: &str, pipeline: &[String]) -> Result<Vec<String>, Error> {
        asked("mongo::aggregate", |host| host.mongo_aggregate(connection, collection, pipeline))
    }

    /// Deletes what matches; gives how many those were.
    pub fn delete(connection: &str, collection: &str, filter: &str) -> Result<u64, Error> {
        asked("mongo::delete", |host| host.mongo_delete(connection, collection, filter))
    }

    /// Creates an index.
    pub fn create_index(connection: &str, collection: &str, keys: &str, unique: bool) -> Result<(), Error> {
        asked("mongo::create_index", |host| host.mongo_create_index(connection, collection, keys, unique))
    }
}

/// HTTP, to the origins that the configuration grants.
pub mod http {
    use super::{asked, returner};

    pub use returner::http::{Error, Request, Response};

    /// Sends a request.
    pub fn send(request: &Request) -> Result<Response, Error> {
        asked("http::send", |host| host.http_send(request))
    }
}
