//! The newest large returns: a return that Salt trimmed for its event bus is not needed where
//! the whole one came by another way.
//!
//! Kept in memory only. After a restart a trimmed return may be stored beside its whole one,
//! marked as what it is.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::items::{Item, Key};
use crate::journal::LaneId;

/// From which size on a return may be one that Salt trims, in bytes of JSON. Salt's own limit
/// (`max_event_size`, 1 MiB) can be set lower.
const LARGE: usize = 16 << 10;

/// How many are remembered.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct Whole(Mutex<Newest>);

/// The lanes that had each, and the order in which they came.
#[derive(Default)]
struct Newest {
    lanes: HashMap<Key, BTreeSet<LaneId>>,
    order: VecDeque<Key>,
}

/// The identity of an item that is a large return.
pub(super) fn large(item: &Item) -> Option<Key> {
    match item {
        Item::Return(answer) if answer.full.len() >= LARGE => Some(answer.identity()),
        _ => None,
    }
}

impl Whole {
    /// These are on disk for these lanes.
    pub(super) fn note(&self, returns: Vec<(Key, Arc<[LaneId]>)>) {
        if returns.is_empty() {
            return;
        }
        let mut newest = self.0.lock();
        for (identity, lanes) in returns {
            if !newest.lanes.contains_key(&identity) {
                newest.order.push_back(identity);
            }
            newest.lanes.entry(identity).or_default().extend(lanes.iter().copied());
            if newest.order.len() > MOST
                && let Some(oldest) = newest.order.pop_front()
            {
                newest.lanes.remove(&oldest);
            }
        }
    }

    /// Whether this lane had it.
    pub(super) fn has(&self, identity: Key, lane: LaneId) -> bool {
        self.0.lock().lanes.get(&identity).is_some_and(|lanes| lanes.contains(&lane))
    }
}
