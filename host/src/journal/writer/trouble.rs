//! A write that failed: nothing in memory is taken to be what is on disk any more.
//!
//! The writer rests for a moment, reads the tables again, and goes on; after a flush that failed
//! all of the journal is written into new files first ([`renew`]).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};

use super::{Writer, log_pages};
use crate::journal::book::Book;
use crate::journal::files::log_of;
use crate::journal::refused::{self, Acknowledged};
use crate::journal::{AppendError, renew, reserve, schema};

/// How long to leave a disk alone that could not be written to.
pub(super) const REST: Duration = Duration::from_millis(500);

/// The last write failed, or whether it did is not known.
pub(super) struct Trouble {
    pub(super) reason: String,
    since: Instant,
    pub(super) rest_until: Instant,
    /// What is in the system's memory may not be on the disk, though it can be read.
    unflushed: bool,
}

/// The files that are written to and their directory, each by its device and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Files {
    directory: Option<(u64, u64)>,
    database: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
}

/// What of them has no name any more: nobody would find it after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Database,
    Log,
}

impl Files {
    pub(super) fn at(path: &Path) -> Self {
        let place = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let directory = path.parent().and_then(place);
        Self { directory, database: place(path), log: place(&log_of(path)) }
    }

    /// Whether another directory stands where theirs was, or none: what is in it is not the host's.
    pub(super) fn have_moved(self, path: &Path) -> bool {
        Self::at(path).directory != self.directory
    }

    /// Looks whether what is written to is still what stands there.
    pub(super) fn lost(self, path: &Path) -> Option<Lost> {
        let now = Self::at(path);
        if self.database.is_some() && now.database != self.database {
            Some(Lost::Database)
        } else if self.log.is_some() && now.log != self.log {
            Some(Lost::Log)
        } else {
            None
        }
    }
}

impl Writer {
    /// Moves the log into the database when it is long, after those who wait were answered. A
    /// flush of the database that fails is one like any other: the log is not written over before
    /// all of it is in files that are new to the disk.
    pub(super) fn fold(&mut self) {
        if self.trouble.is_none() {
            let folded = schema::fold_from(&self.connection, log_pages(&self.reserve, self.bounds));
            self.folded(folded);
        }
    }

    pub(super) fn folded(&mut self, folded: rusqlite::Result<()>) {
        match folded {
            Ok(()) => {}
            // Nothing was flushed, and all of it is written again: the log grows meanwhile, until
            // that has no room either.
            Err(error) if reserve::is_full(&error) && !reserve::is_flush(&error) => {
                self.reserve.release();
            }
            Err(error) => drop(self.failed(&error)),
        }
    }

    pub(super) fn failed(&mut self, error: &rusqlite::Error) -> AppendError {
        let now = Instant::now();
        let is_full = reserve::is_full(error);
        let gave = is_full && self.reserve.release();
        let reason = error.to_string();
        let (since, known) = match &self.trouble {
            Some(trouble) => (trouble.since, trouble.reason == reason),
            None => (now, false),
        };
        if !known {
            tracing::error!(%error, journal = %self.path.display(), "the journal cannot be written; intake refuses");
        }
        let rest_until = if gave { now } else { now + REST };
        let was_unflushed = self.is_unflushed();
        // Nothing was written: there was no room, it may not be written to, somebody else writes, or
        // it does not fit what is there.
        let refused = is_full
            || matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::ReadOnly
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ConstraintViolation
                )
            );
        let lost = self.files.lost(&self.path).is_some();
        let unflushed = was_unflushed || !(refused || lost) || reserve::is_flush(error);
        if unflushed && !was_unflushed {
            renew::doubt(&self.path);
        }
        self.trouble = Some(Trouble { reason: reason.clone(), since, rest_until, unflushed });
        self.settlements.due = Some(rest_until);
        AppendError::Disk(reason)
    }

    pub(super) fn is_unflushed(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.unflushed)
    }

    pub(super) fn well(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            let down = humantime::format_duration(Duration::from_secs(trouble.since.elapsed().as_secs()));
            tracing::info!(journal = %self.path.display(), "the journal can be written again, after {down}");
        }
    }

    /// After a failure nothing in memory is taken to be what is on disk, and nothing
    /// that the system holds in its own memory either: see [`renew`].
    pub(super) fn reopen(&mut self) -> rusqlite::Result<()> {
        match self.files.lost(&self.path) {
            // A new one in its place would be empty.
            Some(Lost::Database) => return Err(rusqlite::Error::InvalidPath(self.path.clone())),
            Some(Lost::Log) => self.save_log()?,
            None => {}
        }
        if self.is_unflushed() {
            let acknowledged = self.mark.get();
            // Closing must not move the log into the files that are in doubt.
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            self.connection = Connection::open_in_memory()?;
            let renewed = self.shared.let_go(|| renew::renew(&self.path, acknowledged));
            // It may be another file already where a later step failed.
            let files = Files::at(&self.path);
            self.files = if files.lost(&self.path).is_none() { files } else { self.files };
            renewed?;
        }
        self.connection = schema::connect(&self.path)?;
        schema::keep_log_small(&self.connection, log_pages(&self.reserve, self.bounds))?;
        if let Some(trouble) = &mut self.trouble {
            trouble.unflushed = false;
        }
        let acknowledged = self.acknowledged();
        let refused = refused::take_back(&mut self.connection, acknowledged)?;
        if refused > 0 {
            tracing::info!(
                items = refused,
                "what was refused when the journal could not be written was taken out of it"
            );
        }
        let book = Book::load(&self.connection, self.bounds)?;
        self.files = Files::at(&self.path);
        if book.last < acknowledged.seq {
            let text =
                format!("it ends at the item {}, and {} was acknowledged", book.last, acknowledged.seq);
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(text)));
        }
        self.book = book;
        self.shared.tail.begin(self.book.last);
        self.show_depths();
        // Nor is what lanes believe to hold.
        self.shared.reopened.send_modify(|times| *times += 1);
        Ok(())
    }

    /// What was answered to be on disk. A transaction that failed is in neither.
    pub(super) fn acknowledged(&self) -> Acknowledged {
        Acknowledged { seq: *self.head.borrow(), commit: self.book.seen.newest_commit() }
    }

    /// The log was removed, and only this connection still has it: what is in it goes into the
    /// database, before anything is written to a log that nobody would find.
    fn save_log(&mut self) -> rusqlite::Result<()> {
        schema::fold(&self.connection)?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        self.connection = Connection::open_in_memory()?;
        self.shared.let_go(|| renew::remove_log(&self.path))?;
        tracing::warn!(
            journal = %self.path.display(),
            "its log was removed while the host ran; what was in it is in the database now"
        );
        Ok(())
    }
}
