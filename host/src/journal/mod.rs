//! The journal: the durable queue between intake and delivery.
//!
//! # Invariants
//! 1. When [`Journal::append`] answers ok, the items are on disk: written and
//!    flushed (fsync). Many callers share one flush; none waits for others to come.
//! 2. An item is removed only when every lane it is meant for has settled it:
//!    stored, or set aside as a dead letter in the same transaction.
//! 3. Settling is not flushed on its own. A crash can undo the newest settlements,
//!    never an item: what was delivered but not settled comes again, and everything
//!    that was pending when the host did not stop cleanly says `redelivered`.
//! 4. A lane reads its items in the order in which they were accepted.
//! 5. A key that was appended within the window is a duplicate for the lanes that
//!    have had it, also after a restart, and is acknowledged only when the first one
//!    is on disk.
//!
//! 6. Damage is reported: a row whose checksum does not fit is never delivered, and a
//!    journal that has lost something that was acknowledged is not opened.
//! 7. What was refused is not there, whoever asks for it again is not its copy; only a host that
//!    ends before it could take it back may keep it.
//! 8. A place has one item: none is given twice, also after a rescue, and what stands in one is
//!    never written over by another.
//!
//! # On disk
//! `journal.db`, an SQLite database that a person can open at any time (see
//! [`schema`]). Items stand in it as the text that Salt sent. A lane's progress is a
//! cursor, below which everything is settled but what the table `held` names.
//!
//! Beside it `acknowledged` ([`mark`]: how far the journal reached), `reserve` ([`reserve`]:
//! room for settling when the disk is full) and `lock` ([`lock`]: keeps a second host out).
//!
//! # In memory
//! The newest items are also kept in [`tail`], up to a bound, so that lanes that
//! keep up never read from the disk.
//!
//! The journal knows nothing of plugins, returners or the configuration: a lane is a
//! name to it.

mod book;
mod clock;
mod dead;
mod entry;
mod error;
mod files;
mod held;
mod keep;
mod lock;
mod mark;
mod open;
mod read;
mod refused;
mod renew;
mod rescue;
mod reserve;
mod schema;
mod seen;
mod sum;
mod tail;
mod unused;
mod verify;
mod wal;
mod weight;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::items::Key;
use crate::telemetry::JournalMetrics;

pub(crate) use clock::now;
pub(crate) use dead::{DeadFilter, KeptDeadLetter, SetAside, WholeDeadLetter};
pub(crate) use entry::{Appended, DeadLetter, Entry, Held, KeptLane, LaneState, NewItem, Settlement, Window};
pub(crate) use error::{AppendError, JournalError, OpenError};
pub(crate) use open::check;
pub(crate) use rescue::rescue;
pub(crate) use verify::Health;
pub(crate) use weight::of_text as kept_bytes_of;

use lock::Lock;
use mark::Mark;
use read::Reader;
use reserve::Reserve;
use tail::Tail;
use writer::{Command, Shared, Writer};

/// An item's place in the journal, from 1, in the order of acceptance.
pub(crate) type Seq = u64;

/// The most items that are set aside with which a repeated one is compared, the newest ones.
const MOST_COMPARED: usize = 10_000;

/// A lane's number in the journal; a name keeps its number for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(pub(crate) i64);

/// The bounds of a journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The size in bytes at which nothing more is taken.
    pub(crate) size: u64,
    /// How long, and how many, keys are remembered.
    pub(crate) window: Duration,
    pub(crate) keys: usize,
    /// The newest items that stay in memory, in bytes.
    pub(crate) tail: usize,
    /// Room on the disk that is kept for settling, in bytes.
    pub(crate) reserve: u64,
    /// How much of what is settled one transaction writes, by its weight in bytes, beside what is
    /// taken in: who appends waits for it.
    pub(crate) share: usize,
}

#[cfg(test)]
impl Bounds {
    /// As large as a test needs, and no larger.
    pub(crate) fn of_a_test() -> Self {
        Self {
            size: 1 << 30,
            window: Duration::from_secs(600),
            keys: 1000,
            tail: 1 << 20,
            reserve: 4096,
            share: 256 << 10,
        }
    }
}

/// How many items each lane has not settled.
type Depths = Arc<RwLock<HashMap<LaneId, u64>>>;

/// The journal of one host, in one directory. Cheap to share by reference.
pub(crate) struct Journal {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    head: watch::Receiver<Seq>,
    tail: Arc<Tail>,
    /// For lanes that are behind, and for people, who may ask for much.
    reader: Arc<Reader>,
    questions: Arc<Reader>,
    depths: Depths,
    reopened: watch::Receiver<u64>,
    _lock: Lock,
}

