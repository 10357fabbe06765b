//! The one thread that writes: it gathers what waits into a transaction, flushes it
//! once, and answers.
//!
//! Nothing waits for company: a transaction takes what is there when it begins, and
//! what comes meanwhile is the next one. Of what is settled it takes a share
//! ([`settlements`]): a lane that has much to say holds up nobody who appends.
//!
//! When a write fails, nothing in memory is taken to be what is on disk: the writer
//! rests for a moment, reads the tables again, and goes on. What it was told to settle
//! waits meanwhile; what it was asked to take in is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::book::{self, Book};
use super::mark::Mark;
use super::read::Reader;
use super::reserve::Reserve;
use super::tail::Tail;
use super::{
    AppendError, Appended, Bounds, Depths, Held, JournalError, LaneId, LaneState, NewItem, Seq, Settlement,
    dead, held, schema,
};
use crate::items::Key;
use crate::telemetry::JournalMetrics;

mod close;
mod commit;
mod room;
mod settlements;
mod trouble;

#[cfg(test)]
mod tests;

use room::Room;
use settlements::{Settlements, Waiting};
use trouble::{Files, Lost, Trouble};

/// The most items of one transaction: bounds how long the last of them waits.
const GROUP: usize = 4096;

/// How long a settlement may wait for a transaction to be part of.
const SETTLE_WITHIN: Duration = Duration::from_millis(200);

type Answer<T> = oneshot::Sender<T>;

pub(super) enum Command {
    Append {
        items: Vec<NewItem>,
        reply: Answer<Result<Appended, AppendError>>,
    },
    Lane {
        name: String,
        reply: Answer<Result<LaneState, JournalError>>,
    },
    Settle {
        lane: LaneId,
        settlement: Settlement,
    },
    Replay {
        dead: Vec<i64>,
        reply: Answer<Result<Vec<(LaneId, Held)>, JournalError>>,
    },
    Drop {
        dead: Vec<i64>,
        reply: Answer<Result<Vec<LaneId>, JournalError>>,
    },
    Abandon {
        lane: LaneId,
        keys: Vec<(Key, Seq)>,
        reply: Answer<Result<u64, JournalError>>,
    },
    /// Answers when all that was settled before is written.
    Settled {
        reply: Answer<Result<(), JournalError>>,
    },
    Close {
        certain: bool,
    },
}

/// What the writer tells the readers.
pub(super) struct Shared {
    pub(super) tail: Arc<Tail>,
    pub(super) depths: Depths,
    pub(super) readers: [Arc<Reader>; 2],
    pub(super) reopened: watch::Sender<u64>,
    pub(super) metrics: JournalMetrics,
}

impl Shared {
    /// Nobody reads while the files change.
    fn let_go<T>(&self, change: impl FnOnce() -> T) -> T {
        let [first, second] = &self.readers;
        first.let_go(|| second.let_go(change))
    }
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
    files: Files,
    /// Another one stands in its place, or none: it was said.
    gone: bool,
    room: Room,
    trouble: Option<Trouble>,
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
            settlements: Settlements::after(numbers, bounds.share),
            untrimmed: false,
            files: Files::at(path),
            gone: false,
            room: Room::default(),
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

    /// What is rare, and each a transaction of its own.
    fn answer(&mut self, command: Command) {
        // An answer that nobody waits for any more is no fault.
        match command {
            Command::Lane { name, reply } => {
                // A lane that comes back must not read a cursor from before its last settlement.
                self.settle_all();
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
            Command::Settled { reply } => return self.settlements.ask(reply),
            Command::Append { .. } | Command::Settle { .. } | Command::Close { .. } => {}
        }
        self.fold();
    }

    /// A change that is no part of [`commit`](Self::commit), on what is known to be on disk.
    fn alone<T>(&mut self, change: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        let is_ready = self.trouble.is_none() && self.files.lost(&self.path).is_none();
        let ready = if is_ready { Ok(()) } else { self.reopen() };
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
        // It is more than waits for company.
        if self.trouble.is_none() && self.settlements.share() < self.settlements.waiting.len() {
            self.settlements.due = Some(Instant::now());
        }
    }

    /// Writes all that is settled, share by share, as far as the journal can be written now.
    fn settle_all(&mut self) {
        loop {
            self.flush(Appends::new());
            if self.settlements.waiting.is_empty() || self.trouble.is_some() {
                return;
            }
        }
    }

    /// Writes and answers.
    fn flush(&mut self, mut appends: Appends) {
        let resting = self.trouble.as_ref().is_some_and(|trouble| Instant::now() < trouble.rest_until);
        let lost = self.files.lost(&self.path);
        if !appends.is_empty()
            && let Some(refusal) = self.refusal(resting, lost, &appends)
        {
            for (_, reply) in appends.drain(..) {
                let _ = reply.send(Err(refusal.clone()));
            }
        }
        let waiting = !self.settlements.waiting.is_empty()
            || self.untrimmed
            || self.trouble.is_some()
            || lost == Some(Lost::Log);
        if resting {
            return self.settlements.refuse();
        }
        if appends.is_empty() && !waiting {
            return;
        }
        let ready = if self.trouble.is_none() && lost.is_none() { Ok(()) } else { self.reopen() };
        match ready.and_then(|()| self.commit(&mut appends)) {
            Ok(answers) => {
                if self.untrimmed {
                    self.settlements.due.get_or_insert_with(|| Instant::now() + SETTLE_WITHIN);
                }
                self.well();
                for ((_, reply), answer) in appends.into_iter().zip(answers) {
                    // Nobody may wait for it any more.
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                let refusal = self.failed(&error);
                self.settlements.refuse();
                for (_, reply) in appends {
                    let _ = reply.send(Err(refusal.clone()));
                }
            }
        }
    }

    fn show_depths(&self) {
        self.shared.metrics.size(self.book.bytes, self.bounds.size);
        let mut depths = self.shared.depths.write();
        *depths = self.book.lanes.iter().map(|(id, lane)| (*id, lane.pending)).collect();
        for Waiting { lane, number, settlement, .. } in &self.settlements.waiting {
            let unwritten = self.book.lanes.get(lane).is_some_and(|lane| lane.settlements < *number);
            if let Some(depth) = depths.get_mut(lane).filter(|_| unwritten) {
                *depth = depth.saturating_sub(settlement.settled);
            }
        }
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
            held: held::of(&self.connection, id)?,
            dead: dead::count(&self.connection, id)?,
            uncertain_through: self.uncertain_through,
        })
    }
}
