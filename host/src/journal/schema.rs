//! The layout of `journal.db`, and opening it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use super::OpenError;
use super::sum::Sum;

/// Grows with each change that an older host could not read.
pub(super) const LAYOUT: i64 = 1;

/// The bytes of a page of the database. Small ones: each commit writes a few of them.
pub(super) const PAGE: u32 = 4096;

/// To look inside: `sqlite3 journal.db "select seq, body from items"`. Every row ends
/// with a checksum of what is before it ([`Sum`](super::sum::Sum)).
const SCHEMA: &str = "
    -- An item on its way: `kind` is 1 a return, 2 a load, 3 minions of a job, 4 an
    -- event; `body` the JSON text that Salt sent; `target` the lanes it is meant for.
    CREATE TABLE items (
        seq      INTEGER PRIMARY KEY,
        kind     INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        target   INTEGER NOT NULL,
        body     TEXT NOT NULL,
        sum      INTEGER NOT NULL
    );
    -- A set of lanes: a JSON array of their ids.
    CREATE TABLE targets (id INTEGER PRIMARY KEY, lanes TEXT NOT NULL UNIQUE, sum INTEGER NOT NULL);
    -- A lane has settled everything up to its cursor but what is held; `pending` of its
    -- items are not settled; `settlements` counts what it has told the journal.
    CREATE TABLE lanes (
        id          INTEGER PRIMARY KEY,
        name        TEXT NOT NULL UNIQUE,
        cursor      INTEGER NOT NULL,
        pending     INTEGER NOT NULL,
        settlements INTEGER NOT NULL,
        sum         INTEGER NOT NULL
    );
    -- An item below the cursor that waits to be tried again: not before a moment, which
    -- was `wait` milliseconds away when it was written.
    CREATE TABLE held (
        lane        INTEGER NOT NULL,
        seq         INTEGER NOT NULL,
        tries       INTEGER NOT NULL,
        not_before  INTEGER NOT NULL,
        wait        INTEGER NOT NULL,
        reason      TEXT NOT NULL,
        redelivered INTEGER NOT NULL,
        sum         INTEGER NOT NULL,
        PRIMARY KEY (lane, seq)
    ) WITHOUT ROWID;
    CREATE TABLE dead (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
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
        sum      INTEGER NOT NULL,
        UNIQUE (lane, seq)
    );
    -- Keys that were accepted: of each commit, 16 bytes of key and 4 of `target` (least
    -- significant first) for each.
    CREATE TABLE seen (
        id   INTEGER PRIMARY KEY,
        at   INTEGER NOT NULL,
        keys BLOB NOT NULL,
        sum  INTEGER NOT NULL
    );
    -- `clean`: 1 after a stop at which nothing was left unclear. `boot`, `at_boot`: which
    -- boot of the machine `seen.at` was dated in, and what the clock showed at it. `given`: a
    -- place up to which all were given, where no cursor says so.
    CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
";

/// The tables, and the columns that their checksums cover, in this order.
pub(super) const TABLES: [(&str, &str); 7] = [
    ("items", "seq, kind, accepted, target, body"),
    ("targets", "id, lanes"),
    ("lanes", "id, name, cursor, pending, settlements"),
    ("held", "lane, seq, tries, not_before, wait, reason, redelivered"),
    ("dead", "lane, seq, kind, accepted, body, reason, plugin, stderr, tries, at"),
    ("seen", "at, keys"),
    ("state", "name, value"),
];

/// How long to wait for others who have the database open, such as a person.
const BUSY: Duration = Duration::from_secs(10);

/// Opens the database for writing, and makes its tables where there are none.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    // Made before SQLite does, which would leave it readable to others; its `-wal` and
    // `-shm` take the same mode.
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map_err(|error| OpenError::Directory { path: path.to_owned(), error })?;
    let connection = connect(path).map_err(failed)?;
    match layout(&connection).map_err(failed)? {
        LAYOUT => {}
        0 => create(&connection).map_err(failed)?,
        found => {
            // Its log is the newer host's.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
            return Err(OpenError::Newer { path: path.to_owned(), found, known: LAYOUT });
        }
    }
    Ok(connection)
}

/// 0 where there are no tables.
pub(super) fn layout(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN; {SCHEMA}"))?;
    set_clean(connection, true)?;
    connection.execute_batch(&format!("PRAGMA user_version = {LAYOUT}; COMMIT;"))
}

pub(super) fn is_clean(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(state(connection, "clean")?.is_some_and(|clean| clean != 0))
}

/// Notes whether everything that was delivered is settled.
pub(super) fn set_clean(connection: &Connection, clean: bool) -> rusqlite::Result<()> {
    set_state(connection, "clean", clean.into())
}

pub(super) fn state(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM state WHERE name = ?1", [name], |row| row.get(0)).optional()
}

pub(super) fn set_state(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    let sum = Sum::default().text(name).integer(value).value();
    connection
        .execute("INSERT OR REPLACE INTO state VALUES (?1, ?2, ?3)", params![name, value, sum])
        .map(drop)
}

/// A connection that flushes at every commit.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", PAGE)?;
    // No checkpoint without a look at what came of it: see `fold_from`.
    connection.execute_batch(
        "PRAGMA secure_delete = OFF;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA cache_size = -16384;",
    )?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Moves the write-ahead log into the database where it has at least so many pages, as far as
/// nobody reads it. SQLite would do so by itself, and go on after a flush of the database that
/// failed: the next one succeeds, and then the log is written over, though the pages of the first
/// may never reach the disk.
pub(super) fn fold_from(connection: &Connection, pages: u64) -> rusqlite::Result<()> {
    let mut look = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let log: i64 = look.query_row([], |row| row.get(1))?;
    // It is -1 where it is not known: somebody else has the log.
    if u64::try_from(log).unwrap_or(0) < pages {
        return Ok(());
    }
    // One that is busy says so in its row; it is done after a later commit.
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
}

/// The log's file shrinks to so many pages when it begins anew, after a large transaction.
pub(super) fn keep_log_small(connection: &Connection, pages: u64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_size_limit", pages * u64::from(PAGE))
}

/// Moves all of the log into the database and empties its file, if nobody reads at this moment.
pub(super) fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(BUSY)?;
    emptied
}

/// Moves everything from the write-ahead log into the database and flushes it there.
pub(super) fn fold(connection: &Connection) -> rusqlite::Result<()> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        false => Ok(()),
        true => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("a reader kept the write-ahead log busy".to_owned()),
        )),
    }
}
