//! PostgreSQL, by tokio-postgres.
//!
//! A session is in UTC. Statements and lock waits end on the server before the host's bound
//! of time does, and a transaction ends that nobody goes on with, for a network that has lost
//! the connection. PostgreSQL gives up a whole transaction for one failed statement; a
//! savepoint before each one makes it as with the other servers, where only the statement is
//! undone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{CancelToken, Client, Config, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::placeholders::numbered;
use super::postgres_error::{ends_transaction, error_of};
use super::postgres_value::{self, Param};
use super::server::{Control, Driver, QueryError, Stop, connected};
use super::statement::Effects;
use super::{SqlError, SqlErrorKind, SqlRows, SqlValue, size, statement};
use crate::config::{PostgresSettings, PostgresTls};
use crate::connections::answer::{AnswerBounds, AnswerSize};
use crate::connections::pool::{FRESH, PING, Server};
use crate::connections::tls::{self, Verify};
use crate::connections::{OpenError, TimeBounds};

/// Prepared statements kept by one connection.
const STATEMENTS: usize = 100;

/// The longest text of one that is kept, here and at the server, which makes many times its
/// length of it. The SDK's longest INSERT of fifteen columns fits, with its numbers.
const KEPT: usize = 32 << 10;

/// The most parameters of a statement: their number goes over in 16 bits.
const MAX_PARAMS: usize = 65_535;

/// Undone to, if the statement after it fails.
const SAVEPOINT: &str = "SAVEPOINT statement";
const NEXT_SAVEPOINT: &str = "RELEASE SAVEPOINT statement; SAVEPOINT statement";
const TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT statement";

/// DISCARD ALL (<https://www.postgresql.org/docs/current/sql-discard.html>) without what it does to
/// prepared statements: those of the host are kept, and [`PREPARED`] tells of others. The role is
/// the one that the session began with. Its names are the server's own once the path is reset.
const CLEANING: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; \
     SELECT 'prepared' FROM pg_catalog.pg_prepared_statements WHERE from_sql LIMIT 1";
const PREPARED: &str = "prepared";

/// What may do to a session what [`CLEANING`] does not undo.
const BEYOND_CLEANING: [&str; 7] = ["CALL", "DEALLOCATE", "DISCARD", "DO", "EXECUTE", "LOAD", "PREPARE"];

pub(crate) struct Postgres {
    config: Config,
    tls: MakeRustlsConnect,
    /// For messages: `db.example:5432`.
    address: String,
    /// Sets up a session.
    setup: String,
    /// Puts away what was left on one, and sets it up.
    cleaning: Arc<str>,
    bound: Duration,
}

pub(crate) struct Session {
    client: Client,
    /// Reads and writes; ends with the session, also if the server hangs.
    wire: AbortOnDropHandle<Result<(), tokio_postgres::Error>>,
    version: String,
    cleaning: Arc<str>,
    /// The server's process.
    process: i32,
    statements: HashMap<String, Statement>,
    /// The statement under way was prepared for it, and not before.
    fresh: bool,
    /// There is a savepoint in this transaction.
    saved: bool,
}

impl Postgres {
    pub(super) fn new(
        name: &str,
        settings: &PostgresSettings,
        bounds: TimeBounds,
    ) -> Result<Self, OpenError> {
        let PostgresSettings { host, port, user, password, database, tls_mode, tls } = settings;
        let mut config = Config::new();
        config.host(host).port(*port).user(user).dbname(database).application_name("returner");
        if let Some(password) = password {
            config.password(password.expose());
        }
        // libpq's modes (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
        let (mode, verify) = match tls_mode {
            PostgresTls::Disable => (SslMode::Disable, Verify::Nothing),
            PostgresTls::Prefer => (SslMode::Prefer, Verify::Nothing),
            PostgresTls::Require => (SslMode::Require, Verify::Nothing),
            PostgresTls::VerifyCa => (SslMode::Require, Verify::Authority),
            PostgresTls::VerifyFull => (SslMode::Require, Verify::Name),
        };
        config.ssl_mode(mode);
        let pem = tls::read(tls).map_err(|error| OpenError::new(name, error))?;
        let tls = tls::client(pem, verify).map_err(|error| OpenError::new(name, error))?;
        let setup = setup(bounds);
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls),
            address: format!("{host}:{port}"),
            cleaning: format!("{CLEANING}; {setup}").into(),
            setup,
            bound: bounds.operation,
        })
    }

    async fn session(&self) -> Result<Session, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let wire = AbortOnDropHandle::new(tokio::spawn(connection));
        client.batch_execute(&self.setup).await?;
        let row = client.query_one("SELECT version(), pg_backend_pid()", &[]).await?;
        let (version, process) = (row.try_get(0)?, row.try_get(1)?);
        let cleaning = Arc::clone(&self.cleaning);
        Ok(Session {
            client,
            wire,
            version,
            cleaning,
            process,
            statements: HashMap::new(),
            fresh: true,
            saved: false,
        })
    }
}

