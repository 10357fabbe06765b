//! The newest large returns: a return that Salt trimmed for its event bus is not needed where
//! the whole one came by another way.
//!
//! Kept in memory only. After a restart a trimmed return may be stored beside its whole one,
//! marked as what it is.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;

use crate::items::{Item, Key};

/// From which size on a return may be one that Salt trims, in bytes of JSON. Salt's own limit
/// (`max_event_size`, 1 MiB) can be set lower.
const LARGE: usize = 16 << 10;

/// How many are remembered.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct Whole(Mutex<Newest>);

#[derive(Default)]
struct Newest {
    known: HashSet<Key>,
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
    /// These are on disk.
    pub(super) fn note(&self, identities: Vec<Key>) {
        if identities.is_empty() {
            return;
        }
        let mut newest = self.0.lock();
        for identity in identities {
            if newest.known.insert(identity) {
                newest.order.push_back(identity);
            }
            if newest.order.len() > MOST
                && let Some(oldest) = newest.order.pop_front()
            {
                newest.known.remove(&oldest);
            }
        }
    }

    pub(super) fn has(&self, identity: Key) -> bool {
        self.0.lock().known.contains(&identity)
    }
}
