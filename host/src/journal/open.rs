//! Opening the database of a journal: only one that is whole is used.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::clock::Anchor;
use super::error::OpenError;
use super::files::{DATABASE, MARK, RESCUE, log_of};
use super::lock::Lock;
use super::mark::Mark;
use super::{Health, Held, Seq, book, held, renew, schema, seen, unused, verify, wal};

/// Looks whether the journal in a directory is whole, and changes nothing.
pub(crate) fn check(directory: &Path) -> Result<Health, OpenError> {
    look_for(directory)?;
    let _lock = Lock::take(directory)?;
    let path = directory.join(DATABASE);
    let files = |error| OpenError::Directory { path: directory.to_owned(), error };
    let mark = Mark::open(directory).map_err(files)?;
    if !path.exists() {
        look_at_files(directory, &path, &mark)?;
        return Err(OpenError::Nothing { directory: directory.to_owned() });
    }
    let (connection, health) = open_sound(directory, &path, &mark)?;
    if renew::is_doubtful(&path) {
        // Closing must not move the log into files that are in doubt.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
    Ok(health)
}

/// Whether there is anything of a journal, before a directory is made for one.
pub(super) fn look_for(directory: &Path) -> Result<(), OpenError> {
    let database = directory.join(DATABASE);
    let parts = [log_of(&database), database, directory.join(MARK), directory.join(RESCUE)];
    match parts.iter().any(|part| part.exists()) {
        true => Ok(()),
        false => Err(OpenError::Nothing { directory: directory.to_owned() }),
    }
}

/// Opens the database if it is whole, for use; says whether it was closed cleanly.
pub(super) fn begin(directory: &Path, path: &Path, mark: &Mark) -> Result<(Connection, bool), OpenError> {
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    if renew::is_doubtful(path) {
        // Before the log is moved into the database, which leaves out what is damaged.
        look_at_files(directory, path, mark)?;
        renew::settle_doubt(path, mark.get()).map_err(failed)?;
    }
    let (mut connection, _) = open_sound(directory, path, mark)?;
    let clean = take_in_use(&mut connection).map_err(failed)?;
    Ok((connection, clean))
}

/// Opens the database if it is whole.
fn open_sound(directory: &Path, path: &Path, mark: &Mark) -> Result<(Connection, Health), OpenError> {
    look_at_files(directory, path, mark)?;
    verify::read_ahead(path);
    let connection = schema::open(path)?;
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    let health = verify::database(&connection, mark.get()).map_err(failed)?;
    let damaged = |health| OpenError::Damaged { path: path.to_owned(), health };
    if health.damage.is_empty() { Ok((connection, health)) } else { Err(damaged(health)) }
}

/// Refuses what SQLite would throw away without a word, so before it opens anything: a log whose
/// database is empty or not there, and what is behind a damaged frame of one.
fn look_at_files(directory: &Path, path: &Path, mark: &Mark) -> Result<(), OpenError> {
    let files = |error| OpenError::Directory { path: directory.to_owned(), error };
    let size = match fs::metadata(path) {
        Ok(database) => Some(database.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(files(error)),
    };
    let acknowledged = mark.get().filter(|seq| *seq > 0);
    let health = match size {
        None | Some(0) => Health::gone(size.is_some(), wal::has_frames(path), acknowledged),
        Some(_) => verify::log(path).map_err(files)?,
    };
    if health.damage.is_empty() {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), health })
}

/// Notes that the journal is in use; says whether it was closed cleanly. If not, any item
/// that was held may have been delivered, which is written to it: it stays so until it is
/// settled, however often the host starts and stops meanwhile.
fn take_in_use(connection: &mut Connection) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let clean = schema::is_clean(&transaction)?;
    if clean {
        schema::set_clean(&transaction, false)?;
    } else {
        for lane in book::lanes(&transaction)?.into_keys() {
            for certain in held::of(&transaction, lane)?.into_iter().filter(|held| !held.redelivered) {
                held::hold(&transaction, lane, &Held { redelivered: true, ..certain })?;
            }
        }
    }
    redate(&transaction)?;
    keep_places(&transaction)?;
    let forgotten = unused::forget(&transaction)?;
    transaction.commit()?;
    if forgotten > 0 {
        tracing::info!(lanes = forgotten, "forgot lanes that returns once asked for, and nothing names");
    }
    Ok(clean)
}

/// Dates what was seen by this process's clock, where the wall clock was set since: the
/// window is as long as it would have been.
fn redate(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let Some(here) = Anchor::here() else { return Ok(()) };
    match Anchor::kept(transaction)?.and_then(|kept| here.ahead_of(kept)) {
        // The one that is kept stays, so that small differences do not add up.
        Some(0) => return Ok(()),
        Some(ahead) => seen::shift(transaction, ahead)?,
        None => {}
    }
    here.keep(transaction)
}

/// What a dead letter or a held item has is no place for another, though no cursor may have reached
/// it: a rescue does not know how far each lane was.
fn keep_places(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let newest = "SELECT max(seq) FROM (SELECT seq FROM dead UNION ALL SELECT seq FROM held)";
    let newest: Option<Seq> = transaction.query_row(newest, [], |row| row.get(0))?;
    let reached = book::reached(transaction, &book::lanes(transaction)?)?;
    match newest.filter(|newest| *newest > reached) {
        Some(newest) => book::keep_places(transaction, newest),
        None => Ok(()),
    }
}
