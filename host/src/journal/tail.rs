//! The newest items, in memory.
//!
//! Invariant: what is here is on disk, and is the unbroken end of the journal: every
//! item after [`Tail`]'s first one is here, or was meant for no lane.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use super::entry::Filling;
use super::{Entry, LaneId, Seq, Window};
use crate::items::Item;

pub(super) struct Tail {
    /// In bytes.
    bound: usize,
    state: RwLock<State>,
}

/// What an entry takes in memory, nearly: its text, itself, and the names that were read of it, of
/// which each has a place of its own.
fn weight(entry: &Entry) -> usize {
    const NAMES: usize = 128;
    const MINION: usize = 64;
    let minions = match &entry.item {
        Item::Load(load) => load.minions.len(),
        Item::Minions(minions) => minions.minions.len(),
        Item::Return(_) | Item::Event(_) => 0,
    };
    entry.item.text().len() + size_of::<Entry>() + NAMES + minions * MINION
}

#[derive(Default)]
struct State {
    /// Every item after this place is in `entries`.
    after: Seq,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Tail {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, state: RwLock::default() }
    }

    /// Forgets everything: the journal was just opened and ends there.
    pub(super) fn begin(&self, head: Seq) {
        *self.state.write() = State { after: head, ..State::default() };
    }

    /// Adds what was just flushed, and lets go of the oldest beyond the bound.
    pub(super) fn push(&self, entries: impl Iterator<Item = Arc<Entry>>) {
        let mut state = self.state.write();
        for entry in entries {
            state.bytes += weight(&entry);
            state.entries.push_back(entry);
        }
        while state.bytes > self.bound {
            let Some(oldest) = state.entries.pop_front() else { break };
            state.bytes -= weight(&oldest);
            state.after = oldest.seq;
        }
    }

    /// Lets go of what every lane has settled.
    pub(super) fn trim(&self, through: Seq) {
        let mut state = self.state.write();
        while state.entries.front().is_some_and(|entry| entry.seq <= through) {
            let Some(oldest) = state.entries.pop_front() else { break };
            state.bytes -= weight(&oldest);
            state.after = oldest.seq;
        }
    }

    /// As [`super::Journal::next`]; none where the place is older than the tail.
    pub(super) fn next(
        &self,
        lane: LaneId,
        after: Seq,
        head: Seq,
        count: usize,
        bytes: usize,
    ) -> Option<Window> {
        let state = self.state.read();
        let mut filling = Filling::new(after, head, count, bytes);
        let newer = state.since(after)?.take_while(|entry| entry.seq <= head);
        for entry in newer.filter(|entry| entry.lanes.contains(&lane)) {
            if !filling.take(entry) {
                return Some(filling.cut());
            }
        }
        Some(filling.whole())
    }
}

impl State {
    fn since(&self, after: Seq) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        if after < self.after {
            return None;
        }
        let from = self.entries.partition_point(|entry| entry.seq <= after);
        Some(self.entries.range(from..))
    }
}
