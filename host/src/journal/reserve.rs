//! Room on the disk that is kept for settling.
//!
//! Settling is what makes room when the disk is full, and is itself a write. So a file
//! of this size stands beside the journal while there is room; it is given up when a
//! write finds the disk full. Nothing is taken in until it stands again, or until there
//! is as much room inside the database, which grows and never shrinks.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::files::RESERVE;
use super::schema;

pub(super) struct Reserve {
    path: PathBuf,
    /// In bytes.
    size: u64,
    held: bool,
    /// There was no room for what was to be taken in last.
    closed: bool,
}

impl Reserve {
    /// As large as asked for, but no more than an eighth of the disk.
    pub(super) fn new(directory: &Path, size: u64) -> Self {
        let path = directory.join(RESERVE);
        let disk = statvfs(directory).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let size = size.min(disk / 8);
        let held = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == size);
        Self { path, size, held, closed: false }
    }

    /// The room that must be free for it to stand again.
    pub(super) fn needed(&self) -> u64 {
        2 * self.size
    }

    /// The pages after which the write-ahead log is moved into the database: what that
    /// grows by then must fit where the reserve stood.
    pub(super) fn log_pages(&self) -> u64 {
        (self.size / 2 / u64::from(schema::PAGE)).clamp(64, 4000)
    }

    /// Says whether there was something to give up.
    pub(super) fn release(&mut self) -> bool {
        self.held = false;
        fs::remove_file(&self.path).is_ok()
    }

    /// Stands again if there is room for it and as much again. `inside` is the room inside
    /// the database, `taken` what is to be taken in. Says whether there is room for that.
    pub(super) fn take(&mut self, inside: u64, taken: u64) -> io::Result<()> {
        if self.held && !self.closed && taken < self.size / 8 {
            return Ok(());
        }
        let disk = statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Once in the log, and once more where the database grows. What was closed opens
        // with some room to go on, so that it does not open and close all the time.
        let wanted = 2 * taken + if self.closed { self.size / 2 } else { 0 };
        let needed = if self.held { wanted } else { self.needed() + wanted };
        self.closed = free + inside < needed;
        if self.closed {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.held || free < needed {
            return Ok(());
        }
        let written = write(&self.path, self.size);
        if written.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        self.held = written.is_ok();
        written
    }
}

/// Whether a write failed because there is no room on the disk, or none of its user's quota. To be
/// asked on the thread that wrote, at once: SQLite says nothing of a quota.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            io::Error::last_os_error().kind() == io::ErrorKind::QuotaExceeded
        }
        _ => false,
    }
}

/// Whether it was the flush that failed: what was written before may not be on the disk.
pub(super) fn is_flush(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

fn write(path: &Path, size: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, size) {
        Err(Errno::OPNOTSUPP) => {}
        other => return Ok(other?),
    }
    // Not every file system can set room aside: real bytes, then.
    let copied = io::copy(&mut io::repeat(0).take(size), &mut file)?;
    if copied == size { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
