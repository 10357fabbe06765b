//! Lanes that returns once asked for by `ret_kwargs`, and nobody needs any more.
//!
//! A lane's row stays when the lane ends, for its items, its dead letters, and the keys that it had.
//! Where there are many, each commit takes longer for it; so a start, at which nobody knows a
//! lane's number yet, forgets those that are named by nothing. One that comes back begins at the
//! head, as a new one does.
//!
//! Invariant: the lane that reached the farthest stays. Its cursor is part of how far the journal
//! reached, and a place is never given twice.

use std::collections::HashSet;

use rusqlite::Transaction;

use super::{LaneId, book, seen};

/// A journal with fewer lanes is left as it is.
const MANY: usize = 256;

/// Forgets lanes without use, and sets of lanes; says how many lanes those were.
pub(super) fn forget(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    let lanes = book::lanes(transaction)?;
    if lanes.len() < MANY {
        return Ok(0);
    }
    let mut named: HashSet<i64> = seen::targets(transaction)?;
    named.extend(numbers(transaction, "SELECT DISTINCT target FROM items")?);
    let mut used: HashSet<LaneId> =
        numbers(transaction, "SELECT DISTINCT lane FROM held UNION SELECT DISTINCT lane FROM dead")?
            .into_iter()
            .map(LaneId)
            .collect();
    for target in book::targets(transaction)? {
        if named.contains(&target.id) {
            used.extend(target.lanes.iter());
        } else {
            transaction.prepare_cached("DELETE FROM targets WHERE id = ?1")?.execute([target.id])?;
        }
    }
    used.extend(lanes.iter().filter(|(_, lane)| lane.pending > 0).map(|(id, _)| id));
    used.extend(lanes.iter().max_by_key(|(_, lane)| lane.cursor).map(|(id, _)| id));
    let unused: Vec<LaneId> = lanes.into_keys().filter(|id| !used.contains(id)).collect();
    for id in &unused {
        transaction.prepare_cached("DELETE FROM lanes WHERE id = ?1")?.execute([id.0])?;
    }
    Ok(unused.len())
}

fn numbers(transaction: &Transaction<'_>, select: &str) -> rusqlite::Result<Vec<i64>> {
    transaction.prepare(select)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::items::{self, Kind};
    use crate::journal::{Bounds, DeadLetter, Held, Journal, LaneState, NewItem, Settlement, now};
    use crate::telemetry::JournalMetrics;

    fn open(directory: &Path) -> Journal {
        Journal::open(directory, Bounds::of_a_test(), JournalMetrics::default()).unwrap()
    }

    async fn append(journal: &Journal, lane: &LaneState, jid: &str, dedupe: bool) -> u64 {
        let text = format!(r#"{{"jid":"{jid}","id":"m","fun":"f","return":1}}"#);
        let item = items::parse(Kind::Return, &text, String::new).unwrap();
        let dedupe = item.dedupe_key().filter(|_| dedupe);
        let new = NewItem { item, accepted: now(), lanes: Arc::from([lane.id]), dedupe };
        journal.append(vec![new]).await.unwrap().through
    }

    fn names(directory: &Path) -> Vec<String> {
        let connection = rusqlite::Connection::open(directory.join("journal.db")).unwrap();
        let mut statement = connection.prepare("SELECT name FROM lanes ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// What is pending, held, dead, or known by its key keeps its lane, and so does how far the
    /// journal reached.
    #[tokio::test]
    async fn a_start_forgets_the_lanes_that_nothing_names() {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path());
        let pending = journal.lane("pending").await.unwrap();
        append(&journal, &pending, "1", false).await;
        for name in ["held", "dead", "seen", "unused", "farthest"] {
            let lane = journal.lane(name).await.unwrap();
            let through = append(&journal, &lane, name, name == "seen").await;
            let mut settlement = Settlement { through, settled: 1, ..Settlement::default() };
            if name == "held" {
                let reason = "r".into();
                settlement.settled = 0;
                settlement.held =
                    vec![Held { seq: through, tries: 1, not_before: 5, reason, redelivered: false }];
            } else if name == "dead" {
                let entry = journal.next(lane.id, through - 1, 1, 1).await.unwrap().entries.remove(0);
                let (reason, plugin, stderr) = ("r".to_owned(), "p".to_owned(), String::new());
                settlement.dead = vec![DeadLetter { entry, reason, plugin, stderr, tries: 1, at: 1 }];
            }
            journal.settle(lane.id, settlement).unwrap();
        }
        for number in 0..MANY - 7 {
            journal.lane(&format!("z{number}")).await.unwrap();
        }
        // One below the bound.
        journal.close(true).await;
        drop(journal);
        let journal = open(directory.path());
        assert_eq!(names(directory.path()).len(), MANY - 1);
        journal.lane("one more").await.unwrap();
        let reached = *journal.head().borrow();
        journal.close(true).await;
        drop(journal);

        let journal = open(directory.path());
        let mut kept = names(directory.path());
        // Those that were made last have reached as far.
        kept.retain(|name| !name.starts_with('z') && name != "one more");
        assert!(kept.iter().all(|name| ["dead", "farthest", "held", "pending", "seen"].contains(&&**name)));
        assert!(["dead", "held", "pending", "seen"].iter().all(|name| kept.iter().any(|kept| kept == name)));
        assert!(names(directory.path()).len() <= 5, "one that reached the farthest, and four");
        assert_eq!(*journal.head().borrow(), reached);
        assert_eq!(journal.lane("pending").await.unwrap().id, pending.id);
        // One that comes back begins at the head, and gets what comes then.
        let again = journal.lane("unused").await.unwrap();
        assert_eq!(again.cursor, reached);
        let seq = append(&journal, &again, "2", true).await;
        assert_eq!(seq, reached + 1);
        let window = journal.next(again.id, again.cursor, 9, 1 << 20).await.unwrap();
        assert_eq!(window.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [seq]);
        journal.close(true).await;
        drop(journal);
        let journal = open(directory.path());
        assert_eq!(journal.depth(journal.lane("unused").await.unwrap().id), 1);
    }
}
