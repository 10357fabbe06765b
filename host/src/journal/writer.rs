//! The one thread that writes: it gathers what waits into a transaction, flushes it
//! once, and answers.
//!
//! Nothing waits for company: a transaction takes what is there when it begins, and
//! what comes meanwhile is the next one.
//!
//! When a write fails, nothing in memory is taken to be what is on disk: the writer
//! rests for a moment, reads the tables again, and goes on. What it was told to settle
//! waits meanwhile; what it was asked to take in is refused.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::book::{self, Book, Targets};
use super::mark::Mark;
use super::read::Reader;
use super::reserve::{self, Reserve};
use super::seen::Fresh;
use super::tail::Tail;
use super::{
    AppendError, Appended, Bounds, Depths, Entry, Held, JournalError, LaneId, LaneState, NewItem, Seq,
    Settlement, dead, renew, schema,
};
use crate::items::Key;
use crate::telemetry::JournalMetrics;

mod settlements;

#[cfg(test)]
mod tests;

use settlements::Settlements;

/// The most items of one transaction: bounds how long the last of them waits.
const GROUP: usize = 4096;

/// How many places are trimmed at once while items come in: removing a few each time would
/// write as many pages as taking them in does. All of it is trimmed when nothing comes.
const TRIM: u64 = 1024;

/// How long a settlement may wait for a transaction to be part of.
const SETTLE_WITHIN: Duration = Duration::from_millis(200);

/// How long to leave a disk alone that could not be written to.
const REST: Duration = Duration::from_millis(500);

/// How often a full journal is looked through for room.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked what fills a full journal.
const JUDGE_EVERY: Duration = Duration::from_secs(10);

type Answer<T> = oneshot::Sender<T>;

pub(super) enum Command {
    Append { items: Vec<NewItem>, reply: Answer<Result<Appended, AppendError>> },
    Lane { name: String, reply: Answer<Result<LaneState, JournalError>> },
    Settle { lane: LaneId, settlement: Settlement },
    Replay { dead: Vec<i64>, reply: Answer<Result<Vec<(LaneId, Held)>, JournalError>> },
    Drop { dead: Vec<i64>, reply: Answer<Result<Vec<LaneId>, JournalError>> },
    Abandon { lane: LaneId, keys: Vec<(Key, u64)>, reply: Answer<Result<u64, JournalError>> },
    Close { certain: bool },
}

/// What the writer tells the readers.
pub(super) struct Shared {
    pub(super) tail: Arc<Tail>,
    pub(super) depths: Depths,
    pub(super) reader: Arc<Reader>,
    pub(super) metrics: JournalMetrics,
}

pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    bounds: Bounds,
    book: Book,
    shared: Shared,
    head: watch::Sender<Seq>,
    mark: Mark,
    reserve: Reserve,
    settlements: Settlements,
    uncertain_through: Seq,
    /// Something that is settled was not removed yet.
    untrimmed: bool,
    /// Intake was refused because the journal is full.
    full: bool,
    /// Which file it is: its device and number.
    place: Option<(u64, u64)>,
    /// Another one stands in its place, or none: it was said.
    gone: bool,
    /// When it was last looked for room.
    tidied: Option<Instant>,
    /// Whether dead letters fill it, and when that was found out.
    judged: Option<(Instant, bool)>,
    trouble: Option<Trouble>,
}

/// The last write failed, or whether it did is not known.
struct Trouble {
    reason: String,
    since: Instant,
    rest_until: Instant,
    /// What is in the system's memory may not be on the disk, though it can be read.
    unflushed: bool,
}

fn place_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The pages after which the log is moved into the database: a small part of what the journal may
/// take, and of its reserve.
fn log_pages(reserve: &Reserve, bounds: Bounds) -> u64 {
    reserve.log_pages().min(bounds.size / 8 / u64::from(schema::PAGE)).max(64)
}