impl Session {
    /// Makes the point to which a statement that fails is undone. Without one the transaction is
    /// lost, whatever the server says: it may have given it up.
    async fn save(&mut self) -> Result<(), SqlError> {
        let savepoint = if self.saved { NEXT_SAVEPOINT } else { SAVEPOINT };
        let lost = |error| SqlError { code: None, ..error_of(&error) };
        self.client.batch_execute(savepoint).await.map_err(lost)?;
        self.saved = true;
        Ok(())
    }

    /// After a statement that the server refused. Where that ends the transaction, it ends at
    /// once: whoever waits for its locks goes on.
    async fn undo(&mut self, error: SqlError) -> SqlError {
        if error.code.is_none() || error.kind == SqlErrorKind::Unavailable {
            return error;
        }
        let back = if ends_transaction(&error) { Control::Rollback.statement() } else { TO_SAVEPOINT };
        match self.client.batch_execute(back).await {
            Ok(()) => error,
            Err(failed) => SqlError { code: None, ..error_of(&failed) },
        }
    }

    /// Puts away what the statements of a transaction have left. A function, a view or a rule of the
    /// database's own can leave anything, so no text of a statement tells that it left nothing.
    async fn clean(&self) -> Result<(), SqlError> {
        let answers = self.client.simple_query(&self.cleaning).await.map_err(|error| error_of(&error))?;
        let is_left = |answer: &SimpleQueryMessage| match answer {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(PREPARED),
            _ => false,
        };
        if answers.iter().any(is_left) {
            return Err(SqlError::unavailable("a statement was left prepared on the connection"));
        }
        Ok(())
    }

    /// The prepared statement, if these are parameters for it.
    async fn prepared(&mut self, text: &str, params: &[SqlValue]) -> Result<Statement, SqlError> {
        if params.len() > MAX_PARAMS {
            let count = params.len();
            return Err(wrong(format!("{count} parameters; PostgreSQL takes {MAX_PARAMS} in one statement")));
        }
        if statement::copies(text) {
            return Err(wrong("COPY is not for plugins; INSERT takes many rows at once".to_owned()));
        }
        let known = self.statements.get(text).cloned();
        self.fresh = known.is_none();
        let statement = match known {
            Some(known) => known,
            None => {
                let prepared = self.client.prepare(&numbered(text)).await;
                let prepared = prepared.map_err(|error| error_of(&error))?;
                if self.statements.len() >= STATEMENTS {
                    self.statements.clear();
                }
                // Another one is closed at the server as soon as it was used.
                if text.len() <= KEPT {
                    self.statements.insert(text.to_owned(), prepared.clone());
                }
                prepared
            }
        };
        let (given, wanted) = (params.len(), statement.params().len());
        if given != wanted {
            return Err(wrong(format!("{given} parameters where the statement has {wanted} `?`")));
        }
        let is_text = |(param, wanted): (&SqlValue, &Type)| postgres_value::fits(param, wanted);
        match params.iter().zip(statement.params()).position(|pair| !is_text(pair)) {
            Some(place) => {
                Err(wrong(format!("the parameter {} has bytes that are no text, in place of one", place + 1)))
            }
            None => Ok(statement),
        }
    }

    /// The error of a statement; one that was prepared before may be about tables that changed since:
    /// what does not fit to a column as it was (SQLSTATE's class 22) is tried as it is.
    fn failed(&mut self, text: &str, error: &tokio_postgres::Error) -> SqlError {
        self.statements.remove(text);
        let error = error_of(error);
        let is_of_data = error.code.as_deref().is_some_and(|code| code.starts_with("22"));
        SqlError { retryable: error.retryable || (is_of_data && !self.fresh), ..error }
    }

    async fn execute(&mut self, statement: &str, params: Vec<SqlValue>) -> Result<u64, SqlError> {
        let prepared = self.prepared(statement, &params).await?;
        let done = self.client.execute_raw(&prepared, params.into_iter().map(Param)).await;
        done.map_err(|error| self.failed(statement, &error))
    }