impl Journal {
    /// Opens the journal in a directory, and makes it where there is none.
    pub(crate) fn open(directory: &Path, bounds: Bounds, metrics: JournalMetrics) -> Result<Self, OpenError> {
        let path = directory.join(files::DATABASE);
        let lock = Lock::take(directory)?;
        let failed = |error| OpenError::Database { path: path.clone(), error };
        if let Err(error) = renew::tidy(&path) {
            tracing::warn!(%error, journal = %path.display(), "what a renewal left was not removed");
        }
        let mark = Mark::open(directory)
            .map_err(|error| OpenError::Directory { path: directory.to_owned(), error })?;
        let (connection, clean) = match open::begin(directory, &path, &mark) {
            // Settling makes room, so the host must start where only its reserve is left.
            Err(OpenError::Database { error, .. })
                if reserve::is_full(&error) && Reserve::new(directory, bounds.reserve).release() =>
            {
                open::begin(directory, &path, &mark)?
            }
            other => other?,
        };
        let tail = Arc::new(Tail::new(bounds.tail));
        let depths = Depths::default();
        let [reader, questions] = [Reader::open(&path), Reader::open(&path)];
        let (reader, questions) = (Arc::new(reader.map_err(failed)?), Arc::new(questions.map_err(failed)?));
        let (reopening, reopened) = watch::channel(0);
        let shared = Shared {
            tail: Arc::clone(&tail),
            depths: Arc::clone(&depths),
            readers: [Arc::clone(&reader), Arc::clone(&questions)],
            reopened: reopening,
            metrics,
        };
        let (writer, head) = Writer::new(connection, clean, &path, bounds, mark, shared).map_err(failed)?;
        let (commands, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| OpenError::Directory { path: directory.to_owned(), error })?;
        Ok(Self {
            commands,
            thread: Mutex::new(Some(thread)),
            head,
            tail,
            reader,
            questions,
            depths,
            reopened,
            _lock: lock,
        })
    }