/// Calls of [`super::Journal::append`] that share a transaction.
type Appends = Vec<(Vec<NewItem>, Answer<Result<Appended, AppendError>>)>;

impl Writer {
    pub(super) fn new(
        connection: Connection,
        clean: bool,
        path: &Path,
        bounds: Bounds,
        mark: Mark,
        shared: Shared,
    ) -> rusqlite::Result<(Self, watch::Receiver<Seq>)> {
        let mut reserve = Reserve::new(path.parent().unwrap_or(Path::new(".")), bounds.reserve);
        schema::keep_log_small(&connection, log_pages(&reserve, bounds))?;
        let book = Book::load(&connection, bounds)?;
        let (head, receiver) = watch::channel(book.last);
        shared.tail.begin(book.last);
        if let Err(error) = reserve.take(book.free, 0) {
            tracing::warn!(%error, journal = %path.display(), "there is no room for the journal's reserve");
        }
        let numbers = book.lanes.iter().map(|(id, lane)| (*id, lane.settlements)).collect();
        let writer = Self {
            connection,
            path: path.to_owned(),
            bounds,
            uncertain_through: if clean { 0 } else { book.last },
            book,
            shared,
            head,
            mark,
            reserve,
            settlements: Settlements { numbers, ..Settlements::default() },
            untrimmed: false,
            full: false,
            place: place_of(path),
            gone: false,
            tidied: None,
            judged: None,
            trouble: None,
        };
        writer.show_depths();
        Ok((writer, receiver))
    }

