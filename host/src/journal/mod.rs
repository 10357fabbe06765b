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
//! # On disk
//! `journal.db`, an SQLite database that a person can open at any time (see
//! [`schema`]). Items stand in it as the text that Salt sent. A lane's progress is a
//! cursor, below which everything is settled but what the table `held` names.
//!
//! # In memory
//! The newest items are also kept in [`tail`], up to a bound, so that lanes that
//! keep up never read from the disk.
//!
//! The journal knows nothing of plugins, returners or the configuration: a lane is a
//! name to it.

mod book;
mod read;
mod schema;
mod seen;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::items::{Item, Key};
use crate::telemetry::JournalMetrics;

use read::Reader;
use tail::Tail;
use writer::{Command, Shared, Writer};

/// An item's place in the journal, from 1, in the order of acceptance.
pub(crate) type Seq = u64;

/// A lane's number in the journal; a name keeps its number for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(pub(crate) i64);

/// An item on its way into the journal.
#[derive(Debug, Clone)]
pub(crate) struct NewItem {
    pub(crate) item: Item,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) accepted: u64,
    pub(crate) lanes: Arc<[LaneId]>,
    /// Drop it for lanes that had the same key within the window.
    pub(crate) dedupe: Option<Key>,
}

/// An item in the journal.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) seq: Seq,
    pub(crate) accepted: u64,
    pub(crate) item: Item,
    lanes: Arc<[LaneId]>,
}

/// What became of items that were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The items of this call have places from here on.
    pub(crate) first: Seq,
    /// Their last place; everything up to here is on disk.
    pub(crate) through: Seq,
    /// How many of them no lane gets, because all had it.
    pub(crate) duplicates: usize,
}

/// A piece of a lane's queue.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The lane has no other item up to here.
    pub(crate) through: Seq,
}

/// What a lane has done with its items.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    /// The new cursor: everything up to here is settled but what is held.
    pub(crate) through: Seq,
    /// How many items this settles: stored, dead or dropped.
    pub(crate) settled: u64,
    /// Items at or below the cursor that wait to be tried again.
    pub(crate) held: Vec<Held>,
    /// Held items that are settled now.
    pub(crate) released: Vec<Seq>,
    pub(crate) dead: Vec<DeadLetter>,
}

/// An item that waits to be tried again on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) seq: Seq,
    /// How many times it was tried.
    pub(crate) tries: u32,
    /// Not before this moment, in milliseconds since 1970-01-01 UTC.
    pub(crate) not_before: u64,
    pub(crate) reason: String,
    /// A try may have stored it.
    pub(crate) redelivered: bool,
}

/// An item that a returner rejected for good.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    pub(crate) entry: Arc<Entry>,
    pub(crate) reason: String,
    /// The plugin and its version.
    pub(crate) plugin: String,
    /// The last lines that the plugin wrote on its stderr.
    pub(crate) stderr: String,
    pub(crate) tries: u32,
    pub(crate) at: u64,
}

/// A lane as the journal knows it.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) id: LaneId,
    pub(crate) cursor: Seq,
    pub(crate) held: Vec<Held>,
    /// How many dead letters it has.
    pub(crate) dead: u64,
    /// Items up to here may have been delivered before the host started.
    pub(crate) uncertain_through: Seq,
}

/// The bounds of a journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The size in bytes at which nothing more is taken.
    pub(crate) size: u64,
    /// How long, and how many, keys are remembered.
    pub(crate) window: Duration,
    pub(crate) keys: usize,
    /// The newest items that stay in memory, in bytes of their text.
    pub(crate) tail: usize,
}

impl Bounds {
    pub(crate) fn of_size(size: u64) -> Self {
        Self { size, window: Duration::from_secs(600), keys: 1_000_000, tail: 64 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot use `{}` for the journal: {error}", path.display())]
    Directory { path: PathBuf, error: std::io::Error },
    #[error(
        "`{}` is in use by another process\n  hint: two hosts cannot share `host.data`; stop the other one, or give \
         this one a directory of its own",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "cannot open the journal `{}`: {error}\n  hint: nothing was changed; `sqlite3 {} .recover` saves what can \
         be read",
        path.display(), path.display()
    )]
    Database { path: PathBuf, error: rusqlite::Error },
    #[error(
        "the journal `{}` has the layout {found}, this host knows up to {known}\n  hint: run the version of the \
         host that wrote it, or a newer one",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
}

/// Why items were not taken; none of the call was.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the journal is full: {bytes} of {limit} bytes; `{behind}` is the furthest behind")]
    Full { bytes: u64, limit: u64, behind: String },
    #[error("the journal cannot be written: {0}")]
    Disk(String),
    #[error("the host is stopping")]
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the journal cannot be read: {0}")]
    Read(#[from] rusqlite::Error),
    #[error("the item {seq} of the journal cannot be read: {reason}")]
    Item { seq: Seq, reason: String },
    #[error("the journal has stopped")]
    Stopped,
}

impl AppendError {
    /// The reason in one word, for metrics and programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            AppendError::Full { .. } => "full",
            AppendError::Disk(_) => "disk",
            AppendError::Stopped => "stopping",
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
    reader: Arc<Reader>,
    depths: Depths,
    /// Held for as long as the journal is open.
    _lock: std::fs::File,
}

impl Journal {
    /// Opens the journal in a directory, and makes it where there is none.
    pub(crate) fn open(directory: &Path, bounds: Bounds, metrics: JournalMetrics) -> Result<Self, OpenError> {
        let path = directory.join("journal.db");
        let lock = schema::lock(directory)?;
        let connection = schema::open(&path)?;
        let failed = |error| OpenError::Database { path: path.clone(), error };
        let tail = Arc::new(Tail::new(bounds.tail));
        let depths = Depths::default();
        let shared = Shared { tail: Arc::clone(&tail), depths: Arc::clone(&depths), metrics };
        let (writer, head) = Writer::new(connection, &path, bounds, shared).map_err(failed)?;
        let reader = Arc::new(Reader::open(&path).map_err(failed)?);
        let (commands, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| OpenError::Directory { path: directory.to_owned(), error })?;
        Ok(Self { commands, thread: Mutex::new(Some(thread)), head, tail, reader, depths, _lock: lock })
    }

    /// The last item that is on disk, and its changes.
    pub(crate) fn head(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// Takes items, all or none; they are on disk when it answers.
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

    /// The names of all lanes that have something pending.
    pub(crate) async fn pending_lanes(&self) -> Result<Vec<String>, JournalError> {
        let reader = Arc::clone(&self.reader);
        blocking(move || reader.pending_lanes()).await
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

    /// Items by their places, for those that are held.
    pub(crate) async fn entries(
        &self,
        lane: LaneId,
        seqs: Vec<Seq>,
    ) -> Result<Vec<Arc<Entry>>, JournalError> {
        let reader = Arc::clone(&self.reader);
        blocking(move || reader.entries(lane, &seqs)).await
    }

    /// Notes what a lane has done. Not flushed on its own: see the invariants.
    pub(crate) fn settle(&self, lane: LaneId, settlement: Settlement) -> Result<(), JournalError> {
        self.send(Command::Settle { lane, settlement })
    }

    /// Writes what is settled and closes. `certain` says that no item was delivered
    /// that is not settled; then nothing is called redelivered at the next start.
    pub(crate) async fn close(&self, certain: bool) {
        let _ = self.send(Command::Close { certain });
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
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

/// Milliseconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
