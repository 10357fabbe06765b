//! The one thread that writes: it gathers what waits into a transaction, flushes it
//! once, and answers.
//!
//! Nothing waits for company: a transaction takes what is there when it begins, and
//! what comes meanwhile is the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{oneshot, watch};

use super::book::{self, Book, Lane, Targets};
use super::seen::Fresh;
use super::tail::Tail;
use super::{
    AppendError, Appended, Bounds, Depths, Entry, Held, LaneId, LaneState, NewItem, Seq, Settlement, schema,
};
use crate::telemetry::JournalMetrics;

/// The most items of one transaction: bounds how long the last of them waits.
const GROUP: usize = 4096;

/// How long a settlement may wait for a transaction to be part of.
const SETTLE_WITHIN: Duration = Duration::from_millis(200);

type Answer<T> = oneshot::Sender<T>;

pub(super) enum Command {
    Append { items: Vec<NewItem>, reply: Answer<Result<Appended, AppendError>> },
    Lane { name: String, reply: Answer<Result<LaneState, super::JournalError>> },
    Settle { lane: LaneId, settlement: Settlement },
    Close { certain: bool },
}

/// What the writer tells the readers.
pub(super) struct Shared {
    pub(super) tail: Arc<Tail>,
    pub(super) depths: Depths,
    pub(super) metrics: JournalMetrics,
}

pub(super) struct Writer {
    connection: Connection,
    path: PathBuf,
    bounds: Bounds,
    book: Book,
    shared: Shared,
    head: watch::Sender<Seq>,
    /// What is settled but not written yet.
    settlements: Vec<(LaneId, Settlement)>,
    settle_by: Option<Instant>,
    uncertain_through: Seq,
    /// What is in memory is not what is on disk.
    broken: bool,
}

