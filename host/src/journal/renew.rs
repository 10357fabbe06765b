//! After a flush that failed: the journal in files that are new to the disk.
//!
//! What a failed flush left in the system's memory can be read, and may never reach the disk,
//! not even by writing it again into the same file and flushing that without an error
//! (<https://wiki.postgresql.org/wiki/Fsync_Errors>; seen with ext4 on a device whose room had
//! run out). So everything is copied into a new file, flushed, and read back from the disk
//! before it takes the old one's place.
//!
//! # Invariants
//! - At every moment `journal.db` with the log beside it is the whole journal. The copy has
//!   the same pages under the same numbers: the old log, should it still lie there, only puts
//!   into it what it has.
//! - The old files are not written to, by nobody: a connection holds the turn to write meanwhile.
//!   Without it another process that has the journal open, and is the last to close it, would move
//!   the log away in the middle of the copy.
//! - The copy takes its place only if it is whole, and has all that was acknowledged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};

use super::files::{beside, log_of};
use super::{Seq, schema, verify};

/// Ends the name of the file that says that a flush failed.
const DOUBTFUL: &str = ".doubtful";

/// Puts the journal, with all that was acknowledged, into new files. The host may not have it open;
/// others may.
///
/// # Errors
/// It stays as it was; there may be no room for a copy.
pub(super) fn renew(path: &Path, acknowledged: Option<Seq>) -> rusqlite::Result<()> {
    tidy(path).map_err(failed)?;
    let renewed = replace(path, acknowledged);
    if renewed.is_err() {
        // A disk that has no room for all of it has none for a part.
        let _ = tidy(path);
    }
    renewed
}

/// Removes what a renewal left that did not come to its end.
pub(super) fn tidy(path: &Path) -> io::Result<()> {
    let new = beside(path, ".new");
    [log_of(&new), beside(&new, "-shm"), new].iter().try_for_each(|left| remove(left))
}

/// Notes that a flush failed, for a host that starts before the journal was renewed. That note is
/// not flushed itself: what is in doubt is so for as long as the system has it in memory.
pub(super) fn doubt(path: &Path) {
    if let Err(error) = File::create(beside(path, DOUBTFUL)) {
        tracing::debug!(%error, "that a flush of the journal failed was not noted");
    }
}

/// Whether an earlier host left it in doubt.
pub(super) fn is_doubtful(path: &Path) -> bool {
    path.exists() && beside(path, DOUBTFUL).exists()
}

/// Renews a journal that [is doubtful](is_doubtful).
pub(super) fn settle_doubt(path: &Path, acknowledged: Option<Seq>) -> rusqlite::Result<()> {
    tracing::warn!(journal = %path.display(), "a flush of the journal failed before the host ended; it is renewed");
    renew(path, acknowledged)
}

/// Removes what stands in the place of a log of which all is in the database.
pub(super) fn remove_log(path: &Path) -> rusqlite::Result<()> {
    ["-wal", "-shm"].iter().try_for_each(|end| remove(&beside(path, end))).map_err(failed)
}

fn replace(path: &Path, acknowledged: Option<Seq>) -> rusqlite::Result<()> {
    let new = beside(path, ".new");
    let log = log_of(path);
    // Open before the turn is taken and until it is given back: to close any file of the database
    // lets go of all locks that a process has on it (fcntl(2)).
    let database = File::open(path).map_err(failed)?;
    let turn = take_turn(path)?;
    copy(&database, &new).map_err(failed)?;
    if log.exists() {
        File::open(&log).and_then(|log| copy(&log, &log_of(&new))).map_err(failed)?;
    }
    let connection = schema::connect(&new)?;
    schema::fold(&connection)?;
    is_whole(&connection, acknowledged)?;
    connection.close().map_err(|(_, error)| error)?;
    read_back(&new).map_err(failed)?;
    let place = || -> io::Result<()> {
        fs::rename(&new, path)?;
        let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
        // Before the old log goes: with the old database, should that come back, it is whole.
        directory.sync_all()?;
        remove(&log)?;
        remove(&beside(path, "-shm"))?;
        remove(&beside(path, DOUBTFUL))?;
        directory.sync_all()
    };
    let placed = place().map_err(failed);
    drop(turn);
    drop(database);
    placed
}

