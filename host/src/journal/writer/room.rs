//! Whether there is room for what is to be taken in: on the disk, and in what the journal may take.

use std::time::{Duration, Instant};

use super::trouble::Lost;
use super::{Appends, Writer};
use crate::journal::{AppendError, book, schema};

/// How often a full journal is looked through for room.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked what fills a full journal.
const JUDGE_EVERY: Duration = Duration::from_secs(10);

/// What is known of a journal that was full.
#[derive(Default)]
pub(super) struct Room {
    /// Intake was refused because the journal is full.
    full: bool,
    /// Or because the reserve has no room on the disk.
    no_reserve: bool,
    /// When it was last looked for room.
    tidied: Option<Instant>,
    /// Whether dead letters fill it, and when that was found out.
    judged: Option<(Instant, bool)>,
}

impl Writer {
    /// Why nothing can be taken in now.
    pub(super) fn refusal(
        &mut self,
        resting: bool,
        lost: Option<Lost>,
        appends: &Appends,
    ) -> Option<AppendError> {
        // Also while it rests: that says what to do.
        if lost == Some(Lost::Database) {
            let reason = format!(
                "`{}` was removed or replaced while the host ran: what is taken in would be lost with it. Put it back, or \
                 restart the host",
                self.path.display()
            );
            if !std::mem::replace(&mut self.gone, true) {
                tracing::error!("{reason}; intake refuses");
            }
            return Some(AppendError::Disk(reason));
        }
        self.gone = false;
        if let Some(trouble) = self.trouble.as_ref().filter(|_| resting) {
            return Some(AppendError::Disk(trouble.reason.clone()));
        }
        let items = appends.iter().flat_map(|(items, _)| items);
        let taken = items.map(|item| item.item.text().len() as u64).sum();
        if self.reserve.take(self.book.free, taken).is_err() {
            let room = bytesize::ByteSize(self.reserve.needed());
            let directory = self.path.parent().unwrap_or(&self.path).display();
            let reason = format!("the disk of `{directory}` is full; intake goes on when {room} are free");
            if !std::mem::replace(&mut self.room.no_reserve, true) {
                tracing::error!(journal = %self.path.display(), "{reason}; intake refuses");
            }
            return Some(AppendError::Disk(reason));
        }
        if std::mem::take(&mut self.room.no_reserve) {
            tracing::info!(journal = %self.path.display(), "there is room on the disk again; intake goes on");
        }
        self.tidy();
        if self.book.bytes < self.bounds.size {
            self.room.judged = None;
            if std::mem::take(&mut self.room.full) {
                tracing::info!(journal = %self.path.display(), "there is room in the journal again");
            }
            return None;
        }
        let behind = if self.is_filled_by_dead() { None } else { self.book.furthest_behind() };
        let refusal = AppendError::Full { bytes: self.book.bytes, limit: self.bounds.size, behind };
        if !std::mem::replace(&mut self.room.full, true) {
            tracing::error!(journal = %self.path.display(), "{refusal}; intake refuses");
        }
        Some(refusal)
    }

    /// Whether dead letters are more of it than what is pending; looked at now and then, because
    /// that takes a while in a large one.
    fn is_filled_by_dead(&mut self) -> bool {
        if let Some((at, known)) = self.room.judged
            && at.elapsed() < JUDGE_EVERY
        {
            return known;
        }
        let dead = self.trouble.is_none() && book::has_more_dead(&self.connection).unwrap_or(false);
        self.room.judged = Some((Instant::now(), dead));
        dead
    }

    /// A full journal may have room that nobody has seen yet: keys grow old, dead letters are
    /// dropped, and what was settled is removed when there is a commit.
    fn tidy(&mut self) {
        let recently = self.room.tidied.is_some_and(|at| at.elapsed() < TIDY_EVERY);
        if self.book.bytes < self.bounds.size || self.trouble.is_some() || recently {
            return;
        }
        self.room.tidied = Some(Instant::now());
        if let Err(error) = self.commit(&mut Appends::new()) {
            return drop(self.failed(&error));
        }
        if self.book.bytes >= self.bounds.size {
            let emptied = schema::empty_log(&self.connection);
            let measured = emptied.and_then(|()| self.book.measure(&self.connection));
            self.folded(measured);
        }
    }
}
