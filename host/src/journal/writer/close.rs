//! The journal's end, when the host stops.

use std::time::Instant;

use rusqlite::config::DbConfig;

use super::{Appends, Writer};
use crate::journal::{renew, reserve, schema};

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
        self.flush(Appends::new());
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