/// Calls of [`super::Journal::append`] that share a transaction.
type Appends = Vec<(Vec<NewItem>, Answer<Result<Appended, AppendError>>)>;

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        bounds: Bounds,
        shared: Shared,
    ) -> rusqlite::Result<(Self, watch::Receiver<Seq>)> {
        let book = Book::load(&connection, bounds)?;
        let clean: bool =
            connection.query_row("SELECT value FROM state WHERE name = 'clean'", [], |row| row.get(0))?;
        connection.execute("UPDATE state SET value = 0 WHERE name = 'clean'", [])?;
        let (head, receiver) = watch::channel(book.last);
        shared.tail.begin(book.last);
        let uncertain_through = if clean { 0 } else { book.last };
        let writer = Self {
            connection,
            path: path.to_owned(),
            bounds,
            book,
            shared,
            head,
            settlements: Vec::new(),
            settle_by: None,
            uncertain_through,
            broken: false,
        };
        writer.show_depths();
        Ok((writer, receiver))
    }

    /// Works until it is told to close, or nobody is left to tell it.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let wait = match self.settle_by {
                Some(by) => by.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            let first = match commands.recv_timeout(wait) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.close(false),
            };
            let mut appends = Appends::new();
            let mut count = 0;
            let mut next = first;
            while let Some(command) = next {
                match command {
                    Command::Append { items, reply } => {
                        count += items.len();
                        appends.push((items, reply));
                    }
                    Command::Settle { lane, settlement } => self.note(lane, settlement),
                    Command::Lane { name, reply } => {
                        let _ = reply.send(self.lane(&name).map_err(Into::into));
                    }
                    Command::Close { certain } => {
                        self.flush(appends);
                        return self.close(certain);
                    }
                }
                next = if count < GROUP { commands.try_recv().ok() } else { None };
            }
            let settle = self.settle_by.is_some_and(|by| by <= Instant::now());
            if settle || !appends.is_empty() {
                self.flush(appends);
            }
        }
    }

    fn note(&mut self, lane: LaneId, settlement: Settlement) {
        // Shown at once, though it is written later.
        if let Some(depth) = self.shared.depths.write().get_mut(&lane) {
            *depth = depth.saturating_sub(settlement.settled);
        }
        self.settlements.push((lane, settlement));
        self.settle_by.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
    }

    /// Writes and answers.
    fn flush(&mut self, mut appends: Appends) {
        if let Some(error) = self.full() {
            for (_, reply) in appends.drain(..) {
                let _ = reply.send(Err(error.clone()));
            }
        }
        if appends.is_empty() && self.settlements.is_empty() {
            return;
        }
        let ready = if self.broken { self.reopen() } else { Ok(()) };
        match ready.and_then(|()| self.commit(&mut appends)) {
            Ok(answers) => {
                self.settlements.clear();
                self.settle_by = None;
                for ((_, reply), answer) in appends.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                tracing::error!(%error, journal = %self.path.display(), "the journal could not be written; intake refuses");
                for (_, reply) in appends {
                    let _ = reply.send(Err(AppendError::Disk(error.to_string())));
                }
                self.settle_by = Some(Instant::now() + SETTLE_WITHIN * 5);
                self.broken = true;
            }
        }
    }

    fn full(&self) -> Option<AppendError> {
        if self.book.bytes < self.bounds.size {
            return None;
        }
        let behind = self.book.lanes.values().max_by_key(|lane| lane.pending)?;
        Some(AppendError::Full {
            bytes: self.book.bytes,
            limit: self.bounds.size,
            behind: behind.name.clone(),
        })
    }

    /// One transaction; gives an answer for each call.
    fn commit(&mut self, appends: &mut Appends) -> rusqlite::Result<Vec<Appended>> {
        let now = super::now();
        let book = &mut self.book;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut targets = Targets { transaction: &transaction, known: &mut book.targets };
        let mut fresh = Fresh::default();
        let mut entries = Vec::new();
        let mut answers = Vec::with_capacity(appends.len());
        for (items, _) in appends.iter_mut() {
            let mut answer = Appended { first: book.last + 1, through: book.last, duplicates: 0 };
            for item in items.drain(..) {
                let lanes = match item.dedupe {
                    Some(key) => book.seen.remaining(&mut fresh, &mut targets, key, &item.lanes)?,
                    None => Some(Arc::clone(&item.lanes)),
                };
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
                lane.pending += 1;
                lane.changed = true;
            }
        }
        for (lane, settlement) in &self.settlements {
            book::settle(&transaction, &mut book.lanes, *lane, settlement)?;
        }
        for (id, lane) in &mut book.lanes {
            if std::mem::take(&mut lane.changed) {
                transaction
                    .prepare_cached("UPDATE lanes SET cursor = ?2, pending = ?3 WHERE id = ?1")?
                    .execute(params![id.0, lane.cursor, lane.pending])?;
            }
        }
        let seen = book.seen.write(&transaction, &fresh, now)?;
        book::trim(&transaction, &book.lanes, &mut book.targets)?;
        let begun = Instant::now();
        transaction.commit()?;
        if !entries.is_empty() || !self.settlements.is_empty() {
            self.shared.metrics.committed(begun.elapsed(), entries.len());
        }

        book.seen.committed(seen, fresh, now);
        book.bytes = book::size(&self.connection)?;
        self.show_depths();
        self.shared.tail.push(entries.into_iter());
        self.shared.tail.trim(self.book.lanes.values().map(|lane| lane.cursor).min().unwrap_or(0));
        let through = self.book.last;
        self.head.send_if_modified(|head| std::mem::replace(head, through) != through);
        Ok(answers)
    }

    /// After a failure nothing in memory is taken to be what is on disk.
    fn reopen(&mut self) -> rusqlite::Result<()> {
        self.connection = schema::connect(&self.path)?;
        self.book = Book::load(&self.connection, self.bounds)?;
        self.broken = false;
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
            None => {
                let lane = Lane { name: name.to_owned(), cursor: self.book.last, pending: 0, changed: false };
                self.connection.execute(
                    "INSERT INTO lanes (name, cursor, pending) VALUES (?1, ?2, 0)",
                    params![name, lane.cursor],
                )?;
                let id = LaneId(self.connection.last_insert_rowid());
                self.book.lanes.insert(id, lane);
                id
            }
        };
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, tries, not_before, reason, redelivered FROM held WHERE lane = ?1 ORDER BY seq",
        )?;
        let held = statement.query_map([id.0], |row| {
            Ok(Held {
                seq: row.get(0)?,
                tries: row.get(1)?,
                not_before: row.get(2)?,
                reason: row.get(3)?,
                redelivered: row.get(4)?,
            })
        })?;
        let count = "SELECT count(*) FROM dead WHERE lane = ?1";
        Ok(LaneState {
            id,
            cursor: self.book.lanes.get(&id).map_or(self.book.last, |lane| lane.cursor),
            held: held.collect::<Result<_, _>>()?,
            dead: self.connection.query_row(count, [id.0], |row| row.get(0))?,
            uncertain_through: self.uncertain_through,
        })
    }

    fn close(mut self, certain: bool) {
        self.flush(Appends::new());
        if certain && self.settlements.is_empty() {
            let clean = self.connection.execute("UPDATE state SET value = 1 WHERE name = 'clean'", []);
            if let Err(error) = clean {
                tracing::warn!(%error, "the journal was not closed cleanly; what is pending will say redelivered");
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the journal was not closed");
        }
    }
}
