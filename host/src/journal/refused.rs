//! Items that were refused and stand in the journal all the same: their transaction was written, and
//! its flush failed.
//!
//! Whoever was refused sends them again, and an event has no key by which the second would be known
//! for a copy. So they are taken back before anything else is taken in: nobody was told that they
//! are taken, and lanes read nothing beyond what was acknowledged.
//!
//! # Invariants
//! - Nothing that was acknowledged is touched: it is at or below the head, and its keys in a commit
//!   that is remembered.
//! - What lanes have settled in the same transaction stays: it is true, and counts once.

use std::collections::HashMap;

use rusqlite::{Connection, TransactionBehavior};

use super::{Seq, book};

/// How far what was acknowledged goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    /// The last place.
    pub(super) seq: Seq,
    /// The newest commit that has keys.
    pub(super) commit: i64,
}

/// Takes back what is beyond; says how many items that were.
pub(super) fn take_back(connection: &mut Connection, to: Acknowledged) -> rusqlite::Result<u64> {
    let is_beyond = "SELECT EXISTS (SELECT 1 FROM items WHERE seq > ?1)";
    if !connection.query_row(is_beyond, [to.seq], |row| row.get::<_, bool>(0))? {
        return Ok(0);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let counts: HashMap<i64, u64> = transaction
        .prepare("SELECT target, count(*) FROM items WHERE seq > ?1 GROUP BY target")?
        .query_map([to.seq], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut lanes = book::lanes(&transaction)?;
    for target in book::targets(&transaction)? {
        let Some(items) = counts.get(&target.id) else { continue };
        for id in target.lanes.iter() {
            if let Some(lane) = lanes.get_mut(id) {
                lane.take_pending(*items);
            }
        }
    }
    for (id, lane) in &mut lanes {
        lane.write(&transaction, *id)?;
    }
    transaction.execute("DELETE FROM items WHERE seq > ?1", [to.seq])?;
    transaction.execute("DELETE FROM seen WHERE id > ?1", [to.commit])?;
    transaction.commit()?;
    Ok(counts.values().sum())
}
