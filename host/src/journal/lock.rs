//! The lock that keeps a second host out.
//!
//! Two are taken, and both are needed: that of the file `lock`, which older hosts look at, and that
//! of the directory itself, which nobody can remove while a journal is in it. With the file alone,
//! whoever removed it let a second host in beside the first.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::OpenError;
use super::files::LOCK;

/// A process that has let go of the lock may have a child that has not become its own program
/// yet, and holds it for a moment more.
const LOCK_TRIES: usize = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(30);

/// Held for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    _directory: File,
}

impl Lock {
    /// Makes the directory, closed to others, and takes the lock of it.
    pub(super) fn take(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory { path: directory.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(directory.join(LOCK)).map_err(failed)?;
        let whole = File::open(directory).map_err(failed)?;
        let not_taken = |error| match error {
            Errno::WOULDBLOCK => OpenError::InUse { path: directory.to_owned() },
            error => failed(error.into()),
        };
        lock(&file).map_err(not_taken)?;
        match lock(&whole) {
            // Not every file system of a network locks directories.
            Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(error) => return Err(not_taken(error)),
        }
        Ok(Self { _file: file, _directory: whole })
    }
}

fn lock(file: &File) -> Result<(), Errno> {
    let mut tries = 1;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if tries < LOCK_TRIES => std::thread::sleep(BETWEEN_TRIES),
            locked => return locked,
        }
        tries += 1;
    }
}
