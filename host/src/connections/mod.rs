//! The connections of the host: pools to servers, used on the guests' behalf.
//!
//! # Invariants
//! - Every operation, connecting included, ends within the connection's bound of
//!   time, also when the server hangs.
//! - After a timeout, a cancelled call or an error of the protocol a connection is
//!   thrown away; what comes back to a pool is as a new one.
//! - No message holds a credential.
//!
//! Nothing connects before it is used: a server that is away is an error of the call
//! that needs it, and the next call finds it as soon as it is back. Knows nothing of
//! plugins, grants and what is stored.

mod answer;
mod blocking;
mod http;
mod mongo;
mod names;
mod peers;
mod pool;
mod redis;
mod sql;
mod tls;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::answer::AnswerBounds;
pub(crate) use self::blocking::{begins_no_threads, spawn_blocking};
pub(crate) use self::http::{HttpBounds, HttpClient, HttpError, HttpRequest, HttpResponse};
pub(crate) use self::mongo::{MongoError, MongoFind, MongoPool, MongoUpdate, MongoWriteError};
pub(crate) use self::names::Names;
pub(crate) use self::peers::{Peers, Protocol};
pub(crate) use self::redis::{RedisError, RedisPool, RedisReply, RedisScalar};
pub(crate) use self::sql::{
    CommitError, Hazards, Purpose, SqlError, SqlErrorKind, SqlPool, SqlRows, SqlTransaction, SqlValue,
    TableGrants, numbered,
};
pub(crate) use self::tls::{TlsError, certificates, private_key};
use crate::config::{ConnectionSettings, Limits};

/// The longest that connecting may take, where a call may take longer.
const CONNECT: Duration = Duration::from_secs(5);

/// The bounds of time of what uses a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeBounds {
    /// Of one operation.
    pub(crate) operation: Duration,
    /// Of a call, in which a transaction waits for the plugin between two statements.
    pub(crate) call: Duration,
}

impl TimeBounds {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self { operation: limits.host_call, call: limits.time }
    }
}

/// A named pool of connections to one server.
pub(crate) enum Connection {
    Sql(SqlPool),
    Redis(RedisPool),
    Mongo(MongoPool),
}

/// Settings that cannot be used, whatever the server says.
#[derive(Debug, thiserror::Error)]
#[error("the connection `{name}`: {reason}")]
pub(crate) struct OpenError {
    name: String,
    /// What, and what to do.
    reason: String,
}

impl OpenError {
    /// The connection's name.
    pub(crate) fn connection(&self) -> &str {
        &self.name
    }
}

/// A server that is not there, or does not let us in.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CheckError(String);

impl Connection {
    /// Makes a connection of its settings; connects when it is first used.
    ///
    /// # Errors
    /// If a certificate file is missing or wrong, or a URI is malformed.
    pub(crate) fn open(
        name: &str,
        settings: &ConnectionSettings,
        bounds: TimeBounds,
    ) -> Result<Self, OpenError> {
        let bound = bounds.operation;
        match settings {
            ConnectionSettings::Mysql(settings) => SqlPool::mysql(name, settings, bounds).map(Self::Sql),
            ConnectionSettings::Postgres(settings) => {
                SqlPool::postgres(name, settings, bounds).map(Self::Sql)
            }
            ConnectionSettings::Sqlite(settings) => Ok(Self::Sql(SqlPool::sqlite(settings, bound))),
            ConnectionSettings::Redis(settings) => RedisPool::open(name, settings, bound).map(Self::Redis),
            ConnectionSettings::Mongo(settings) => MongoPool::open(name, settings, bound).map(Self::Mongo),
        }
    }

    /// Makes all of these, by the same names.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_all(
        settings: &BTreeMap<String, ConnectionSettings>,
        bounds: TimeBounds,
    ) -> Result<BTreeMap<String, Arc<Self>>, OpenError> {
        let open = |(name, settings): (&String, &ConnectionSettings)| {
            Ok((name.clone(), Arc::new(Self::open(name, settings, bounds)?)))
        };
        settings.iter().map(open).collect()
    }

    /// `mysql`, `postgres`, `sqlite`, `redis` or `mongo`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sql(pool) => pool.kind(),
            Self::Redis(_) => "redis",
            Self::Mongo(_) => "mongo",
        }
    }

    /// Connects, and gives the server's version.
    pub(crate) async fn check(&self) -> Result<String, CheckError> {
        match self {
            Self::Sql(pool) => pool.check().await,
            Self::Redis(pool) => pool.check().await,
            Self::Mongo(pool) => pool.check().await,
        }
    }

    /// Ends what is idle and gives out no more; calls under way end by themselves.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sql(pool) => pool.close().await,
            Self::Redis(pool) => pool.close().await,
            Self::Mongo(pool) => pool.close().await,
        }
    }
}

impl OpenError {
    fn new(name: &str, reason: impl Display) -> Self {
        Self { name: name.to_owned(), reason: reason.to_string() }
    }
}

fn connect_bound(bound: Duration) -> Duration {
    bound.min(CONNECT)
}
