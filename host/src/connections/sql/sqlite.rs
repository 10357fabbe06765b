//! SQLite, by rusqlite: every statement on a thread for blocking work.
//!
//! SQLite takes one writer at a time. Writers of this process take turns at a
//! [gate](super::sqlite_gate); other processes' are waited for as long as
//! `sqlite3.timeout` says. A transaction that is to write takes its turn at its first
//! statement, also where that only looks: SQLite refuses to write on what was read
//! before somebody else wrote. One that is not reads beside the writer.
//!
//! A connection and its place in the pool stay with the thread until the statement
//! has ended, also when nobody waits for it any more, and so does a place among the looks
//! at the file: a disk that hangs holds at most twice as many threads as there are connections.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::sqlite_error::{error_of, is_commit_unknown, is_out_of_memory};
use super::sqlite_gate::{Gate, HELD, Turn};
use super::sqlite_judge::{Judge, TableGrants};
use super::sqlite_session::FOR_GUESTS;
use super::{CommitError, Purpose, SqlError, SqlErrorKind, SqlRows, SqlValue, sqlite_session, statement};
use crate::config::SqliteSettings;
use crate::connections::answer::AnswerBounds;
use crate::connections::pool::{CONNECTIONS, Lease, PING, Pool, Server};
use crate::connections::{connect_bound, spawn_blocking};

/// How often somebody looks whether a transaction keeps others waiting.
const LOOK: Duration = Duration::from_millis(500);

/// For how many calls' bounds a call waits for its turn: as many workers may be before it.
const WORKERS: u32 = 3;

pub(crate) struct SqlitePool {
    pool: Pool<Database>,
    gate: Arc<Gate>,
    bound: Duration,
}

pub(crate) struct SqliteTransaction {
    /// None once it was lost, and while a statement runs. Shared with who ends it when it keeps
    /// others from writing.
    session: Arc<Mutex<Option<Session>>>,
    /// Why nothing of it can be committed any more.
    lost: Option<SqlError>,
    purpose: Purpose,
    gate: Arc<Gate>,
    bound: Duration,
    file: String,
}

/// What a statement needs, and holds until it has ended.
struct Session {
    lease: Lease<Database>,
    begun: bool,
    turn: Option<Turn>,
}

#[derive(Clone)]
pub(crate) struct Database {
    path: PathBuf,
    busy: Duration,
    bound: Duration,
    /// For what opens the file or looks at it.
    looks: Arc<Semaphore>,
}

pub(crate) struct Open {
    pub(super) connection: Connection,
    /// Set to end the statement that runs.
    pub(super) cancelled: Arc<AtomicBool>,
    /// Set while the host's own statements run.
    pub(super) host: Arc<AtomicBool>,
    /// What a guest's statements are held to.
    pub(super) judge: Arc<Judge>,
    /// What SQLite may have in memory for a guest's statement to run.
    pub(super) memory: i64,
    /// The file's device and number; none for a database in memory.
    file: Option<(u64, u64)>,
}

impl SqlitePool {
    pub(super) fn open(settings: &SqliteSettings, bound: Duration) -> Self {
        let busy = settings.timeout.min(bound);
        let looks = Arc::new(Semaphore::new(CONNECTIONS));
        let database = Database { path: settings.database.clone(), busy, bound, looks };
        // Each connection to a database in memory has one of its own.
        let size = if database.in_memory() { 1 } else { CONNECTIONS };
        let gate = Gate::of(&settings.database, database.in_memory());
        Self { pool: Pool::new(database, size), gate, bound }
    }

    /// A place for a transaction; its first statement begins it.
    pub(super) async fn begin(
        &self,
        purpose: Purpose,
        grants: Option<Arc<dyn TableGrants>>,
    ) -> Result<SqliteTransaction, SqlError> {
        let session = Session { lease: self.lease().await?, begun: false, turn: None };
        sqlite_session::judge_by(&session.lease.connection, grants);
        let gate = Arc::clone(&self.gate);
        Ok(SqliteTransaction {
            session: Arc::new(Mutex::new(Some(session))),
            lost: None,
            purpose,
            gate,
            bound: self.bound,
            file: self.file(),
        })
    }

