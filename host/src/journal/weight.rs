//! How many bytes the journal keeps for a lane.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{JournalError, LaneId, Seq, book};

/// What a row takes beside its text, about.
const ROW: u64 = 64;

/// What an item of such a text takes.
pub(crate) fn of_text(text: usize) -> u64 {
    text as u64 + ROW
}

/// What is kept for each of these lanes: what is pending, held or dead. An item that several of
/// them have counts for each. The lengths of texts are read, and not the texts.
pub(super) fn of_lanes(
    connection: &Connection,
    lanes: &[LaneId],
) -> Result<HashMap<LaneId, u64>, JournalError> {
    // What moves from one table to another meanwhile is in either.
    let look = connection.unchecked_transaction()?;
    let mut kept: HashMap<LaneId, u64> = lanes.iter().map(|lane| (*lane, 0)).collect();
    let mut add = |lane: LaneId, text: u64| {
        if let Some(kept) = kept.get_mut(&lane) {
            *kept += text + ROW;
        }
    };
    let cursors = book::lanes(&look)?;
    let cursor = |lane: &LaneId| Some((*lane, cursors.get(lane)?.cursor));
    let mut targets: HashMap<i64, Vec<(LaneId, Seq)>> = HashMap::new();
    for target in book::targets(&look)? {
        let ours = target.lanes.iter().filter(|lane| lanes.contains(lane));
        targets.insert(target.id, ours.filter_map(cursor).collect());
    }
    targets.retain(|_, lanes| !lanes.is_empty());
    let first = targets.values().flatten().map(|(_, cursor)| *cursor).min().unwrap_or(Seq::MAX >> 1);
    let ids = serde_json::json!(targets.keys().collect::<Vec<_>>()).to_string();
    let pending = "SELECT target, seq, octet_length(body) FROM items
         WHERE seq > ?1 AND target IN (SELECT value FROM json_each(?2))";
    let mut statement = look.prepare_cached(pending)?;
    let mut rows = statement.query((first, ids))?;
    while let Some(row) = rows.next()? {
        let (target, seq, text): (i64, Seq, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let before = targets.get(&target).into_iter().flatten().filter(|(_, cursor)| seq > *cursor);
        before.for_each(|(lane, _)| add(*lane, text));
    }
    let ids = serde_json::json!(lanes.iter().map(|lane| lane.0).collect::<Vec<_>>()).to_string();
    for aside in [
        "SELECT held.lane, octet_length(body) + octet_length(reason) FROM held JOIN items ON items.seq = held.seq
         WHERE held.lane IN (SELECT value FROM json_each(?1))",
        "SELECT lane, octet_length(body) + octet_length(reason) + octet_length(stderr) FROM dead
         WHERE lane IN (SELECT value FROM json_each(?1))",
    ] {
        let mut statement = look.prepare_cached(aside)?;
        let mut rows = statement.query([&ids])?;
        while let Some(row) = rows.next()? {
            add(LaneId(row.get(0)?), row.get(1)?);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::items::{self, Kind};
    use crate::journal::{Bounds, DeadLetter, Held, Journal, NewItem, Settlement};
    use crate::telemetry::JournalMetrics;

    const TEXT: usize = 1000;

    fn new(number: usize, lanes: &[LaneId]) -> NewItem {
        let frame = format!(r#"{{"jid":"{number:04}","id":"m","fun":"f","return":""}}"#);
        let text = frame.replace(r#""""#, &format!(r#""{}""#, "x".repeat(TEXT - frame.len())));
        let item = items::parse(Kind::Return, &text, String::new).unwrap();
        NewItem { item, accepted: 1, lanes: Arc::from(lanes), dedupe: None }
    }

    /// What is pending, held or dead, also after a restart; and nothing that is settled, though
    /// another lane has it yet.
    #[tokio::test]
    async fn what_a_lane_has_not_stored_is_weighed() {
        let directory = tempfile::tempdir().unwrap();
        let open =
            || Journal::open(directory.path(), Bounds::of_a_test(), JournalMetrics::default()).unwrap();
        let journal = open();
        let (own, other) = (journal.lane("own").await.unwrap().id, journal.lane("other").await.unwrap().id);
        let weigh = async |journal: &Journal, lane| {
            // Writes what was settled before.
            journal.lane("own").await.unwrap();
            journal.kept_bytes(vec![lane]).await.unwrap()[&lane]
        };
        let one = of_text(TEXT);
        assert_eq!(weigh(&journal, own).await, 0);
        let both = [own, other];
        journal.append((0..6).map(|number| new(number, &both)).collect()).await.unwrap();
        journal.append(vec![new(6, &[other])]).await.unwrap();
        assert_eq!((weigh(&journal, own).await, weigh(&journal, other).await), (6 * one, 7 * one));
        let entry = journal.next(own, 1, 1, 1 << 20).await.unwrap().entries.remove(0);
        let (reason, plugin, stderr) = ("r".to_owned(), "p".to_owned(), "e".to_owned());
        let dead = vec![DeadLetter { entry, reason: reason.clone(), plugin, stderr, tries: 1, at: 1 }];
        let held = vec![Held { seq: 3, tries: 1, not_before: 0, reason: reason.into(), redelivered: false }];
        let settled = Settlement { through: 4, settled: 3, held, dead, ..Settlement::default() };
        journal.settle(own, settled).unwrap();
        let left = 2 * one + (one + 1) + (one + 2);
        assert_eq!((weigh(&journal, own).await, weigh(&journal, other).await), (left, 7 * one));
        journal.close(true).await;
        drop(journal);
        let journal = open();
        assert_eq!(journal.kept_bytes(vec![own]).await.unwrap()[&own], left);
        assert_eq!(journal.kept_bytes(vec![own, other]).await.unwrap()[&other], 7 * one);
        assert_eq!(journal.kept_bytes(vec![LaneId(99)]).await.unwrap()[&LaneId(99)], 0, "nobody's");
    }
}
