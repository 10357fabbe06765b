//! SQL: one transaction for each call of a plugin.
//!
//! # Invariants
//! - A statement, and a commit, ends within the connection's bound of time, also
//!   when the server hangs.
//! - Once the server may have undone what a transaction wrote (a deadlock, a broken
//!   connection, a timeout), every further statement fails with the same error, and
//!   so does the commit: nothing is ever committed in part.
//! - A transaction that is dropped takes its connection with it.
//! - A connection is used again only as a new one is: after statements that certainly left nothing
//!   on it, or once the server has put away what they left.
//!
//! Knows the values and errors of `wit/capabilities.wit`, and nothing of plugins.

mod hazards;
mod mysql;
mod mysql_error;
mod mysql_statement;
mod mysql_value;
mod placeholders;
mod postgres;
mod postgres_error;
mod postgres_value;
mod server;
mod sqlite;
mod sqlite_depth;
mod sqlite_error;
mod sqlite_functions;
mod sqlite_gate;
mod sqlite_judge;
mod sqlite_session;
mod statement;

use std::sync::Arc;
use std::time::Duration;

use self::mysql::Mysql;
use self::postgres::Postgres;
use self::server::{ServerPool, ServerTransaction};
use self::sqlite::{SqlitePool, SqliteTransaction};
use super::answer::{AnswerBounds, TooLarge};
use super::pool::LeaseError;
use super::{CheckError, OpenError, TimeBounds};
use crate::config::{MysqlSettings, PostgresSettings, SqliteSettings};

pub(crate) use self::hazards::Hazards;
pub(crate) use self::placeholders::numbered;
pub(crate) use self::sqlite_judge::TableGrants;

/// Connections to one SQL database.
pub(crate) enum SqlPool {
    Mysql(ServerPool<Mysql>),
    Postgres(ServerPool<Postgres>),
    Sqlite(SqlitePool),
}

/// The statements of one call. Dropped without an end, it is rolled back.
pub(crate) enum SqlTransaction {
    Mysql(ServerTransaction<Mysql>),
    Postgres(Box<ServerTransaction<Postgres>>),
    Sqlite(Box<SqliteTransaction>),
}

/// What a transaction is for. One that is to write may read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    /// All of it is committed, or nothing.
    Write,
    /// What a server commits by itself may stand between other statements: `setup` makes tables,
    /// and is run again as a whole.
    SetUp,
}

/// A parameter, or a column of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SqlValue {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The answer to a query.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SqlRows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<SqlValue>>,
}

/// What went wrong, in the words of `wit/capabilities.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SqlErrorKind {
    Unavailable,
    Timeout,
    Denied,
    Constraint,
    Data,
    Statement,
    Other,
}

/// A statement that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(crate) struct SqlError {
    pub(crate) kind: SqlErrorKind,
    /// The server's own code: MySQL's `1062`, PostgreSQL's `23505`, SQLite's extended `2067`.
    pub(crate) code: Option<String>,
    /// Never credentials.
    pub(crate) message: String,
    /// The same call can succeed later, be it that an operator has mended something.
    pub(crate) retryable: bool,
}

/// A commit that did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Nothing was committed.
    #[error(transparent)]
    RolledBack(SqlError),
    /// The answer never came: it may be committed.
    #[error(transparent)]
    Unknown(SqlError),
}

impl SqlPool {
    pub(super) fn mysql(name: &str, settings: &MysqlSettings, bounds: TimeBounds) -> Result<Self, OpenError> {
        Ok(Self::Mysql(ServerPool::new(Mysql::new(name, settings, bounds)?, bounds.operation)))
    }

    pub(super) fn postgres(
        name: &str,
        settings: &PostgresSettings,
        bounds: TimeBounds,
    ) -> Result<Self, OpenError> {
        Ok(Self::Postgres(ServerPool::new(Postgres::new(name, settings, bounds)?, bounds.operation)))
    }