    async fn query(
        &mut self,
        statement: &str,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> Result<SqlRows, QueryError> {
        let prepared = self.prepared(statement, &params).await?;
        let columns = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let mut answer = SqlRows { columns, rows: Vec::new() };
        let mut held = AnswerSize::within(bounds);
        let rows = self.client.query_raw(&prepared, params.into_iter().map(Param)).await;
        let mut rows = std::pin::pin!(rows.map_err(|error| self.failed(statement, &error))?);
        while let Some(row) = rows.try_next().await.map_err(|error| self.failed(statement, &error))? {
            let row = postgres_value::row(&row).map_err(QueryError::Answer)?;
            held.add(size(&row)).map_err(|error| QueryError::Answer(error.into()))?;
            answer.rows.push(row);
        }
        Ok(answer)
    }
}

/// The error of a statement that is not sent. It has the code of a syntax error, as the server
/// would say it: the connection is in order.
fn wrong(message: String) -> SqlError {
    SqlError { code: Some("42601".to_owned()), ..SqlError::new(SqlErrorKind::Statement, message, false) }
}

impl Server for Postgres {
    type Connection = Session;
    type Error = SqlError;

    async fn connect(&self) -> Result<Session, SqlError> {
        let session = async { self.session().await.map_err(|error| error_of(&error)) };
        connected(&self.address, self.bound, session).await
    }

    async fn is_alive(&self, session: &mut Session, idle: Duration) -> bool {
        !session.wire.is_finished()
            && (idle < FRESH || matches!(timeout(PING, session.client.check_connection()).await, Ok(Ok(()))))
    }

    async fn disconnect(&self, session: Session) {
        let Session { client, wire, .. } = session;
        drop(client);
        // Nothing depends on whether the server hears it.
        let _ = timeout(PING, wire).await;
    }
}

impl Driver for Postgres {
    fn address(&self) -> &str {
        &self.address
    }

    fn version(session: &Session) -> &str {
        &session.version
    }

    async fn control(session: &mut Session, control: Control) -> Result<(), SqlError> {
        session.saved = false;
        session.client.batch_execute(control.statement()).await.map_err(|error| error_of(&error))
    }

    async fn execute(
        session: &mut Session,
        statement: String,
        params: Vec<SqlValue>,
    ) -> Result<u64, SqlError> {
        session.save().await?;
        match session.execute(&statement, params).await {
            Ok(changed) => Ok(changed),
            Err(error) => Err(session.undo(error).await),
        }
    }

    async fn query(
        session: &mut Session,
        statement: String,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> Result<SqlRows, QueryError> {
        session.save().await?;
        match session.query(&statement, params, bounds).await {
            Err(QueryError::Server(error)) => Err(session.undo(error).await.into()),
            done => done,
        }
    }

    fn effects(statement: &str) -> Result<Effects, SqlError> {
        let marks = statement::first_word(statement, &BEYOND_CLEANING).is_some();
        Ok(Effects { marks, ..Effects::default() })
    }

    async fn clean(session: &mut Session) -> Result<(), SqlError> {
        Session::clean(session).await
    }

    /// A guest may have put the server's own bounds aside.
    fn stop(&self, session: &Session, begun: Option<Instant>) -> Stop {
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let (cancel, process) = (session.client.cancel_token(), session.process);
        Box::new(move || {
            let (config, tls, cancel) = (config.clone(), tls.clone(), cancel.clone());
            Box::pin(async move {
                let ended = end(&config, tls, &cancel, process, begun).await;
                ended.map_err(|error| error_of(&error))
            })
        })
    }

    fn ends_transaction(error: &SqlError) -> bool {
        ends_transaction(error)
    }
}

/// Ends what runs, which takes no place at the server, and then a transaction that had begun by a
/// time, also where it waits for its next statement. A process that serves somebody else by now has
/// a younger one.
async fn end(
    config: &Config,
    tls: MakeRustlsConnect,
    cancel: &CancelToken,
    process: i32,
    begun: Option<Instant>,
) -> Result<(), tokio_postgres::Error> {
    let cancelled = cancel.cancel_query(tls.clone()).await;
    let Some(begun) = begun else { return cancelled };
    let (client, connection) = config.connect(tls).await?;
    let _wire = AbortOnDropHandle::new(tokio::spawn(connection));
    let age = begun.elapsed().as_secs_f64();
    let terminate = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE pid = {process} AND xact_start <= pg_catalog.clock_timestamp() - interval '{age:.6} seconds'"
    );
    client.batch_execute(&terminate).await
}

fn setup(bounds: TimeBounds) -> String {
    let milliseconds =
        |bound: Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX).min(i32::MAX as u64);
    // Longer than a plugin may compute between two statements.
    let idle = milliseconds(bounds.call + bounds.operation);
    let bound = milliseconds(bounds.operation);
    let lock_wait = bound.saturating_sub(1000).max(bound / 2).max(1);
    format!(
        "SET timezone = 'UTC'; SET statement_timeout = {bound}; SET lock_timeout = {lock_wait}; \
         SET idle_in_transaction_session_timeout = {idle}; SET standard_conforming_strings = on"
    )
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