/// Nobody else writes, moves the log into the database or takes it away while this is open.
fn take_turn(path: &Path) -> rusqlite::Result<Connection> {
    let connection = schema::connect(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    Ok(connection)
}

pub(super) fn is_whole(copy: &Connection, acknowledged: Option<Seq>) -> rusqlite::Result<()> {
    let health = verify::database(copy, acknowledged)?;
    match health.damage.first() {
        None => Ok(()),
        Some(damage) => {
            let text = format!("a copy of the journal is not whole: {damage}");
            Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(text)))
        }
    }
}

fn copy(mut from: &File, to: &Path) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut new)?;
    new.sync_all()
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether what was written is on the disk: the system forgets what it has of it in memory.
pub(super) fn read_back(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    let written = digest(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    if digest(path)? == written {
        Ok(())
    } else {
        Err(io::Error::other("what was written is not on the disk"))
    }
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut digest, mut part) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&part[..read]),
        }
    }
}

/// As SQLite says it, so that a full disk is known as one.
fn failed(error: io::Error) -> rusqlite::Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ffi::SQLITE_FULL,
        io::ErrorKind::ReadOnlyFilesystem => ffi::SQLITE_READONLY,
        _ => ffi::SQLITE_IOERR,
    };
    let text = format!("copying the journal after a flush that failed: {error}");
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_full_disk() {
        for kind in [io::ErrorKind::QuotaExceeded, io::ErrorKind::StorageFull] {
            let code = failed(kind.into()).sqlite_error_code();
            assert_eq!(code, Some(rusqlite::ErrorCode::DiskFull), "{kind}");
        }
    }

    /// What is in the log only is in the new file; an old log that is left changes nothing.
    #[test]
    fn all_of_it_is_in_the_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let connection = schema::open(&path).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)").unwrap();
        drop(connection);
        let log = fs::read(log_of(&path)).unwrap();
        assert!(!log.is_empty());
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        renew(&path, None).unwrap();
        assert_ne!(inode(&path), before);
        assert!(!log_of(&path).exists() && !beside(&path, ".new").exists());
        let sum = || -> i64 {
            let connection = Connection::open(&path).unwrap();
            connection.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap()
        };
        fs::write(log_of(&path), &log).unwrap();
        assert_eq!(sum(), 3);
        fs::write(log_of(&path), &log).unwrap();
        renew(&path, None).unwrap();
        assert_eq!(sum(), 3);
    }

    /// Whoever else has it open, as a person may at any time, cannot move the log away.
    #[test]
    fn nobody_takes_the_log_away_while_it_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let connection = schema::open(&path).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(connection);
        let log = || fs::metadata(log_of(&path)).map_or(0, |log| log.len());
        let look = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM items')";
        let person = || {
            let run = std::process::Command::new("python3").args(["-c", look]).arg(&path).status();
            assert!(run.expect("python3").success());
        };
        let database = File::open(&path).unwrap();
        let turn = take_turn(&path).unwrap();
        copy(&database, &directory.path().join("copy")).unwrap();
        let before = log();
        person();
        assert!(before > 0 && log() == before);
        drop((turn, database));
        person();
        assert_eq!(log(), 0, "without the turn it is moved");
    }

    #[test]
    fn a_copy_that_has_not_all_of_it_takes_no_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        drop(schema::open(&path).unwrap());
        let before = fs::read(&path).unwrap();
        let error = renew(&path, Some(7)).unwrap_err();
        assert!(error.to_string().contains("it ends at the item 0, and 7 was acknowledged"), "{error}");
        assert!(fs::read(&path).unwrap() == before && !beside(&path, ".new").exists());
    }
}