    pub(super) async fn version(&self) -> Result<String, SqlError> {
        self.lease().await?.give_back();
        Ok(rusqlite::version().to_owned())
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    fn file(&self) -> String {
        format!("`{}`", self.pool.server().path.display())
    }

    async fn lease(&self) -> Result<Lease<Database>, SqlError> {
        let lease = self.pool.lease(self.bound).await;
        lease.map_err(|error| SqlError::no_connection(error, &self.file(), self.bound))
    }
}

impl SqliteTransaction {
    pub(super) async fn execute(
        &mut self,
        statement: String,
        params: Vec<SqlValue>,
    ) -> Result<u64, SqlError> {
        self.start(false).await?;
        self.run(move |open| sqlite_session::execute(open, &statement, params)).await
    }

    pub(super) async fn query(
        &mut self,
        statement: String,
        params: Vec<SqlValue>,
        bounds: AnswerBounds,
    ) -> Result<SqlRows, SqlError> {
        let only_reads = self.purpose == Purpose::Read && statement::only_reads(&statement);
        self.start(only_reads).await?;
        self.run(move |open| sqlite_session::query(open, &statement, params, bounds)).await
    }

    pub(super) async fn commit(mut self) -> Result<(), CommitError> {
        if let Some(error) = self.lost.take() {
            self.rollback().await;
            return Err(CommitError::RolledBack(error));
        }
        let begun = self.session.lock().as_ref().map(|session| session.begun);
        if begun.is_none() {
            return Err(CommitError::RolledBack(self.gone()));
        }
        if begun == Some(true) {
            let committed = self.run(|open| sqlite_session::control(open, "COMMIT")).await;
            if let Err(error) = committed {
                let unknown = self.session.lock().is_none() || is_commit_unknown(&error);
                self.rollback().await;
                return Err(if unknown {
                    CommitError::Unknown(error)
                } else {
                    CommitError::RolledBack(error)
                });
            }
        }
        self.give_back();
        Ok(())
    }

    pub(super) async fn rollback(mut self) {
        let Some(begun) = self.session.lock().as_ref().map(|session| session.begun) else { return };
        if !begun || self.run(sqlite_session::rollback).await.is_ok() {
            self.give_back();
        }
    }

    /// Begins it, and waits for its turn to write once it writes.
    async fn start(&mut self, only_reads: bool) -> Result<(), SqlError> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        // Somebody may take it away from here on.
        let Some(mut session) = self.session.lock().take() else { return Err(self.gone()) };
        if session.turn.as_ref().is_some_and(Turn::is_over) {
            end(session).await;
            return Err(self.gone());
        }
        if !only_reads && session.turn.is_none() {
            let patience = self.bound * WORKERS;
            session.turn = self.gate.turn(patience).await;
            if session.turn.is_none() {
                *self.session.lock() = Some(session);
                return Err(SqlError::timeout(format!("others wrote to {} for {patience:?}", self.file)));
            }
            tokio::spawn(watch(Arc::downgrade(&self.session)));
        }
        let begun = std::mem::replace(&mut session.begun, true);
        *self.session.lock() = Some(session);
        if begun {
            return Ok(());
        }
        let begin = if only_reads { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let begun = self.run(move |open| sqlite_session::control(open, begin)).await;
        begun.inspect_err(|error| self.lost = Some(error.clone()))
    }

    /// Runs work on the connection, elsewhere. If nobody waits for it any more, it is
    /// interrupted, and the connection ends with it.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Open) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let Some(session) = self.session.lock().take() else { return Err(self.gone()) };
        let interrupt = Interrupt(Some(Arc::clone(&session.lease.connection.cancelled)));
        let job = spawn_blocking(move || {
            let result = work(&session.lease.connection);
            // What the connection keeps in memory ends with it.
            let is_over = result.as_ref().is_err_and(is_out_of_memory);
            let session = (!is_over).then_some(session);
            (session, result)
        });
        let error = match timeout(self.bound, job).await {
            Ok(Ok((None, Err(error)))) => error,
            Ok(Ok((None, Ok(done)))) => return Ok(done),
            Ok(Ok((Some(session), result))) => {
                interrupt.disarm();
                // Some errors (a full disk) end SQLite's transaction.
                let ended = session.lease.connection.connection.is_autocommit();
                *self.session.lock() = Some(session);
                if let (Err(error), true) = (&result, ended) {
                    self.lost = Some(error.clone());
                }
                return result;
            }
            Ok(Err(_)) => {
                SqlError::new(SqlErrorKind::Other, format!("a statement on {} was aborted", self.file), true)
            }
            Err(_) => SqlError::timeout(format!("{} did not answer within {:?}", self.file, self.bound)),
        };
        self.lost = Some(error.clone());
        Err(error)
    }