    pub(super) fn sqlite(settings: &SqliteSettings, bound: Duration) -> Self {
        Self::Sqlite(SqlitePool::open(settings, bound))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Mysql(_) => "mysql",
            Self::Postgres(_) => "postgres",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Begins a transaction, on a connection of its own.
    pub(crate) async fn begin(&self, purpose: Purpose) -> Result<SqlTransaction, SqlError> {
        self.begin_within(purpose, None).await
    }

    /// The same, held to these grants by the database where it can, which is SQLite: whoever has
    /// some asks them before each statement, too.
    pub(crate) async fn begin_within(
        &self,
        purpose: Purpose,
        grants: Option<Arc<dyn TableGrants>>,
    ) -> Result<SqlTransaction, SqlError> {
        match self {
            Self::Mysql(pool) => pool.begin(purpose).await.map(SqlTransaction::Mysql),
            Self::Postgres(pool) => pool.begin(purpose).await.map(Box::new).map(SqlTransaction::Postgres),
            Self::Sqlite(pool) => {
                let transaction = pool.begin(purpose, grants).await;
                transaction.map(|transaction| SqlTransaction::Sqlite(Box::new(transaction)))
            }
        }
    }

    pub(super) async fn check(&self) -> Result<String, CheckError> {
        let version = match self {
            Self::Mysql(pool) => pool.version().await,
            Self::Postgres(pool) => pool.version().await,
            Self::Sqlite(pool) => pool.version().await,
        };
        version.map_err(|error| CheckError(error.to_string()))
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Mysql(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

impl SqlTransaction {
    /// Runs a statement; gives the number of rows it changed. (MySQL's driver asks for
    /// the rows that it matched, which differs for an UPDATE that changes nothing.)
    pub(crate) async fn execute(
        &mut self,
        statement: String,
        params: Vec<SqlValue>,
    ) -> Result<u64, SqlError> {
        statement::refuse_transaction_control(&statement)?;
        match self {
            Self::Mysql(transaction) => transaction.execute(statement, params).await,
            Self::Postgres(transaction) => transaction.execute(statement, params).await,
            Self::Sqlite(transaction) => transaction.execute(statement, params).await,
        }
    }

    /// Asks; an answer beyond the bounds is an error.
    pub(crate) async fn query(
        &mut self,
        statement: String,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> Result<SqlRows, SqlError> {
        statement::refuse_transaction_control(&statement)?;
        match self {
            Self::Mysql(transaction) => transaction.query(statement, params, bounds).await,
            Self::Postgres(transaction) => transaction.query(statement, params, bounds).await,
            Self::Sqlite(transaction) => transaction.query(statement, params, bounds).await,
        }
    }

    pub(crate) async fn commit(self) -> Result<(), CommitError> {
        match self {
            Self::Mysql(transaction) => transaction.commit().await,
            Self::Postgres(transaction) => transaction.commit().await,
            Self::Sqlite(transaction) => transaction.commit().await,
        }
    }

    pub(crate) async fn rollback(self) {
        match self {
            Self::Mysql(transaction) => transaction.rollback().await,
            Self::Postgres(transaction) => transaction.rollback().await,
            Self::Sqlite(transaction) => transaction.rollback().await,
        }
    }
}

impl SqlValue {
    /// Its bytes, roughly.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => 8,
        }
    }
}

/// The bytes of a row, roughly.
fn size(row: &[SqlValue]) -> usize {
    row.iter().map(|value| size_of::<SqlValue>() + value.size()).sum()
}

impl From<TooLarge> for SqlError {
    fn from(error: TooLarge) -> Self {
        Self::new(SqlErrorKind::Data, error.to_string(), false)
    }
}

impl SqlError {
    fn new(kind: SqlErrorKind, message: impl Into<String>, retryable: bool) -> Self {
        Self { kind, code: None, message: message.into(), retryable }
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self::new(SqlErrorKind::Unavailable, message, true)
    }

    fn timeout(message: impl Into<String>) -> Self {
        Self::new(SqlErrorKind::Timeout, message, true)
    }

    /// There is no connection to be had.
    fn no_connection(error: LeaseError<SqlError>, server: &str, bound: Duration) -> Self {
        match error {
            LeaseError::Server(error) => error,
            LeaseError::Slow => Self::timeout(format!("{server} did not answer within {bound:?}")),
            LeaseError::Closed => Self::unavailable(format!("the connections to {server} were closed")),
            LeaseError::Busy(size) => {
                Self::timeout(format!("all {size} connections to {server} were in use for {bound:?}"))
            }
        }
    }
}
