//! MySQL and MariaDB, by sqlx.
//!
//! A session is utf8mb4, in UTC, and strict: a value that does not fit is an error,
//! never cut. Lock waits end on the server before the host's bound of time does, so
//! that no statement is left waiting for a lock on behalf of nobody. So do all statements
//! on MariaDB, and those that only read on MySQL; what is left of one that nobody waits
//! for any more is ended by its connection's number. MariaDB also ends a transaction that
//! nobody goes on with, for a network that has lost the connection.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlArguments, MySqlColumn, MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{
    Arguments, AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row, SqlSafeStr, Statement,
};
use tokio::time::timeout;

use super::mysql_error::{ends_transaction, error_of};
use super::server::{Control, Driver, QueryError, Stop, connected};
use super::statement::Effects;
use super::{SqlError, SqlErrorKind, SqlRows, SqlValue, mysql_statement, mysql_value, size};
use crate::config::{Address, MysqlSettings, MysqlTls};
use crate::connections::answer::{AnswerBounds, AnswerSize};
use crate::connections::pool::{FRESH, PING, Server};
use crate::connections::{OpenError, TimeBounds, tls};

/// Prepared statements kept by one connection.
const STATEMENTS: usize = 100;

/// The longest text of one that is kept, here and at the server, which makes many times its
/// length of it. The SDK's longest INSERT of fifteen columns fits.
const KEPT: usize = 32 << 10;

/// MySQL's code of a packet that is larger than it takes (`ER_NET_PACKET_TOO_LARGE`).
const TOO_LARGE: &str = "1153";

/// What a packet carries beside the text and the parameters, at most.
const PACKET_OVERHEAD: usize = 64;

/// What a parameter takes beside its bytes, at most: its type and its length.
const PARAMETER_OVERHEAD: usize = 12;

pub(crate) struct Mysql {
    options: MySqlConnectOptions,
    /// For messages: `db.example:3306`.
    address: String,
    /// Sets up a session.
    setup: String,
    bound: Duration,
}

pub(crate) struct Session {
    connection: MySqlConnection,
    /// What the server calls the connection.
    id: u64,
    /// When it was there.
    since: Instant,
    version: String,
    /// The server's `max_allowed_packet`.
    max_packet: usize,
}

impl Session {
    /// Too large a packet is refused here: the server would answer it by closing the connection,
    /// perhaps before it says why. Where an operator has raised the bound since, a new connection
    /// takes it. Gives the bytes of the parameters.
    async fn check_size(&mut self, statement: &str, params: &[SqlValue]) -> Result<usize, SqlError> {
        let values = params.iter().map(|param| param.size() + PARAMETER_OVERHEAD).sum();
        let size = statement.len().max(values) + PACKET_OVERHEAD;
        if size <= self.max_packet {
            return Ok(values);
        }
        let now = self.connection.fetch_one("SELECT @@GLOBAL.max_allowed_packet").await;
        let now = now.and_then(|row| row.try_get_unchecked::<u64, _>(0)).unwrap_or_default();
        let (is_raised, most) = (now >= size as u64, self.max_packet);
        let message = format!("{size} bytes are more than the server takes (max_allowed_packet, {most})");
        let error = SqlError::new(SqlErrorKind::Data, message, is_raised);
        Err(SqlError { code: Some(TOO_LARGE.to_owned()), ..error })
    }
}

impl Mysql {
    pub(super) fn new(name: &str, settings: &MysqlSettings, bounds: TimeBounds) -> Result<Self, OpenError> {
        let mut options = MySqlConnectOptions::new()
            .username(&settings.user)
            .database(&settings.database)
            .statement_cache_capacity(STATEMENTS)
            .charset("utf8mb4")
            .timezone(Some("+00:00".to_owned()))
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .disable_statement_logging();
        if let Some(password) = &settings.password {
            options = options.password(password.expose());
        }
        let address = match &settings.address {
            Address::Tcp { host, port } => {
                options = options.host(host).port(*port);
                format!("{host}:{port}")
            }
            Address::Unix(path) => {
                options = options.socket(path);
                path.display().to_string()
            }
        };
        options = with_tls(options, name, settings)?;
        Ok(Self { options, address, setup: setup(bounds), bound: bounds.operation })
    }

