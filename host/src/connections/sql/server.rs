//! A transaction on a server that is reached over the network, whatever it speaks.
//!
//! A statement that fails undoes itself only, and the rest of the transaction goes on, as
//! long as its connection is in order and the server keeps what was written before.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::statement::Effects;
use super::{CommitError, Purpose, SqlError, SqlErrorKind, SqlRows, SqlValue};
use crate::connections::answer::AnswerBounds;
use crate::connections::connect_bound;
use crate::connections::pool::{CONNECTIONS, Lease, PING, Pool, Server};

/// Between two tries to end something at a server.
const AGAIN: Duration = Duration::from_secs(1);

/// How one kind of server is spoken to. Nothing here has a bound of time of its own. An error
/// without a code is the driver's or the connection's: the connection is not used again.
pub(crate) trait Driver: Server<Error = SqlError> {
    /// For messages: `db.example:3306`.
    fn address(&self) -> &str;

    fn version(connection: &Self::Connection) -> &str;

    fn control(
        connection: &mut Self::Connection,
        control: Control,
    ) -> impl Future<Output = Result<(), SqlError>> + Send;

    fn execute(
        connection: &mut Self::Connection,
        statement: String,
        params: Vec<SqlValue>,
    ) -> impl Future<Output = Result<u64, SqlError>> + Send;

    fn query(
        connection: &mut Self::Connection,
        statement: String,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> impl Future<Output = Result<SqlRows, QueryError>> + Send;

    /// What a statement does to its transaction and its connection.
    ///
    /// # Errors
    /// If it is not for plugins.
    fn effects(statement: &str) -> Result<Effects, SqlError>;

    /// Makes a connection as a new one is, after the end of a transaction whose statements said of
    /// themselves that they leave no mark. An error costs the connection.
    fn clean(_: &mut Self::Connection) -> impl Future<Output = Result<(), SqlError>> + Send {
        async { Ok(()) }
    }

    /// What ends at the server what runs there, or holds locks, on a connection that nobody reads any
    /// more, and nothing of anybody else's. `begun`: when there was a transaction.
    fn stop(&self, connection: &Self::Connection, begun: Option<Instant>) -> Stop;

    /// Whether the server undid all of the transaction, or may have.
    fn ends_transaction(error: &SqlError) -> bool;

    /// Whether an error is about something that a new connection may know better.
    fn is_outdated(_: &SqlError) -> bool {
        false
    }
}

/// One try to end something at the server.
pub(crate) type Stop = Box<dyn FnMut() -> BoxFuture<'static, Result<(), SqlError>> + Send>;

/// Tries until the server has answered: what has broken a connection may keep others away for a
/// moment.
async fn insist(mut stop: Stop) {
    while stop().await.is_err_and(|error| error.code.is_none()) {
        sleep(AGAIN).await;
    }
}

/// What a server answers within the time for it, or why there is no connection to `address`.
pub(super) async fn connected<S>(
    address: &str,
    bound: Duration,
    session: impl Future<Output = Result<S, SqlError>>,
) -> Result<S, SqlError> {
    let bound = connect_bound(bound);
    let answer = timeout(bound, session).await;
    let answer = answer.unwrap_or_else(|_| Err(SqlError::timeout(format!("no answer within {bound:?}"))));
    answer.map_err(|error| SqlError {
        message: format!("cannot connect to {address}: {}", error.message),
        ..error
    })
}

/// The bounds of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Begin,
    Commit,
    Rollback,
}

impl Control {
    pub(super) fn statement(self) -> &'static str {
        match self {
            // Which begins a block where MariaDB has the mode ORACLE.
            Control::Begin => "START TRANSACTION",
            Control::Commit => "COMMIT",
            Control::Rollback => "ROLLBACK",
        }
    }
}

/// Why there is no answer to a query.
pub(crate) enum QueryError {
    Server(SqlError),
    /// It cannot be handed on, and the rest of it is still on its way.
    Answer(SqlError),
}

impl From<SqlError> for QueryError {
    fn from(error: SqlError) -> Self {
        Self::Server(error)
    }
}

