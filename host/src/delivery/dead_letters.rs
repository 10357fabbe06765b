//! Dead letters as an operator handles them: list, hand back, remove.
//!
//! They are kept by the journal, whether or not a lane of their name runs. Those of a
//! lane that runs are tried again at once, those of another when it is back.

use std::collections::HashMap;
use std::sync::Arc;

use super::lanes::Lanes;
use crate::journal::{DeadFilter, Held, Journal, JournalError, KeptDeadLetter, LaneId, WholeDeadLetter};

/// The most that are changed in one transaction of the journal; of large ones it gives fewer.
const AT_ONCE: usize = 500;

pub(crate) struct DeadLetters {
    lanes: Arc<Lanes>,
    journal: Arc<Journal>,
}

impl DeadLetters {
    pub(crate) fn new(lanes: Arc<Lanes>, journal: Arc<Journal>) -> Self {
        Self { lanes, journal }
    }

    /// Whether there ever was a returner of this name, which may have left some.
    pub(crate) async fn had_lane(&self, name: &str) -> Result<bool, JournalError> {
        self.journal.knows_lane(name).await
    }

    /// The oldest that fit, at most so many.
    pub(crate) async fn list(
        &self,
        filter: DeadFilter,
        limit: usize,
    ) -> Result<Vec<KeptDeadLetter>, JournalError> {
        // What cannot be written now is not there yet, and says so by the metrics and the status.
        let _ = self.journal.catch_up().await;
        self.journal.dead_letters(filter, limit).await
    }

    /// One of them, with its item.
    pub(crate) async fn show(&self, id: i64) -> Result<Option<WholeDeadLetter>, JournalError> {
        self.journal.dead_letter(id).await
    }

    /// Hands all that fit now to their lanes again; says how many.
    pub(crate) async fn replay(&self, filter: DeadFilter) -> Result<u64, JournalError> {
        let (mut replayed, mut elsewhere) = (0, false);
        // One that dies again has a new, greater id.
        for ids in self.all(filter).await? {
            // A lane that begins meanwhile would read what it holds before, and be told of it by
            // nobody.
            let _making = self.lanes.making.lock().await;
            let held = self.journal.replay(ids).await?;
            replayed += held.len() as u64;
            let mut by_lane: HashMap<LaneId, Vec<Held>> = HashMap::new();
            for (lane, held) in held {
                by_lane.entry(lane).or_default().push(held);
            }
            for lane in self.lanes.all() {
                if let Some(held) = by_lane.remove(&lane.id()) {
                    lane.replay(held);
                }
            }
            elsewhere |= !by_lane.is_empty();
        }
        // A lane that some returns asked for, and that had nothing to do since.
        if elsewhere && let Err(error) = self.lanes.resume().await {
            tracing::warn!(%error, "what was replayed for a lane that does not run is tried after the next start");
        }
        Ok(replayed)
    }

    /// Removes all that fit now for good; says how many.
    pub(crate) async fn drop_all(&self, filter: DeadFilter) -> Result<u64, JournalError> {
        let mut dropped = 0;
        for ids in self.all(filter).await? {
            let gone = self.journal.drop_dead(ids).await?;
            dropped += gone.len() as u64;
            for lane in self.lanes.all() {
                lane.dropped(gone.iter().filter(|id| **id == lane.id()).count() as u64);
            }
        }
        // They are gone for good: who did not ask for it must be able to find out.
        tracing::warn!(items = dropped, "dead letters were dropped as asked");
        Ok(dropped)
    }

    /// The ids of all that fit, in parts of one transaction each.
    async fn all(&self, filter: DeadFilter) -> Result<Vec<Vec<i64>>, JournalError> {
        self.journal.catch_up().await?;
        let mut parts = Vec::new();
        let mut filter = filter;
        loop {
            let ids = self.journal.dead_ids(filter.clone(), AT_ONCE).await?;
            let Some(last) = ids.last() else { return Ok(parts) };
            filter.after = *last;
            parts.push(ids);
        }
    }
}
