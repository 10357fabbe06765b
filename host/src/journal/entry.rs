//! What goes into the journal and what comes out of it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{LaneId, Seq};
use crate::items::{Item, Key};

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
    pub(super) lanes: Arc<[LaneId]>,
}

impl AsRef<Item> for Entry {
    fn as_ref(&self) -> &Item {
        &self.item
    }
}

/// What became of items that were appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The items of this call have places from here on.
    pub(crate) first: Seq,
    /// Their last place; everything up to here is on disk.
    pub(crate) through: Seq,
    /// How many of them no lane gets, because all had it.
    pub(crate) duplicates: usize,
    /// By what those are known, and others that some lane had.
    pub(crate) repeated: Vec<Key>,
}

/// A piece of a lane's queue.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The lane has no other item up to here.
    pub(crate) through: Seq,
}

/// A window that is being filled.
pub(super) struct Filling {
    window: Window,
    after: Seq,
    taken: usize,
    count: usize,
    bytes: usize,
}

impl Filling {
    /// Of what comes after a place, up to the end of the journal: at most so many entries and of so
    /// many bytes together, but at least one.
    pub(super) fn new(after: Seq, head: Seq, count: usize, bytes: usize) -> Self {
        Self { window: Window { entries: Vec::new(), through: head }, after, taken: 0, count, bytes }
    }

    /// Takes the next entry, if it fits.
    pub(super) fn take(&mut self, entry: &Arc<Entry>) -> bool {
        self.taken += entry.item.text().len();
        let is_full = self.window.entries.len() == self.count || self.taken > self.bytes && !self.is_empty();
        if !is_full {
            self.window.entries.push(Arc::clone(entry));
        }
        !is_full
    }

    pub(super) fn is_empty(&self) -> bool {
        self.window.entries.is_empty()
    }

    /// There is more than what was taken.
    pub(super) fn cut(mut self) -> Window {
        self.window.through = self.window.entries.last().map_or(self.after, |last| last.seq);
        self.window
    }

    /// That was all.
    pub(super) fn whole(self) -> Window {
        self.window
    }
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
    /// What its lane may leave to be written: given back when this is.
    pub(crate) owed: Option<OwnedSemaphorePermit>,
}

/// What a row takes beside its texts, in bytes, nearly: in time more than in room.
const ROW: usize = 128;

impl Settlement {
    /// The weight of a held item that is settled.
    pub(crate) const RELEASED: usize = ROW;

    /// How much there is to write for it beside the cursor, in bytes, nearly.
    pub(crate) fn weight(&self) -> usize {
        let held: usize = self.held.iter().map(Held::weight).sum();
        let dead: usize = self.dead.iter().map(DeadLetter::weight).sum();
        held + dead + self.released.len() * Self::RELEASED
    }
}

/// An item that waits to be tried again on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) seq: Seq,
    /// How many times it was tried.
    pub(crate) tries: u32,
    /// Not before this moment, in milliseconds since 1970-01-01 UTC.
    pub(crate) not_before: u64,
    /// In short: there may be one for each item of a long queue, in memory and on disk. Shared by
    /// those that wait for the same.
    pub(crate) reason: Arc<str>,
    /// A try may have stored it.
    pub(crate) redelivered: bool,
}

impl Held {
    pub(crate) fn weight(&self) -> usize {
        ROW + self.reason.len()
    }
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

impl DeadLetter {
    pub(crate) fn weight(&self) -> usize {
        let texts = [self.entry.item.text(), &self.reason, &self.plugin, &self.stderr];
        ROW + texts.iter().map(|text| text.len()).sum::<usize>()
    }
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

/// A lane that the journal keeps something for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptLane {
    pub(crate) name: String,
    pub(crate) id: LaneId,
    /// How many items it has not settled, as far as that is written.
    pub(crate) pending: u64,
}
