//! The table of held items: those below their lane's cursor that wait to be tried again.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, params};

use super::sum::Sum;
use super::{Held, LaneId, Seq, now};

pub(super) fn hold(transaction: &Transaction<'_>, lane: LaneId, held: &Held) -> rusqlite::Result<()> {
    let wait = held.not_before.saturating_sub(now());
    let sum = Sum::default().integer(lane.0).number(held.seq).number(held.tries.into());
    let sum = sum.number(held.not_before).number(wait).text(&held.reason).integer(held.redelivered.into());
    let (seq, reason) = (held.seq, &*held.reason);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            lane.0,
            seq,
            held.tries,
            held.not_before,
            wait,
            reason,
            held.redelivered,
            sum.value()
        ])?;
    Ok(())
}

/// What is held is looked up by lane and place: there may be a hundred thousand, and as many to
/// release.
const RELEASE: &str = "DELETE FROM items WHERE seq = ?1
     AND NOT EXISTS (SELECT 1 FROM held WHERE lane IN (SELECT id FROM lanes) AND held.seq = ?1)
     AND NOT EXISTS (SELECT 1 FROM targets, json_each(targets.lanes) AS member, lanes
         WHERE targets.id = items.target AND lanes.id = member.value AND lanes.cursor < ?1)";

/// A held item that is settled now. Trimming has passed it already; it goes when no
/// other lane holds it or has it before itself.
pub(super) fn release(transaction: &Transaction<'_>, lane: LaneId, seq: Seq) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM held WHERE lane = ?1 AND seq = ?2")?
        .execute(params![lane.0, seq])?;
    transaction.prepare_cached(RELEASE)?.execute([seq])?;
    Ok(())
}

/// The longest reason that is read of a held item, in characters: journals of before there was a
/// measure have some of 8 KiB.
const REASON: u32 = 256;

/// What a lane holds, oldest first. A wait ends no later than it would have when it was
/// written, whatever the wall clock says since.
pub(super) fn of(connection: &Connection, lane: LaneId) -> rusqlite::Result<Vec<Held>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, tries, not_before, wait, substr(reason, 1, ?2), redelivered FROM held
         WHERE lane = ?1 ORDER BY seq",
    )?;
    let now = now();
    let mut rows = statement.query(params![lane.0, REASON])?;
    let mut held: Vec<Held> = Vec::new();
    while let Some(row) = rows.next()? {
        let (wait, reason): (u64, Arc<str>) = (row.get(3)?, row.get(4)?);
        // Many wait for the same.
        let before = held.last().map(|before| &before.reason).filter(|before| **before == reason);
        held.push(Held {
            seq: row.get(0)?,
            tries: row.get(1)?,
            not_before: row.get::<_, u64>(2)?.min(now + wait),
            reason: before.map_or(reason, Arc::clone),
            redelivered: row.get(5)?,
        });
    }
    Ok(held)
}

/// The steps that a statement takes in a new journal.
#[cfg(test)]
pub(super) fn plan(statement: &str, parameters: impl rusqlite::Params) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let connection = super::schema::open(&directory.path().join("journal.db")).unwrap();
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    explained.query_map(parameters, |row| row.get(3)).unwrap().map(Result::unwrap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::schema;

    #[test]
    fn one_that_is_released_is_looked_up() {
        let plan = plan(RELEASE, [1]);
        let step = "SEARCH held USING PRIMARY KEY (lane=? AND seq=?)";
        assert!(plan.iter().any(|found| found.contains(step)), "{plan:?}");
    }

    /// A journal of an older host has reasons of 8 KiB, one for each item.
    #[test]
    fn a_long_reason_is_read_in_short_and_the_same_one_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = schema::open(&directory.path().join("journal.db")).unwrap();
        let transaction = connection.transaction().unwrap();
        for seq in 1..=3 {
            let reason = "ü".repeat(4096).into();
            let held = Held { seq, tries: 1, not_before: 0, reason, redelivered: false };
            hold(&transaction, LaneId(1), &held).unwrap();
        }
        let found = of(&transaction, LaneId(1)).unwrap();
        assert_eq!(*found[0].reason, *"ü".repeat(256));
        assert!(found.len() == 3 && found.iter().all(|held| Arc::ptr_eq(&held.reason, &found[0].reason)));
    }
}