pub(crate) struct ServerPool<D: Driver> {
    pool: Pool<D>,
    bound: Duration,
}

pub(crate) struct ServerTransaction<D: Driver> {
    /// None once the connection was thrown away.
    lease: Option<Lease<D>>,
    /// Why nothing of it can be committed any more.
    lost: Option<SqlError>,
    /// It may have left its mark on the connection.
    marked: bool,
    purpose: Purpose,
    /// Something may be written that is not committed.
    written: bool,
    /// The server was asked for something, and has not answered.
    running: bool,
    /// When there was a transaction at the server.
    begun: Option<Instant>,
    bound: Duration,
    server: String,
}

impl<D: Driver> ServerPool<D> {
    pub(super) fn new(driver: D, bound: Duration) -> Self {
        Self { pool: Pool::new(driver, CONNECTIONS), bound }
    }

    pub(super) async fn begin(&self, purpose: Purpose) -> Result<ServerTransaction<D>, SqlError> {
        let lease = self.lease().await?;
        let server = self.pool.server().address().to_owned();
        let mut transaction = ServerTransaction {
            lease: Some(lease),
            lost: None,
            marked: false,
            purpose,
            written: false,
            running: false,
            begun: None,
            bound: self.bound,
            server,
        };
        transaction.control(Control::Begin).await?;
        Ok(transaction)
    }

    pub(super) async fn version(&self) -> Result<String, SqlError> {
        let lease = self.lease().await?;
        let version = D::version(&lease.connection).to_owned();
        lease.give_back();
        Ok(version)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn lease(&self) -> Result<Lease<D>, SqlError> {
        let lease = self.pool.lease(self.bound).await;
        lease.map_err(|error| SqlError::no_connection(error, self.pool.server().address(), self.bound))
    }
}

impl<D: Driver> ServerTransaction<D> {
    pub(super) async fn execute(
        &mut self,
        statement: String,
        params: Vec<SqlValue>,
    ) -> Result<u64, SqlError> {
        let commits = self.begin_statement(&statement)?;
        let bound = self.bound;
        let connection = self.connection()?;
        let done = timeout(bound, D::execute(connection, statement, params)).await;
        let done = self.outcome(done);
        self.end_statement(commits).await?;
        done
    }

    /// Notes what a statement will leave; gives whether the server commits it by itself.
    fn begin_statement(&mut self, statement: &str) -> Result<bool, SqlError> {
        let Effects { commits, locks, writes, marks } = D::effects(statement)?;
        let splits = self.written || locks;
        if commits && splits && self.purpose != Purpose::SetUp {
            let word: String = statement
                .chars()
                .skip_while(|c| !c.is_alphabetic())
                .take_while(|c| c.is_alphabetic())
                .collect();
            let message = format!(
                "`{word}` would commit what this call has written before it, and what comes after it is another transaction: it \
                 belongs into `setup`, or before all else"
            );
            return Err(SqlError::new(SqlErrorKind::Statement, message, false));
        }
        self.marked |= marks;
        self.written |= !commits && writes;
        Ok(commits)
    }

    /// After what the server committed, done or not, a transaction begins anew.
    async fn end_statement(&mut self, committed: bool) -> Result<(), SqlError> {
        if !committed || self.lost.is_some() {
            return Ok(());
        }
        self.written = false;
        let begun = self.control(Control::Begin).await;
        begun.map_err(|error| self.lose(error))
    }

