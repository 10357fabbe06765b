//! A journal whose files were removed or replaced while the host ran.
//!
//! Only who has them open still has all of it: the database may have no name any more, and its log
//! fits no other. So all of it is copied into a new file before they are closed, and that takes
//! the place where a start looks.
//!
//! # Invariants
//! - Until the copy is whole, on the disk and in its place, the files are as a kill would leave
//!   them.
//! - What somebody else put there stays, under another name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ffi};

use super::files::{beside, log_of};
use super::refused::Acknowledged;
use super::renew::{is_whole, read_back, remove};
use super::{refused, renew, schema};

/// Where the whole journal is now.
#[derive(Debug)]
pub(super) enum Kept {
    /// Where it was; what stood there meanwhile has another name.
    InPlace { replaced: Option<PathBuf> },
    /// In a file of its own, and why.
    Beside { kept: PathBuf, error: io::Error },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("its directory was moved")]
    Moved,
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    Files(#[from] io::Error),
}

/// Puts all that an open journal has into a new file, and that where the journal was.
///
/// # Errors
/// There may be no room for a copy, or what is open may not be whole; nothing has changed then.
pub(super) fn keep(open: &Connection, path: &Path, acknowledged: Acknowledged) -> Result<Kept, KeepError> {
    renew::tidy(path)?;
    let new = beside(path, ".new");
    let kept = copy(open, &new, acknowledged).and_then(|()| match put_back(&new, path) {
        Ok(replaced) => Ok(Kept::InPlace { replaced }),
        Err(error) => {
            let kept = unused(path, ".kept-");
            fs::rename(&new, &kept)?;
            Ok(Kept::Beside { kept, error })
        }
    });
    if kept.is_err() {
        let _ = renew::tidy(path);
    }
    kept
}

/// The same pages under the same numbers: a log that is left beside them puts into them what they
/// have.
fn copy(open: &Connection, new: &Path, acknowledged: Acknowledged) -> Result<(), KeepError> {
    // Made before SQLite does, which would leave it readable to others.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let mut copy = Connection::open(new)?;
    if Backup::new(open, &mut copy)?.step(-1)? != StepResult::Done {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None).into());
    }
    copy.close().map_err(|(_, error)| error)?;
    let mut copy = schema::connect(new)?;
    refused::take_back(&mut copy, acknowledged)?;
    schema::fold(&copy)?;
    is_whole(&copy, Some(acknowledged.seq))?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(read_back(new)?)
}

/// Gives what stands there, and the log beside it, another name of which no start knows.
fn put_back(new: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let replaced = path.symlink_metadata().is_ok().then(|| unused(path, ".replaced-"));
    if let Some(replaced) = &replaced {
        fs::hard_link(path, replaced)?;
        let log = log_of(path);
        if log.exists() {
            fs::hard_link(log, log_of(replaced))?;
        }
    }
    fs::rename(new, path)?;
    // Before the old log goes, as in a renewal.
    let cleared = directory
        .sync_all()
        .and_then(|()| ["-wal", "-shm"].iter().try_for_each(|end| remove(&beside(path, end))))
        .and_then(|()| directory.sync_all());
    if let Err(error) = cleared {
        tracing::warn!(%error, journal = %path.display(), "its old log may still be beside it");
    }
    Ok(replaced)
}

fn unused(path: &Path, end: &str) -> PathBuf {
    let mut number = 1;
    loop {
        let name = beside(path, &format!("{end}{number}"));
        if name.symlink_metadata().is_err() {
            return name;
        }
        number += 1;
    }
}
