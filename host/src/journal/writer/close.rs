//! The journal's end, when the host stops.

use std::time::Instant;

use rusqlite::config::DbConfig;

use super::Writer;
use crate::journal::{keep, renew, reserve, schema};

impl Writer {
    /// Whether every lane has passed what a crash left unclear. What it has not is as
    /// unclear at the next start as it was at this one.
    pub(super) fn is_certain(&self) -> bool {
        let through = self.uncertain_through;
        self.book.lanes.values().all(|lane| lane.pending == 0 || lane.cursor >= through)
    }

    pub(super) fn close(mut self, certain: bool) {
        // It is not left alone any longer: nobody comes after this try.
        if let Some(trouble) = &mut self.trouble {
            trouble.rest_until = Instant::now();
        }
        self.settle_all();
        if self.files.lost(&self.path).is_some() {
            return self.keep();
        }
        if self.trouble.is_some() {
            return self.leave();
        }
        if certain
            && self.settlements.waiting.is_empty()
            && self.is_certain()
            && let Err(error) = schema::set_clean(&self.connection, true)
        {
            tracing::warn!(%error, "the journal was not closed cleanly; what is pending will say redelivered");
        }
        // So that all of it is in one file, for whoever copies or reads it.
        if let Err(error) = schema::fold(&self.connection) {
            tracing::debug!(%error, "the journal's log was left as it is");
            if reserve::is_flush(&error) {
                renew::doubt(&self.path);
            }
            return self.leave();
        }
        self.end();
    }

    /// Its files were removed or replaced: only what is open here has all of it. The log is not moved
    /// into a file without a name, which ends with this process.
    fn keep(mut self) {
        let path = self.path.display();
        let kept = if self.files.have_moved(&self.path) {
            Err(keep::KeepError::Moved)
        } else {
            // The copy may need its room.
            self.reserve.release();
            keep::keep(&self.connection, &self.path, self.acknowledged())
        };
        match kept {
            Ok(keep::Kept::InPlace { replaced: None }) => tracing::error!(
                "`{path}` was removed while the host ran; all that it had is in its place again"
            ),
            Ok(keep::Kept::InPlace { replaced: Some(replaced) }) => tracing::error!(
                "`{path}` was replaced while the host ran; all that it had is in its place again, and what stood there \
                 is `{}` now",
                replaced.display()
            ),
            Ok(keep::Kept::Beside { kept, error }) => tracing::error!(
                "`{path}` was removed or replaced while the host ran, and cannot be put back: {error}. All that it had \
                 is in `{}`: put that in its place, and remove `{path}-wal`, before the next start",
                kept.display()
            ),
            Err(error) => tracing::error!(
                "`{path}` was removed or replaced while the host ran, and what it had was not saved: {error}. The files \
                 are left as they are"
            ),
        }
        self.leave();
    }

    /// Closes it and leaves the log alone: a flush has failed, and no renewal has gone through.
    /// Moved into a file that is in doubt, what the log has would be lost with it. The next start
    /// renews the journal before anything else ([`renew::settle_doubt`]).
    fn leave(self) {
        // An error says that SQLite does not know the setting, which it does.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        self.end();
    }

    fn end(self) {
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the journal was not closed");
        }
    }
}