    /// Works until it is told to close, or nobody is left to tell it.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let wait = match self.settlements.due {
                Some(by) => by.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            let mut next = match commands.recv_timeout(wait) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.close(false),
            };
            let mut appends = Appends::new();
            let mut count = 0;
            while let Some(command) = next {
                match command {
                    Command::Append { items, reply } => {
                        count += items.len();
                        appends.push((items, reply));
                    }
                    Command::Settle { lane, settlement } => self.note(lane, settlement),
                    Command::Close { certain } => {
                        self.flush(appends);
                        return self.close(certain);
                    }
                    other => self.answer(other),
                }
                next = if count < GROUP { commands.try_recv().ok() } else { None };
            }
            let due = self.settlements.due.is_some_and(|by| by <= Instant::now());
            if due || !appends.is_empty() {
                self.flush(appends);
                self.fold();
            }
        }
    }

    /// Moves the log into the database when it is long, after those who wait were answered. A
    /// flush of the database that fails is one like any other: the log is not written over before
    /// all of it is in files that are new to the disk.
    fn fold(&mut self) {
        if self.trouble.is_none() {
            let folded = schema::fold_from(&self.connection, log_pages(&self.reserve, self.bounds));
            self.folded(folded);
        }
    }

    fn folded(&mut self, folded: rusqlite::Result<()>) {
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

    /// What is rare, and each a transaction of its own.
    fn answer(&mut self, command: Command) {
        // An answer that nobody waits for any more is no fault.
        match command {
            Command::Lane { name, reply } => {
                // A lane that comes back must not read a cursor from before its last settlement.
                self.flush(Appends::new());
                let state = match self.settlements.waiting.is_empty() {
                    true => self.alone(|writer| writer.lane(&name)),
                    false => Err(JournalError::Behind),
                };
                drop(reply.send(state));
            }
            Command::Replay { dead, reply } => {
                let replay =
                    |writer: &mut Self| dead::replay(&mut writer.connection, &mut writer.book, &dead);
                let replayed = self.alone(replay);
                self.show_depths();
                drop(reply.send(replayed));
            }
            Command::Drop { dead, reply } => {
                let remove =
                    |writer: &mut Self| dead::remove(&mut writer.connection, &mut writer.book, &dead);
                drop(reply.send(self.alone(remove)));
            }
            Command::Abandon { lane, keys, reply } => {
                let abandon =
                    |writer: &mut Self| book::abandon(&mut writer.connection, &mut writer.book, lane, &keys);
                let abandoned = self.alone(abandon);
                self.show_depths();
                // What is settled now can be removed.
                self.untrimmed = true;
                self.settlements.due.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
                drop(reply.send(abandoned));
            }
            Command::Append { .. } | Command::Settle { .. } | Command::Close { .. } => {}
        }
        self.fold();
    }

    /// A change that is no part of [`commit`](Self::commit), on what is known to be on disk.
    fn alone<T>(&mut self, change: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        let ready = match self.trouble {
            _ if self.is_gone() => Err(rusqlite::Error::InvalidPath(self.path.clone())),
            Some(_) => self.reopen(),
            None => Ok(()),
        };
        ready.and_then(|()| change(self)).map_err(|error| {
            self.failed(&error);
            JournalError::Write(error)
        })
    }

    fn note(&mut self, lane: LaneId, settlement: Settlement) {
        // Shown at once, though it is written later.
        if let Some(depth) = self.shared.depths.write().get_mut(&lane) {
            *depth = depth.saturating_sub(settlement.settled);
        }
        self.settlements.note(lane, settlement);
    }

    /// Writes and answers.
    fn flush(&mut self, mut appends: Appends) {
        let resting = self.trouble.as_ref().is_some_and(|trouble| Instant::now() < trouble.rest_until);
        if !appends.is_empty()
            && let Some(refusal) = self.refusal(resting, &appends)
        {
            for (_, reply) in appends.drain(..) {
                let _ = reply.send(Err(refusal.clone()));
            }
        }
        let waiting = !self.settlements.waiting.is_empty() || self.untrimmed || self.trouble.is_some();
        if resting || (appends.is_empty() && !waiting) {
            return;
        }
        let ready = if self.trouble.is_some() { self.reopen() } else { Ok(()) };
        match ready.and_then(|()| self.commit(&mut appends)) {
            Ok(answers) => {
                self.settlements.written();
                if self.untrimmed {
                    self.settlements.due = Some(Instant::now() + SETTLE_WITHIN);
                }
                self.well();
                for ((_, reply), answer) in appends.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                let refusal = self.failed(&error);
                for (_, reply) in appends {
                    let _ = reply.send(Err(refusal.clone()));
                }
            }
        }
    }

    /// Whether what is written has no name any more: nobody would find it after a restart.
    fn is_gone(&self) -> bool {
        self.place.is_some() && place_of(&self.path) != self.place
    }

    /// Why nothing can be taken in now.
    fn refusal(&mut self, resting: bool, appends: &Appends) -> Option<AppendError> {
        if let Some(trouble) = self.trouble.as_ref().filter(|_| resting) {
            return Some(AppendError::Disk(trouble.reason.clone()));
        }
        if self.is_gone() {
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
        let items = appends.iter().flat_map(|(items, _)| items);
        let taken = items.map(|item| item.item.text().len() as u64).sum();
        if self.reserve.take(self.book.free, taken).is_err() {
            let room = bytesize::ByteSize(self.reserve.needed());
            let directory = self.path.parent().unwrap_or(&self.path).display();
            let reason = format!("the disk of `{directory}` is full; intake goes on when {room} are free");
            return Some(AppendError::Disk(reason));
        }
        self.tidy();
        if self.book.bytes < self.bounds.size {
            self.judged = None;
            if std::mem::take(&mut self.full) {
                tracing::info!(journal = %self.path.display(), "there is room in the journal again");
            }
            return None;
        }
        let behind = if self.is_filled_by_dead() { None } else { self.book.furthest_behind() };
        let refusal = AppendError::Full { bytes: self.book.bytes, limit: self.bounds.size, behind };
        if !std::mem::replace(&mut self.full, true) {
            tracing::error!(journal = %self.path.display(), "{refusal}; intake refuses");
        }
        Some(refusal)
    }

    /// Whether dead letters are more of it than what is pending; looked at now and then, because
    /// that takes a while in a large one.
    fn is_filled_by_dead(&mut self) -> bool {
        if let Some((at, known)) = self.judged
            && at.elapsed() < JUDGE_EVERY
        {
            return known;
        }
        let dead = self.trouble.is_none() && book::has_more_dead(&self.connection).unwrap_or(false);
        self.judged = Some((Instant::now(), dead));
        dead
    }

    /// A full journal may have room that nobody has seen yet: keys grow old, dead letters are
    /// dropped, and what was settled is removed when there is a commit.
    fn tidy(&mut self) {
        let recently = self.tidied.is_some_and(|at| at.elapsed() < TIDY_EVERY);
        if self.book.bytes < self.bounds.size || self.trouble.is_some() || recently {
            return;
        }
        self.tidied = Some(Instant::now());
        match self.commit(&mut Appends::new()) {
            Ok(_) => self.settlements.written(),
            Err(error) => return drop(self.failed(&error)),
        }
        if self.book.bytes >= self.bounds.size {
            let emptied = schema::empty_log(&self.connection);
            let measured = emptied.and_then(|()| self.book.measure(&self.connection));
            self.folded(measured);
        }
    }

    fn failed(&mut self, error: &rusqlite::Error) -> AppendError {
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
        let refused = is_full || error.sqlite_error_code() == Some(ErrorCode::ReadOnly);
        let unflushed = was_unflushed || !refused || reserve::is_flush(error);
        if unflushed && !was_unflushed {
            renew::doubt(&self.path);
        }
        self.trouble = Some(Trouble { reason: reason.clone(), since, rest_until, unflushed });
        self.settlements.due = Some(rest_until);
        AppendError::Disk(reason)
    }

    fn is_unflushed(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.unflushed)
    }

    fn well(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            let down = humantime::format_duration(Duration::from_secs(trouble.since.elapsed().as_secs()));
            tracing::info!(journal = %self.path.display(), "the journal can be written again, after {down}");
        }
    }

    /// One transaction; gives an answer for each call.
    fn commit(&mut self, appends: &mut Appends) -> rusqlite::Result<Vec<Appended>> {
        let now = super::now();
        let book = &mut self.book;
        // A host that rested has keys that are too old to make anything a copy.
        book.seen.forget(now);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut targets = Targets { transaction: &transaction, known: &mut book.targets };
        let mut fresh = Fresh::default();
        let mut entries = Vec::new();
        let mut answers = Vec::with_capacity(appends.len());
        for (items, _) in appends.iter_mut() {
            let mut answer =
                Appended { first: book.last + 1, through: book.last, duplicates: 0, repeated: Vec::new() };
            for item in items.drain(..) {
                let lanes = match item.dedupe {
                    Some(key) => book.seen.remaining(&mut fresh, &mut targets, key, &item.lanes)?,
                    None => Some(Arc::clone(&item.lanes)),
                };
                // Some of the lanes had it, or all.
                if lanes.as_ref().is_none_or(|lanes| lanes.len() < item.lanes.len()) {
                    answer.repeated.extend(item.dedupe);
                }
                let Some(lanes) = lanes else {
                    answer.duplicates += 1;
                    continue;
                };
                book.last += 1;
                let entry = Entry { seq: book.last, accepted: item.accepted, item: item.item, lanes };
                book::insert(&mut targets, &entry)?;
                entries.push(Arc::new(entry));
            }
            answer.through = book.last;
            answers.push(answer);
        }
        for lane in entries.iter().flat_map(|entry| entry.lanes.iter()) {
            if let Some(lane) = book.lanes.get_mut(lane) {
                lane.add_pending(1);
            }
        }
        for (lane, number, settlement) in &self.settlements.waiting {
            book::settle(&transaction, &mut book.lanes, *lane, *number, settlement)?;
        }
        for (id, lane) in &mut book.lanes {
            lane.write(&transaction, *id)?;
        }
        let seen = book.seen.write(&transaction, &fresh, now)?;
        let places = if entries.is_empty() { 1 } else { TRIM };
        let untrimmed = book::trim(&transaction, &book.lanes, &mut book.targets, places)?;
        let begun = Instant::now();
        transaction.commit()?;
        if !entries.is_empty() || !self.settlements.waiting.is_empty() {
            self.shared.metrics.committed(begun.elapsed(), entries.len());
        }

        self.untrimmed = untrimmed;
        book.seen.committed(seen, fresh, now);
        book.measure(&self.connection)?;
        self.show(entries);
        Ok(answers)
    }

    /// What is on disk now becomes visible to lanes.
    fn show(&mut self, entries: Vec<Arc<Entry>>) {
        self.show_depths();
        if !entries.is_empty()
            && let Err(error) = self.mark.set(self.book.last)
        {
            tracing::debug!(%error, "the place of what is acknowledged was not marked");
        }
        self.shared.tail.push(entries.into_iter());
        self.shared.tail.trim(self.book.lanes.values().map(|lane| lane.cursor).min().unwrap_or(0));
        let through = self.book.last;
        self.head.send_if_modified(|head| std::mem::replace(head, through) != through);
    }

    /// After a failure nothing in memory is taken to be what is on disk, and nothing
    /// that the system holds in its own memory either: see [`renew`].
    fn reopen(&mut self) -> rusqlite::Result<()> {
        // A new one in its place would be empty.
        if self.is_gone() {
            return Err(rusqlite::Error::InvalidPath(self.path.clone()));
        }
        if self.is_unflushed() {
            let reader = Arc::clone(&self.shared.reader);
            // Closing must not move the log into the files that are in doubt.
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            self.connection = Connection::open_in_memory()?;
            let renewed = reader.let_go(|| renew::renew(&self.path));
            // It may be another file already where a later step failed.
            self.place = place_of(&self.path).or(self.place);
            renewed?;
        }
        self.connection = schema::connect(&self.path)?;
        schema::keep_log_small(&self.connection, log_pages(&self.reserve, self.bounds))?;
        if let Some(trouble) = &mut self.trouble {
            trouble.unflushed = false;
        }
        self.place = place_of(&self.path);
        self.book = Book::load(&self.connection, self.bounds)?;
        // A transaction whose flush failed may be there all the same. Its items were
        // refused; the lanes take them as what comes next.
        let last = self.book.last;
        self.shared.tail.begin(last);
        self.head.send_if_modified(|head| std::mem::replace(head, last) != last);
        self.show_depths();
        Ok(())
    }

    fn show_depths(&self) {
        self.shared.metrics.size(self.book.bytes, self.bounds.size);
        *self.shared.depths.write() = self.book.lanes.iter().map(|(id, lane)| (*id, lane.pending)).collect();
    }

    /// Finds a lane, or makes it at the head.
    fn lane(&mut self, name: &str) -> rusqlite::Result<LaneState> {
        let known = self.book.lanes.iter().find(|(_, lane)| lane.name == name).map(|(id, _)| *id);
        let id = match known {
            Some(id) => id,
            None => self.book.add_lane(&self.connection, name)?,
        };
        Ok(LaneState {
            id,
            cursor: self.book.lanes.get(&id).map_or(self.book.last, |lane| lane.cursor),
            held: book::held(&self.connection, id)?,
            dead: dead::count(&self.connection, id)?,
            uncertain_through: self.uncertain_through,
        })
    }

    /// Whether every lane has passed what a crash left unclear. What it has not is as
    /// unclear at the next start as it was at this one.
    fn is_certain(&self) -> bool {
        let through = self.uncertain_through;
        self.book.lanes.values().all(|lane| lane.pending == 0 || lane.cursor >= through)
    }

    fn close(mut self, certain: bool) {
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