    pub(super) async fn query(
        &mut self,
        statement: String,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> Result<SqlRows, SqlError> {
        let commits = self.begin_statement(&statement)?;
        let bound = self.bound;
        let connection = self.connection()?;
        let done = match timeout(bound, D::query(connection, statement, params, bounds)).await {
            // Rows are still on their way.
            Ok(Err(QueryError::Answer(error))) => Err(self.lose(error)),
            Ok(Err(QueryError::Server(error))) => self.outcome(Ok(Err(error))),
            Ok(Ok(rows)) => self.outcome(Ok(Ok(rows))),
            Err(elapsed) => self.outcome(Err(elapsed)),
        };
        self.end_statement(commits).await?;
        done
    }

    pub(super) async fn commit(mut self) -> Result<(), CommitError> {
        if let Some(error) = self.lost.take() {
            self.rollback().await;
            return Err(CommitError::RolledBack(error));
        }
        match self.control(Control::Commit).await {
            Ok(()) => {
                self.give_back().await;
                Ok(())
            }
            Err(error) if matches!(error.kind, SqlErrorKind::Unavailable) => Err(CommitError::Unknown(error)),
            // The connection is gone with the answer: only the host's time ran out.
            Err(error) if self.lease.is_none() => Err(CommitError::Unknown(error)),
            Err(error) => Err(CommitError::RolledBack(error)),
        }
    }

    /// Ends it; where the server does not answer, by ending the connection.
    pub(super) async fn rollback(mut self) {
        if self.lease.is_some() && self.control(Control::Rollback).await.is_ok() {
            self.give_back().await;
        }
    }

    async fn control(&mut self, control: Control) -> Result<(), SqlError> {
        let Some(lease) = &mut self.lease else { return Err(self.gone()) };
        self.running = true;
        let done = timeout(self.bound, D::control(&mut lease.connection, control)).await;
        self.outcome(done)?;
        self.begun = (control == Control::Begin).then(Instant::now);
        Ok(())
    }

    /// The connection, for a statement, unless what was written on it may be undone.
    fn connection(&mut self) -> Result<&mut D::Connection, SqlError> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        let gone = self.gone();
        self.running = self.lease.is_some();
        self.lease.as_mut().map(|lease| &mut lease.connection).ok_or(gone)
    }

    /// Draws the consequences of an error for the transaction and its connection.
    fn outcome<T>(&mut self, done: Result<Result<T, SqlError>, Elapsed>) -> Result<T, SqlError> {
        // A server that did not answer may go on. One whose connection the network has lost may not
        // know, and keep the locks of the transaction while it waits for more.
        let is_broken = matches!(&done, Ok(Err(error)) if is_broken(error));
        self.running &= done.is_err() || is_broken && self.begun.is_some();
        let error = match done {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if is_broken => {
                let message = format!("the connection to {} broke: {}", self.server, error.message);
                SqlError { message, ..error }
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let message = format!("{} did not answer within {:?}", self.server, self.bound);
                return Err(self.lose(SqlError::timeout(message)));
            }
        };
        if error.kind == SqlErrorKind::Unavailable {
            self.stop();
            if let Some(lease) = self.lease.take() {
                lease.broken();
            }
            return Err(self.lose(error));
        }
        // The driver's own: it may still wait for an answer.
        if error.code.is_none() {
            return Err(self.lose(error));
        }
        if D::ends_transaction(&error) {
            self.lost = Some(error.clone());
        }
        self.marked |= D::is_outdated(&error);
        Err(error)
    }

    /// Throws the connection away: it is in the middle of the protocol.
    fn lose(&mut self, error: SqlError) -> SqlError {
        self.stop();
        self.lease = None;
        self.lost = Some(error.clone());
        error
    }

    /// Ends at the server what has no answer, and waits for nothing.
    fn stop(&mut self) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        let Some(lease) = &self.lease else { return };
        if let Ok(runtime) = Handle::try_current() {
            let stop = lease.server().stop(&lease.connection, self.begun);
            runtime.spawn(timeout(self.bound, insist(stop)));
        }
    }

    fn gone(&self) -> SqlError {
        self.lost
            .clone()
            .unwrap_or_else(|| SqlError::unavailable(format!("the connection to {} is gone", self.server)))
    }

    async fn give_back(&mut self) {
        let Some(mut lease) = self.lease.take().filter(|_| !self.marked) else { return };
        if let Ok(Ok(())) = timeout(PING, D::clean(&mut lease.connection)).await {
            lease.give_back();
        }
    }
}

/// Whether it is the connection's, of which the server does not know.
fn is_broken(error: &SqlError) -> bool {
    error.kind == SqlErrorKind::Unavailable && error.code.is_none()
}

/// A call that is broken off drops it in the middle of a statement.
impl<D: Driver> Drop for ServerTransaction<D> {
    fn drop(&mut self) {
        self.stop();
    }
}