    async fn session(&self) -> Result<Session, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        connection.execute(AssertSqlSafe(self.setup.clone())).await?;
        let row = connection.fetch_one("SELECT VERSION(), @@max_allowed_packet, CONNECTION_ID()").await?;
        let max_packet = usize::try_from(row.try_get_unchecked::<u64, _>(1)?).unwrap_or(usize::MAX);
        let (version, id) = (row.try_get_unchecked(0)?, row.try_get_unchecked(2)?);
        Ok(Session { version, id, since: Instant::now(), connection, max_packet })
    }
}

impl Server for Mysql {
    type Connection = Session;
    type Error = SqlError;

    async fn connect(&self) -> Result<Session, SqlError> {
        let session = async { self.session().await.map_err(|error| error_of(&error)) };
        connected(&self.address, self.bound, session).await
    }

    async fn is_alive(&self, session: &mut Session, idle: Duration) -> bool {
        idle < FRESH || matches!(timeout(PING, session.connection.ping()).await, Ok(Ok(())))
    }

    async fn disconnect(&self, session: Session) {
        // Nothing depends on whether the server hears it.
        let _ = timeout(PING, session.connection.close()).await;
    }
}

impl Driver for Mysql {
    fn address(&self) -> &str {
        &self.address
    }

    fn version(session: &Session) -> &str {
        &session.version
    }

    async fn control(session: &mut Session, control: Control) -> Result<(), SqlError> {
        let done = session.connection.execute(control.statement()).await;
        done.map(drop).map_err(|error| error_of(&error))
    }

    async fn execute(
        session: &mut Session,
        statement: String,
        params: Vec<SqlValue>,
    ) -> Result<u64, SqlError> {
        let size = session.check_size(&statement, &params).await?;
        let arguments = arguments(params, size)?;
        let is_kept = statement.len() <= KEPT;
        let statement = sqlx::query_with(AssertSqlSafe(statement), arguments).persistent(is_kept);
        let done = statement.execute(&mut session.connection).await;
        done.map(|done| done.rows_affected()).map_err(|error| error_of(&error))
    }

