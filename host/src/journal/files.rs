//! The files of a journal, by their names in its directory.

use std::path::{Path, PathBuf};

/// The database; SQLite's own files stand beside it.
pub(super) const DATABASE: &str = "journal.db";
/// How far it reached: see [`mark`](super::mark).
pub(super) const MARK: &str = "acknowledged";
/// Keeps a second host out: see [`lock`](super::lock).
pub(super) const LOCK: &str = "lock";
/// Room for settling: see [`reserve`](super::reserve).
pub(super) const RESERVE: &str = "reserve";
/// Where a rescue works: see [`rescue`](super::rescue).
pub(super) const RESCUE: &str = "rescue";

/// A file whose name is another's, and then this.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The write-ahead log of a database.
pub(super) fn log_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}
