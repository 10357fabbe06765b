//! When the oldest item of a lane was accepted, whatever the lane is doing.
//!
//! It is looked up when someone asks, and remembered with the place where the look
//! began: what comes first after a place stays the first. So a lane that is stuck is
//! looked at once, and a lane that goes on at most once a question.

use parking_lot::Mutex;

use crate::journal::{Journal, JournalError, LaneId, Seq};

/// Milliseconds since 1970-01-01 UTC, by the place where the look began.
type Found = Mutex<Option<(Seq, u64)>>;

#[derive(Debug, Default)]
pub(super) struct Oldest {
    after: Found,
    held: Found,
}

impl Oldest {
    /// The oldest of what a lane has after a place.
    pub(super) async fn after(
        &self,
        journal: &Journal,
        lane: LaneId,
        cursor: Seq,
    ) -> Result<Option<u64>, JournalError> {
        if let Some(known) = known(&self.after, cursor) {
            return Ok(Some(known));
        }
        let window = journal.next(lane, cursor, 1, 0).await?;
        Ok(window.entries.first().map(|entry| remember(&self.after, cursor, entry.accepted)))
    }

    /// The same for the first of the items that are held.
    pub(super) async fn held(
        &self,
        journal: &Journal,
        lane: LaneId,
        first: Seq,
    ) -> Result<Option<u64>, JournalError> {
        if let Some(known) = known(&self.held, first) {
            return Ok(Some(known));
        }
        let entries = journal.entries(lane, vec![first], 0).await?;
        Ok(entries.first().map(|entry| remember(&self.held, first, entry.accepted)))
    }
}

fn known(found: &Found, place: Seq) -> Option<u64> {
    found.lock().filter(|(at, _)| *at == place).map(|(_, accepted)| accepted)
}

fn remember(found: &Found, place: Seq, accepted: u64) -> u64 {
    *found.lock() = Some((place, accepted));
    accepted
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::items::{self, Kind};
    use crate::journal::{Bounds, NewItem, Settlement};
    use crate::telemetry::JournalMetrics;

    #[tokio::test]
    async fn the_first_after_a_place_and_the_first_that_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(directory.path(), Bounds::of_a_test(), JournalMetrics::default()).unwrap();
        let (own, other) = (journal.lane("own").await.unwrap().id, journal.lane("other").await.unwrap().id);
        let new = |accepted: u64, lane| {
            let text = format!(r#"{{"jid":"{accepted}","id":"m","fun":"f","return":1}}"#);
            let item = items::parse(Kind::Return, &text, String::new).unwrap();
            NewItem { item, accepted, lanes: Arc::from([lane]), dedupe: None }
        };
        let oldest = Oldest::default();
        assert_eq!(oldest.after(&journal, own, 0).await.unwrap(), None);
        journal.append(vec![new(100, other), new(200, own), new(300, own)]).await.unwrap();
        assert_eq!(oldest.after(&journal, own, 0).await.unwrap(), Some(200), "nothing is remembered of none");
        assert_eq!(oldest.after(&journal, own, 2).await.unwrap(), Some(300));
        assert_eq!(oldest.held(&journal, own, 2).await.unwrap(), Some(200));
        // What was found is not looked up again.
        let all = Settlement { through: 3, settled: 2, ..Settlement::default() };
        journal.settle(own, all).unwrap();
        journal.append(vec![new(400, own)]).await.unwrap();
        assert_eq!(oldest.after(&journal, own, 2).await.unwrap(), Some(300));
        assert_eq!(oldest.after(&journal, own, 3).await.unwrap(), Some(400));
        // Until it is removed.
        while Oldest::default().held(&journal, own, 3).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(oldest.held(&journal, own, 3).await.unwrap(), None);
    }
}