    async fn query(
        session: &mut Session,
        statement: String,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> Result<SqlRows, QueryError> {
        let size = session.check_size(&statement, &params).await?;
        let arguments = arguments(params, size)?;
        rows(&mut session.connection, statement, arguments, bounds).await
    }

    fn effects(statement: &str) -> Result<Effects, SqlError> {
        mysql_statement::effects(statement)
    }

    /// A user may end its own connections.
    fn stop(&self, session: &Session, _: Option<Instant>) -> Stop {
        let (options, id, since) = (self.options.clone(), session.id, session.since);
        Box::new(move || {
            let options = options.clone();
            Box::pin(async move { end(&options, id, since).await.map_err(|error| error_of(&error)) })
        })
    }

    fn ends_transaction(error: &SqlError) -> bool {
        ends_transaction(error)
    }

    /// A packet was too large: an operator may have raised the bound, which a session reads once.
    fn is_outdated(error: &SqlError) -> bool {
        error.code.as_deref() == Some(TOO_LARGE)
    }
}

/// Encryption as the settings want it.
fn with_tls(
    options: MySqlConnectOptions,
    name: &str,
    settings: &MysqlSettings,
) -> Result<MySqlConnectOptions, OpenError> {
    let wanted = match (&settings.tls, &settings.address) {
        (MysqlTls::Verified(wanted), _) => wanted,
        (MysqlTls::Preferred, Address::Tcp { .. }) => return Ok(options.ssl_mode(MySqlSslMode::Preferred)),
        (MysqlTls::Preferred, Address::Unix(_)) | (MysqlTls::Disabled, _) => {
            return Ok(options.ssl_mode(MySqlSslMode::Disabled));
        }
    };
    let pem = tls::read(wanted).map_err(|error| OpenError::new(name, error))?;
    // The certificates that MySQL makes for itself name no host: a private authority
    // vouches for the server, a public one for its name too.
    let mut options = match pem.ca {
        Some(ca) => options.ssl_mode(MySqlSslMode::VerifyCa).ssl_ca_from_pem(ca),
        None => options.ssl_mode(MySqlSslMode::VerifyIdentity),
    };
    if let Some(client) = pem.client {
        options = options.ssl_client_cert_from_pem(client.certificate).ssl_client_key_from_pem(client.key);
    }
    Ok(options)
}

/// Ends a connection that was there at a time. A server that has begun since has ended it, and
/// numbers anew: the number is somebody else's.
async fn end(options: &MySqlConnectOptions, id: u64, since: Instant) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    let row = connection.fetch_one("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
    let up: String = row.try_get_unchecked(1)?;
    if up.parse().is_ok_and(|seconds: u64| seconds >= since.elapsed().as_secs()) {
        connection.execute(AssertSqlSafe(format!("KILL {id}"))).await?;
    }
    connection.close().await
}

fn setup(bounds: TimeBounds) -> String {
    let bound = bounds.operation;
    // Longer than a plugin may compute between two statements.
    let idle = (bounds.call + bound).as_secs() + 1;
    let lock_wait = bound.as_secs().saturating_sub(1).max(1);
    // Later than the host gives up, whose error says what was too long, and ends the statement: this
    // is for a host that is gone.
    let bound = bound + Duration::from_secs(1);
    let (seconds, milliseconds) = (bound.as_secs_f64(), bound.as_millis());
    // Two bounds are MariaDB's, which leaves out what is for MySQL from 5.7 on, and one is MySQL's,
    // which has none for a transaction that nobody goes on with.
    format!(
        "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'), autocommit = 1, \
         innodb_lock_wait_timeout = {lock_wait}, lock_wait_timeout = {lock_wait} \
         /*M!100101 , max_statement_time = {seconds:.3} */ \
         /*M!100300 , idle_transaction_timeout = {idle} */ /*!50708 , max_execution_time = {milliseconds} */"
    )
}

async fn rows(
    connection: &mut MySqlConnection,
    statement: String,
    arguments: MySqlArguments,
    bounds: AnswerBounds,
) -> Result<SqlRows, QueryError> {
    let server = |error: sqlx::Error| QueryError::Server(error_of(&error));
    let mut answer = SqlRows::default();
    let mut held = AnswerSize::within(bounds);
    let statement = AssertSqlSafe(statement).into_sql_str();
    let is_kept = statement.as_str().len() <= KEPT;
    let asked = sqlx::query_with(statement.clone(), arguments).persistent(is_kept);
    let mut rows = asked.fetch(&mut *connection);
    while let Some(row) = rows.try_next().await.map_err(server)? {
        if answer.columns.is_empty() {
            answer.columns = names(row.columns());
        }
        let row = mysql_value::row(&row).map_err(QueryError::Answer)?;
        held.add(size(&row)).map_err(|error| QueryError::Answer(error.into()))?;
        answer.rows.push(row);
    }
    drop(rows);
    if answer.rows.is_empty() {
        // Only rows come with the names; the prepared statement has them too.
        let prepared = connection.prepare(statement).await.map_err(server)?;
        answer.columns = names(prepared.columns());
        // The driver keeps whatever it has prepared so.
        if !is_kept {
            connection.clear_cached_statements().await.map_err(server)?;
        }
    }
    Ok(answer)
}

fn names(columns: &[MySqlColumn]) -> Vec<String> {
    columns.iter().map(|column| column.name().to_owned()).collect()
}

/// The parameters as the driver wants them, with room for so many bytes.
fn arguments(params: Vec<SqlValue>, size: usize) -> Result<MySqlArguments, SqlError> {
    let mut arguments = MySqlArguments::default();
    arguments.reserve(params.len(), size);
    for param in params {
        let added = match param {
            SqlValue::Null => arguments.add(None::<String>),
            SqlValue::Boolean(value) => arguments.add(value),
            SqlValue::Integer(value) => arguments.add(value),
            SqlValue::Float(value) => arguments.add(value),
            SqlValue::Text(value) => arguments.add(value.as_str()),
            SqlValue::Bytes(value) => arguments.add(value.as_slice()),
        };
        added.map_err(|error| SqlError::new(SqlErrorKind::Data, error.to_string(), false))?;
    }
    Ok(arguments)
}

#[cfg(test)]
#[path = "mysql_tests.rs"]
mod tests;