    fn gone(&self) -> SqlError {
        self.lost.clone().unwrap_or_else(|| {
            let message =
                format!("it kept others from writing to {} for {HELD:?}, and was undone", self.file);
            SqlError::timeout(message)
        })
    }

    fn give_back(&mut self) {
        if let Some(session) = self.session.lock().take() {
            session.lease.give_back();
        }
    }
}

/// Undoes what keeps others from writing while its guest does something else. A statement that
/// runs has a bound of its own.
async fn watch(session: Weak<Mutex<Option<Session>>>) {
    while let Some(shared) = session.upgrade() {
        let is_over = |session: &mut Session| session.turn.as_ref().is_some_and(Turn::is_over);
        let over = shared.lock().take_if(is_over);
        if let Some(session) = over {
            end(session).await;
            return;
        }
        drop(shared);
        sleep(LOOK).await;
    }
}

/// Undoes a transaction, and lets the next one write.
async fn end(session: Session) {
    let undone = spawn_blocking(move || {
        let undone = sqlite_session::rollback(&session.lease.connection);
        (session, undone)
    });
    if let Ok((session, Ok(()))) = undone.await {
        session.lease.give_back();
    }
}

/// Interrupts a statement that nobody waits for any more.
struct Interrupt(Option<Arc<AtomicBool>>);

impl Interrupt {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(cancelled) = &self.0 {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Database {
    fn in_memory(&self) -> bool {
        self.path == Path::new(":memory:")
    }

    fn identity(&self) -> Option<(u64, u64)> {
        if self.in_memory() {
            return None;
        }
        fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// Work on the file, on a thread, within a bound; none if it was not done by then.
    async fn look<T: Send + 'static>(
        &self,
        bound: Duration,
        work: impl FnOnce(Self) -> T + Send + 'static,
    ) -> Option<T> {
        let (database, looks) = (self.clone(), Arc::clone(&self.looks));
        let done = timeout(bound, async move {
            let place = looks.acquire_owned().await.ok()?;
            let work = move || {
                let done = work(database);
                drop(place);
                done
            };
            spawn_blocking(work).await.ok()
        });
        done.await.ok().flatten()
    }

    fn open(&self) -> Result<Open, SqlError> {
        if let (Some(parent), false) = (self.path.parent(), self.in_memory()) {
            create_directory(parent).map_err(|error| {
                SqlError::unavailable(format!("cannot create the directory `{}`: {error}", parent.display()))
            })?;
        }
        if !self.in_memory() {
            // Before SQLite does, which would leave it readable to others. What cannot be
            // made, or is no plain path, is for SQLite to complain of.
            let _ = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&self.path);
        }
        let connection = Connection::open(&self.path).map_err(|error| error_of(&error))?;
        let (cancelled, host, judge) = (Arc::default(), Arc::default(), Arc::default());
        let (memory, file) = (FOR_GUESTS, self.identity());
        let open = Open { connection, cancelled, host, judge, memory, file };
        sqlite_session::set_up(&open, self.busy)?;
        Ok(open)
    }
}

impl Server for Database {
    type Connection = Open;
    type Error = SqlError;

    async fn connect(&self) -> Result<Open, SqlError> {
        let bound = connect_bound(self.bound).max(self.busy);
        let mut error = match self.look(bound, |database| database.open()).await {
            Some(Ok(open)) => return Ok(open),
            Some(Err(error)) => error,
            None => SqlError::timeout(format!("no answer within {bound:?}")),
        };
        error.message = format!("cannot open `{}`: {}", self.path.display(), error.message);
        Err(error)
    }

    /// A file that was deleted or replaced would go on taking what nobody will see.
    async fn is_alive(&self, open: &mut Open, _: Duration) -> bool {
        // Not on a thread of the runtime: the file may be on a disk that hangs.
        self.look(PING, |database| database.identity()).await.is_some_and(|file| file == open.file)
    }

    async fn disconnect(&self, open: Open) {
        // The last connection writes the log back into the file.
        let _ = spawn_blocking(move || drop(open)).await;
    }
}

/// For this user only: what minions answered is not for everyone.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