    /// The last item that is on disk, and its changes.
    pub(crate) fn head(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// How often it was read again after a write whose end was unclear: a replay that was refused
    /// then may be on disk all the same.
    pub(crate) fn reopened(&self) -> watch::Receiver<u64> {
        self.reopened.clone()
    }

    /// Takes items, all or none; they are on disk when it answers. Nothing is refused as anything
    /// else would be: so is asked how the journal is.
    pub(crate) async fn append(&self, items: Vec<NewItem>) -> Result<Appended, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Append { items, reply }).map_err(|_| AppendError::Stopped)?;
        answer.await.map_err(|_| AppendError::Stopped)?
    }

    /// The lane of this name. A new one begins at the head: it has no items yet.
    pub(crate) async fn lane(&self, name: &str) -> Result<LaneState, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Lane { name: name.to_owned(), reply })?;
        answer.await.map_err(|_| JournalError::Stopped)?
    }

    /// Whether there ever was a lane of this name.
    pub(crate) async fn knows_lane(&self, name: &str) -> Result<bool, JournalError> {
        let (reader, name) = (Arc::clone(&self.questions), name.to_owned());
        blocking(move || reader.knows_lane(&name)).await
    }

    /// All lanes that have something pending, or dead letters.
    pub(crate) async fn kept_lanes(&self) -> Result<Vec<KeptLane>, JournalError> {
        let reader = Arc::clone(&self.questions);
        blocking(move || reader.kept_lanes()).await
    }

    /// How many bytes are kept for each of these lanes, as far as that is written.
    pub(crate) async fn kept_bytes(&self, lanes: Vec<LaneId>) -> Result<HashMap<LaneId, u64>, JournalError> {
        let reader = Arc::clone(&self.questions);
        blocking(move || reader.kept_bytes(&lanes)).await
    }

    /// How many dead letters a lane has.
    pub(crate) async fn dead_count(&self, lane: LaneId) -> Result<u64, JournalError> {
        let reader = Arc::clone(&self.questions);
        blocking(move || reader.dead_count(lane)).await
    }

    /// Waits until what was settled before can be read, be there room for items or not; not for
    /// long, because a disk can hang.
    pub(crate) async fn catch_up(&self) -> Result<(), JournalError> {
        const BOUND: Duration = Duration::from_secs(2);
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settled { reply })?;
        let answer = tokio::time::timeout(BOUND, answer).await.map_err(|_| JournalError::Behind)?;
        answer.map_err(|_| JournalError::Stopped)?
    }

    /// Removes what a lane has that does not run, without a trace; says how many items that
    /// were. Others that have the same items keep them.
    pub(crate) async fn abandon(&self, lane: &LaneState) -> Result<u64, JournalError> {
        const AT_ONCE: (usize, usize) = (1000, 8 << 20);
        let key = |entry: &Arc<Entry>| Some((entry.item.dedupe_key()?, entry.seq));
        let mut keys: Vec<(Key, Seq)> = Vec::new();
        let mut held: Vec<Seq> = lane.held.iter().map(|held| held.seq).collect();
        while !held.is_empty() {
            let entries = self.entries(lane.id, held.clone(), AT_ONCE.1).await?;
            keys.extend(entries.iter().filter_map(key));
            let Some(last) = entries.last() else { break };
            held.retain(|seq| *seq > last.seq);
        }
        let mut after = lane.cursor;
        loop {
            let window = self.next(lane.id, after, AT_ONCE.0, AT_ONCE.1).await?;
            keys.extend(window.entries.iter().filter_map(key));
            if window.entries.is_empty() {
                break;
            }
            after = window.through;
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Abandon { lane: lane.id, keys, reply })?;
        answer.await.map_err(|_| JournalError::Stopped)?
    }

    /// A lane's items after a place, at most so many and of so many bytes together
    /// (but at least one, where there is one).
    pub(crate) async fn next(
        &self,
        lane: LaneId,
        after: Seq,
        count: usize,
        bytes: usize,
    ) -> Result<Window, JournalError> {
        let head = *self.head.borrow();
        if after >= head {
            return Ok(Window { entries: Vec::new(), through: after });
        }
        if let Some(window) = self.tail.next(lane, after, head, count, bytes) {
            return Ok(window);
        }
        let reader = Arc::clone(&self.reader);
        blocking(move || reader.next(lane, after, head, count, bytes)).await
    }

    /// How many items a lane has not settled.
    pub(crate) fn depth(&self, lane: LaneId) -> u64 {
        self.depths.read().get(&lane).copied().unwrap_or(0)
    }

    /// Items by their places, for those that are held: the first of them, of so many bytes
    /// together (but at least one).
    pub(crate) async fn entries(
        &self,
        lane: LaneId,
        seqs: Vec<Seq>,
        bytes: usize,
    ) -> Result<Vec<Arc<Entry>>, JournalError> {
        let reader = Arc::clone(&self.reader);
        blocking(move || reader.entries(lane, &seqs, bytes)).await
    }

    /// The oldest dead letters that fit, at most so many.
    pub(crate) async fn dead_letters(
        &self,
        filter: DeadFilter,
        limit: usize,
    ) -> Result<Vec<KeptDeadLetter>, JournalError> {
        let reader = Arc::clone(&self.questions);
        blocking(move || reader.dead_letters(&filter, limit)).await
    }

    /// One of them, with its item.
    pub(crate) async fn dead_letter(&self, id: i64) -> Result<Option<WholeDeadLetter>, JournalError> {
        let reader = Arc::clone(&self.questions);
        blocking(move || reader.dead_letter(id)).await
    }

    /// The same, by their ids only: no more than one transaction should change. Whoever takes in
    /// waits for its end.
    pub(crate) async fn dead_ids(&self, filter: DeadFilter, limit: usize) -> Result<Vec<i64>, JournalError> {
        let reader = Arc::clone(&self.questions);
        blocking(move || reader.dead_ids(&filter, limit)).await
    }

    /// Which of these items a lane has set aside: those at these places, and the earlier ones
    /// that these keys repeat. As it is on disk, with what was settled just now; where that is not
    /// on disk yet, what is repeated counts as held.
    pub(crate) async fn set_aside(
        &self,
        lane: LaneId,
        seqs: RangeInclusive<Seq>,
        repeated: HashSet<Key>,
    ) -> Result<SetAside, JournalError> {
        let in_doubt = self.catch_up().await.is_err() && !repeated.is_empty();
        let reader = Arc::clone(&self.questions);
        let mut aside = blocking(move || reader.set_aside(lane, &seqs, &repeated, MOST_COMPARED)).await?;
        aside.held |= in_doubt;
        Ok(aside)
    }

    /// Hands dead letters back to their lanes; gives what each lane holds now. On disk
    /// when it answers.
    pub(crate) async fn replay(&self, dead: Vec<i64>) -> Result<Vec<(LaneId, Held)>, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Replay { dead, reply })?;
        answer.await.map_err(|_| JournalError::Stopped)?
    }

    /// The same of those that a lane made of these items.
    pub(crate) async fn replay_of(&self, lane: LaneId, seqs: Vec<Seq>) -> Result<Vec<Held>, JournalError> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        self.catch_up().await?;
        let reader = Arc::clone(&self.questions);
        let mut replayed = Vec::new();
        for dead in blocking(move || reader.dead_of(lane, &seqs)).await? {
            replayed.extend(self.replay(dead).await?.into_iter().map(|(_, held)| held));
        }
        Ok(replayed)
    }

    /// Removes dead letters for good; gives the lane of each that was there.
    pub(crate) async fn drop_dead(&self, dead: Vec<i64>) -> Result<Vec<LaneId>, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Drop { dead, reply })?;
        answer.await.map_err(|_| JournalError::Stopped)?
    }

    /// Notes what a lane has done. Not flushed on its own: see the invariants.
    pub(crate) fn settle(&self, lane: LaneId, settlement: Settlement) -> Result<(), JournalError> {
        self.send(Command::Settle { lane, settlement })
    }

    /// Writes what is settled and closes. `certain` says that no item was delivered
    /// that is not settled; then nothing is called redelivered at the next start.
    pub(crate) async fn close(&self, certain: bool) {
        // A disk that hangs keeps no stop waiting: what was acknowledged is on it.
        const BOUND: Duration = Duration::from_secs(30);
        let _ = self.send(Command::Close { certain });
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(BOUND, joined).await.is_err() {
                tracing::warn!(
                    "the journal was not closed within {BOUND:?}; the next start looks through it"
                );
            }
        }
    }

    fn send(&self, command: Command) -> Result<(), JournalError> {
        self.commands.send(command).map_err(|_| JournalError::Stopped)
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(read).await.map_err(|_| JournalError::Stopped)?
}
