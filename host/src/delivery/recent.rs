//! The last items that a lane has settled, in memory: what a trial of another plugin is
//! given.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::journal::Entry;

/// The most items, and bytes of them, that are remembered; lanes share them.
const ITEMS: usize = 2000;
const BYTES: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Recent {
    pub(super) fn push(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let mut kept = self.0.lock();
        for entry in entries {
            kept.bytes += entry.item.text().len();
            kept.entries.push_back(entry);
        }
        while kept.entries.len() > ITEMS || kept.bytes > BYTES {
            let Some(oldest) = kept.entries.pop_front() else { break };
            kept.bytes -= oldest.item.text().len();
        }
    }

    /// The last of them, at most so many, oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<Arc<Entry>> {
        let kept = self.0.lock();
        kept.entries.iter().skip(kept.entries.len().saturating_sub(count)).cloned().collect()
    }
}
