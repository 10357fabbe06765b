//! Opening the database of a journal: only one that is whole is used.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::OpenError;
use super::mark::Mark;
use super::{Health, book, renew, schema, verify};

/// Looks whether the journal in a directory is whole, and changes nothing.
pub(crate) fn check(directory: &Path) -> Result<Health, OpenError> {
    let _lock = schema::lock(directory)?;
    let path = directory.join("journal.db");
    let files = |error| OpenError::Directory { path: directory.to_owned(), error };
    let mark = Mark::open(directory).map_err(files)?;
    let (connection, health) = open_sound(directory, &path, &mark)?;
    if renew::is_doubtful(&path) {
        // Closing must not move the log into files that are in doubt.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
    Ok(health)
}

/// Opens the database if it is whole, for use; says whether it was closed cleanly.
pub(super) fn begin(directory: &Path, path: &Path, mark: &Mark) -> Result<(Connection, bool), OpenError> {
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    if renew::is_doubtful(path) {
        // Before it is moved into the database, which leaves out what is damaged.
        look_at_log(directory, path)?;
        renew::settle_doubt(path, mark.get()).map_err(failed)?;
    }
    let (mut connection, _) = open_sound(directory, path, mark)?;
    let clean = book::begin(&mut connection).map_err(failed)?;
    Ok((connection, clean))
}

/// Opens the database if it is whole.
fn open_sound(directory: &Path, path: &Path, mark: &Mark) -> Result<(Connection, Health), OpenError> {
    let damaged = |health| OpenError::Damaged { path: path.to_owned(), health };
    // Before anything is opened: SQLite makes an empty one, and throws the log away.
    if let Some(acknowledged) = mark.get().filter(|seq| *seq > 0 && !path.exists()) {
        return Err(damaged(Health::gone(acknowledged)));
    }
    look_at_log(directory, path)?;
    verify::read_ahead(path);
    let connection = schema::open(path)?;
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    let health = verify::database(&connection, mark.get()).map_err(failed)?;
    if health.damage.is_empty() { Ok((connection, health)) } else { Err(damaged(health)) }
}

/// Refuses a write-ahead log of which SQLite would leave out a part.
fn look_at_log(directory: &Path, path: &Path) -> Result<(), OpenError> {
    let health =
        verify::log(path).map_err(|error| OpenError::Directory { path: directory.to_owned(), error })?;
    if health.damage.is_empty() {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), health })
}
