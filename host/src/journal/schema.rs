//! The layout of `journal.db`, and opening it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

use super::OpenError;

/// Grows with each change that an older host could not read.
const LAYOUT: i64 = 1;

/// To look inside: `sqlite3 journal.db "select seq, body from items"`.
const SCHEMA: &str = "
    -- An item on its way: `kind` is 1 a return, 2 a load, 3 minions of a job, 4 an
    -- event; `body` the JSON text that Salt sent; `target` the lanes it is meant for.
    CREATE TABLE items (
        seq      INTEGER PRIMARY KEY,
        kind     INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        target   INTEGER NOT NULL,
        body     TEXT NOT NULL
    );
    -- A set of lanes: a JSON array of their ids.
    CREATE TABLE targets (id INTEGER PRIMARY KEY, lanes TEXT NOT NULL UNIQUE);
    -- A lane has settled everything up to its cursor but what is held; `pending` of its
    -- items are not settled.
    CREATE TABLE lanes (
        id      INTEGER PRIMARY KEY,
        name    TEXT NOT NULL UNIQUE,
        cursor  INTEGER NOT NULL,
        pending INTEGER NOT NULL
    );
    CREATE TABLE held (
        lane        INTEGER NOT NULL,
        seq         INTEGER NOT NULL,
        tries       INTEGER NOT NULL,
        not_before  INTEGER NOT NULL,
        reason      TEXT NOT NULL,
        redelivered INTEGER NOT NULL,
        PRIMARY KEY (lane, seq)
    ) WITHOUT ROWID;
    CREATE TABLE dead (
        id       INTEGER PRIMARY KEY,
        lane     INTEGER NOT NULL,
        seq      INTEGER NOT NULL,
        kind     INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        body     TEXT NOT NULL,
        reason   TEXT NOT NULL,
        plugin   TEXT NOT NULL,
        stderr   TEXT NOT NULL,
        tries    INTEGER NOT NULL,
        at       INTEGER NOT NULL,
        UNIQUE (lane, seq)
    );
    -- Keys that were accepted: of each commit, 16 bytes of key and 4 of `target` (least
    -- significant first) for each.
    CREATE TABLE seen (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, keys BLOB NOT NULL);
    -- `clean`: 1 after a stop at which nothing was left unclear.
    CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO state VALUES ('clean', 1);
";

/// Makes the directory, closed to others, and takes the lock that keeps a second
/// host out.
pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::Directory { path: directory.to_owned(), error };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Opens the database for writing, and makes its tables where there are none.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    // Made before SQLite does, which would leave it readable to others; its `-wal` and
    // `-shm` take the same mode.
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map_err(|error| OpenError::Directory { path: path.to_owned(), error })?;
    let connection = connect(path).map_err(failed)?;
    let layout: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match layout {
        LAYOUT => {}
        0 => {
            let tables = format!("BEGIN; {SCHEMA} PRAGMA user_version = {LAYOUT}; COMMIT;");
            connection.execute_batch(&tables).map_err(failed)?;
        }
        found => return Err(OpenError::Newer { path: path.to_owned(), found, known: LAYOUT }),
    }
    Ok(connection)
}

/// A connection that flushes at every commit.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA page_size = 8192;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA busy_timeout = 10000;
         PRAGMA wal_autocheckpoint = 2000;
         PRAGMA cache_size = -16384;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
