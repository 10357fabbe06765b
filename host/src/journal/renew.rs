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
//! - The old files are not written to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::ffi;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};

use super::schema;

/// Ends the name of the file that says that a flush failed.
const DOUBTFUL: &str = ".doubtful";

/// Puts the journal into new files. Nobody may have it open.
///
/// # Errors
/// It stays as it was; there may be no room for a copy.
pub(super) fn renew(path: &Path) -> rusqlite::Result<()> {
    tidy(path).map_err(failed)?;
    let renewed = replace(path);
    if renewed.is_err() {
        // A disk that has no room for all of it has none for a part.
        let _ = tidy(path);
    }
    renewed
}

/// Removes what a renewal left that did not come to its end.
pub(super) fn tidy(path: &Path) -> io::Result<()> {
    let new = beside(path, ".new");
    [beside(&new, "-wal"), beside(&new, "-shm"), new].iter().try_for_each(|left| remove(left))
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
pub(super) fn settle_doubt(path: &Path) -> rusqlite::Result<()> {
    tracing::warn!(journal = %path.display(), "a flush of the journal failed before the host ended; it is renewed");
    renew(path)
}

fn replace(path: &Path) -> rusqlite::Result<()> {
    let new = beside(path, ".new");
    let log = beside(path, "-wal");
    copy(path, &new).map_err(failed)?;
    if log.exists() {
        copy(&log, &beside(&new, "-wal")).map_err(failed)?;
    }
    let connection = schema::connect(&new)?;
    schema::fold(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    read_back(&new).map_err(failed)?;
    let place = || -> io::Result<()> {
        fs::rename(&new, path)?;
        remove(&log)?;
        remove(&beside(path, "-shm"))?;
        remove(&beside(path, DOUBTFUL))?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    place().map_err(failed)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether what was written is on the disk: the system forgets what it has of it in memory.
fn read_back(path: &Path) -> io::Result<()> {
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
    use rusqlite::Connection;
    use rusqlite::config::DbConfig;

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
        let connection = schema::connect(&path).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)").unwrap();
        drop(connection);
        let log = fs::read(beside(&path, "-wal")).unwrap();
        assert!(!log.is_empty());
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        renew(&path).unwrap();
        assert_ne!(inode(&path), before);
        assert!(!beside(&path, "-wal").exists() && !beside(&path, ".new").exists());
        let sum = || -> i64 {
            let connection = Connection::open(&path).unwrap();
            connection.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap()
        };
        fs::write(beside(&path, "-wal"), &log).unwrap();
        assert_eq!(sum(), 3);
        fs::write(beside(&path, "-wal"), &log).unwrap();
        renew(&path).unwrap();
        assert_eq!(sum(), 3);
    }
}
