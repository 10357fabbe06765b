//! Room on the disk that is kept for settling.
//!
//! Settling is what makes room when the disk is full, and is itself a write. So a file
//! of this size stands beside the journal while there is room; it is given up when a
//! write finds the disk full, and nothing is taken in until it stands again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

pub(super) struct Reserve {
    path: PathBuf,
    /// In bytes.
    size: u64,
    held: bool,
}

impl Reserve {
    /// As large as asked for, but no more than an eighth of the disk.
    pub(super) fn new(directory: &Path, size: u64) -> Self {
        let path = directory.join("reserve");
        let disk = statvfs(directory).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let size = size.min(disk / 8);
        let held = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == size);
        Self { path, size, held }
    }

    /// The room that must be free for it to stand again.
    pub(super) fn needed(&self) -> u64 {
        2 * self.size
    }

    /// Says whether there was something to give up.
    pub(super) fn release(&mut self) -> bool {
        self.held = false;
        fs::remove_file(&self.path).is_ok()
    }

    /// Stands again if there is room for it and as much again.
    pub(super) fn take(&mut self) -> io::Result<()> {
        if self.held {
            return Ok(());
        }
        let room = statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        if room.f_bavail.saturating_mul(room.f_frsize) < self.needed() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = write(&self.path, self.size);
        if written.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        self.held = written.is_ok();
        written
    }
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
