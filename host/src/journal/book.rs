//! What the tables say, in memory, and the statements that change both together.
//!
//! Everything here happens within the writer's transaction: if that fails, the book is
//! thrown away and read again.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior, ffi, params};

use super::files::log_of;
use super::seen::{Fresh, Seen};
use super::sum::Sum;
use super::{Bounds, DeadLetter, Entry, LaneId, Seq, Settlement, held, now, schema};
use crate::items::Key;

/// What the tables say, in memory. Read again after a transaction that failed.
pub(super) struct Book {
    pub(super) last: Seq,
    pub(super) lanes: HashMap<LaneId, Lane>,
    pub(super) targets: Vec<Target>,
    pub(super) seen: Seen,
    /// The bytes of the database that are in use with those of its log, and those that are free
    /// inside it.
    pub(super) bytes: u64,
    pub(super) free: u64,
}

pub(super) struct Lane {
    pub(super) name: String,
    pub(super) cursor: Seq,
    pub(super) pending: u64,
    /// The number of its last settlement that is written.
    pub(super) settlements: u64,
    /// Since it was written.
    pub(super) changed: bool,
}

/// A set of lanes that items are meant for.
pub(super) struct Target {
    pub(super) id: i64,
    pub(super) lanes: Arc<[LaneId]>,
    /// No item of this set is left up to here but what is held.
    trimmed: Seq,
}

/// The sets of lanes, within a transaction.
pub(super) struct Targets<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) known: &'a mut Vec<Target>,
}

impl Book {
    pub(super) fn load(connection: &Connection, bounds: Bounds) -> rusqlite::Result<Self> {
        let lanes = lanes(connection)?;
        let targets = targets(connection)?;
        let newest: Option<Seq> = connection.query_row("SELECT max(seq) FROM items", [], |row| row.get(0))?;
        let last = reached(connection, &lanes)?.max(newest.unwrap_or(0));
        let seen = Seen::load(connection, bounds.window, bounds.keys, now())?;
        let mut book = Self { last, lanes, targets, seen, bytes: 0, free: 0 };
        book.measure(connection)?;
        Ok(book)
    }

    /// Looks how large the database is, and its log.
    pub(super) fn measure(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let pragma = |statement| -> rusqlite::Result<u64> {
            connection.prepare_cached(statement)?.query_row([], |row| row.get(0))
        };
        let (page, free) = (pragma("PRAGMA page_size")?, pragma("PRAGMA freelist_count")?);
        self.free = free * page;
        let log = connection.path().and_then(|path| fs::metadata(log_of(Path::new(path))).ok());
        let log = log.map_or(0, |log| log.len());
        self.bytes = pragma("PRAGMA page_count")? * page - self.free + log;
        Ok(())
    }

    /// The lane that has the most before itself.
    pub(super) fn furthest_behind(&self) -> Option<String> {
        let behind = self.lanes.values().filter(|lane| lane.pending > 0).max_by_key(|lane| lane.pending);
        behind.map(|lane| lane.name.clone())
    }

    /// Makes a lane that begins at the head.
    pub(super) fn add_lane(&mut self, connection: &Connection, name: &str) -> rusqlite::Result<LaneId> {
        // Not the number of a lane that some set still names.
        let used = self.targets.iter().flat_map(|target| target.lanes.iter()).chain(self.lanes.keys());
        let id = LaneId(used.map(|lane| lane.0).max().unwrap_or(0) + 1);
        let lane =
            Lane { name: name.to_owned(), cursor: self.last, pending: 0, settlements: 0, changed: false };
        connection.execute(
            "INSERT INTO lanes (id, name, cursor, pending, settlements, sum) VALUES (?1, ?2, ?3, 0, 0, ?4)",
            params![id.0, name, lane.cursor, lane.sum(id)],
        )?;
        self.lanes.insert(id, lane);
        Ok(id)
    }
}

/// Whether dead letters take more room than what is pending. Of large ones the lengths are read,
/// and not the text.
pub(super) fn has_more_dead(connection: &Connection) -> rusqlite::Result<bool> {
    let more =
        "SELECT (SELECT total(octet_length(body) + octet_length(reason) + octet_length(stderr)) FROM dead)
                     > (SELECT total(octet_length(body)) FROM items)";
    connection.query_row(more, [], |row| row.get(0))
}

impl Lane {
    fn sum(&self, id: LaneId) -> u32 {
        let sum = Sum::default().integer(id.0).text(&self.name).number(self.cursor);
        sum.number(self.pending).number(self.settlements).value()
    }

    /// Writes what has changed.
    pub(super) fn write(&mut self, transaction: &Transaction<'_>, id: LaneId) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.changed) {
            transaction
                .prepare_cached(
                    "UPDATE lanes SET cursor = ?2, pending = ?3, settlements = ?4, sum = ?5 WHERE id = ?1",
                )?
                .execute(params![id.0, self.cursor, self.pending, self.settlements, self.sum(id)])?;
        }
        Ok(())
    }

    pub(super) fn add_pending(&mut self, items: u64) {
        self.pending += items;
        self.changed = true;
    }

    pub(super) fn take_pending(&mut self, items: u64) {
        self.pending = self.pending.saturating_sub(items);
        self.changed = true;
    }
}

pub(super) fn lanes(connection: &Connection) -> rusqlite::Result<HashMap<LaneId, Lane>> {
    let mut statement = connection.prepare("SELECT id, name, cursor, pending, settlements FROM lanes")?;
    let lanes = statement.query_map([], |row| {
        let lane = Lane {
            name: row.get(1)?,
            cursor: row.get(2)?,
            pending: row.get(3)?,
            settlements: row.get(4)?,
            changed: false,
        };
        Ok((LaneId(row.get(0)?), lane))
    })?;
    lanes.collect()
}

/// How far the journal reached, but for the items that are there. Places are never given again: every
/// removed item was below some cursor, or is named by what [`keep_places`] noted.
pub(super) fn reached(connection: &Connection, lanes: &HashMap<LaneId, Lane>) -> rusqlite::Result<Seq> {
    let given = schema::state(connection, GIVEN)?.map_or(0, i64::cast_unsigned);
    Ok(lanes.values().map(|lane| lane.cursor).max().unwrap_or(0).max(given))
}

/// In the table `state`: a place up to which all were given, though no cursor says so.
const GIVEN: &str = "given";

/// Notes that places up to this one were given.
pub(super) fn keep_places(connection: &Connection, through: Seq) -> rusqlite::Result<()> {
    schema::set_state(connection, GIVEN, through.cast_signed())
}

pub(super) fn targets(connection: &Connection) -> rusqlite::Result<Vec<Target>> {
    let mut statement = connection.prepare("SELECT id, lanes FROM targets ORDER BY id")?;
    let targets = statement.query_map([], |row| {
        let ids: String = row.get(1)?;
        let ids: Vec<i64> = serde_json::from_str(&ids).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
        })?;
        Ok(Target { id: row.get(0)?, lanes: ids.into_iter().map(LaneId).collect(), trimmed: 0 })
    })?;
    targets.collect()
}

impl Targets<'_> {
    /// The number of a set of lanes; a new set is given one.
    pub(super) fn id(&mut self, lanes: &[LaneId]) -> rusqlite::Result<i64> {
        if let Some(target) = self.known.iter().find(|target| *target.lanes == *lanes) {
            return Ok(target.id);
        }
        let text = serde_json::json!(lanes.iter().map(|lane| lane.0).collect::<Vec<_>>()).to_string();
        let id = self.known.iter().map(|target| target.id).max().unwrap_or(0) + 1;
        let sum = Sum::default().integer(id).text(&text).value();
        self.transaction
            .execute("INSERT INTO targets (id, lanes, sum) VALUES (?1, ?2, ?3)", params![id, text, sum])?;
        self.known.push(Target { id, lanes: lanes.into(), trimmed: 0 });
        Ok(id)
    }

    pub(super) fn lanes(&self, id: i64) -> Option<Arc<[LaneId]>> {
        self.known.iter().find(|target| target.id == id).map(|target| Arc::clone(&target.lanes))
    }
}

pub(super) fn insert(targets: &mut Targets<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let target = targets.id(&entry.lanes)?;
    let (kind, body) = (entry.item.kind().code(), entry.item.text());
    let sum = item_sum(entry.seq, kind, entry.accepted, target, body);
    targets
        .transaction
        .prepare_cached(
            "INSERT INTO items (seq, kind, accepted, target, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![entry.seq, kind, entry.accepted, target, body, sum])?;
    Ok(())
}

pub(super) fn item_sum(seq: Seq, kind: i64, accepted: u64, target: i64, body: &str) -> u32 {
    Sum::default().number(seq).integer(kind).number(accepted).integer(target).text(body).value()
}

/// Settling a second time what is settled changes nothing: after a commit with an
/// unclear end it is written again.
pub(super) fn settle(
    transaction: &Transaction<'_>,
    lanes: &mut HashMap<LaneId, Lane>,
    id: LaneId,
    number: u64,
    settlement: &Settlement,
) -> rusqlite::Result<()> {
    let Some(lane) = lanes.get_mut(&id).filter(|lane| lane.settlements < number) else { return Ok(()) };
    lane.settlements = number;
    lane.cursor = lane.cursor.max(settlement.through);
    lane.take_pending(settlement.settled);
    for dead in &settlement.dead {
        bury(transaction, id, dead)?;
    }
    for seq in &settlement.released {
        held::release(transaction, id, *seq)?;
    }
    for held in &settlement.held {
        held::hold(transaction, id, held)?;
    }
    Ok(())
}

/// Settles all that a lane has, though it stored nothing of it; says how many items that
/// were. `keys` are those of the items, with their places: what is sent again is no duplicate for
/// the lane.
///
/// The lane stays, at the end: its cursor is part of how far the journal reached.
pub(super) fn abandon(
    connection: &mut Connection,
    book: &mut Book,
    id: LaneId,
    keys: &[(Key, Seq)],
) -> rusqlite::Result<u64> {
    let now = now();
    book.seen.forget(now);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for held in held::of(&transaction, id)? {
        held::release(&transaction, id, held.seq)?;
    }
    let mut targets = Targets { transaction: &transaction, known: &mut book.targets };
    let mut fresh = Fresh::default();
    for key in keys {
        book.seen.take_out(&mut fresh, &mut targets, *key, id)?;
    }
    let seen = book.seen.write(&transaction, &fresh, now, book.last)?;
    let mut abandoned = 0;
    if let Some(lane) = book.lanes.get_mut(&id) {
        abandoned = std::mem::take(&mut lane.pending);
        lane.cursor = book.last;
        lane.changed = true;
        lane.write(&transaction, id)?;
    }
    transaction.commit()?;
    book.seen.committed(seen, fresh, now);
    Ok(abandoned)
}

/// A place has one item: what another one has become is not written over.
fn bury(transaction: &Transaction<'_>, lane: LaneId, dead: &DeadLetter) -> rusqlite::Result<()> {
    let (seq, accepted) = (dead.entry.seq, dead.entry.accepted);
    let (kind, body) = (dead.entry.item.kind().code(), dead.entry.item.text());
    let sum = Sum::default().integer(lane.0).number(seq).integer(kind).number(accepted).text(body);
    let sum = sum.text(&dead.reason).text(&dead.plugin).text(&dead.stderr).number(dead.tries.into());
    let buried = transaction
        .prepare_cached(
            "INSERT INTO dead
                 (lane, seq, kind, accepted, body, reason, plugin, stderr, tries, at, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (lane, seq) DO UPDATE SET
                 (accepted, reason, plugin, stderr, tries, at, sum) = (?4, ?6, ?7, ?8, ?9, ?10, ?11)
             WHERE kind = ?3 AND body = ?5",
        )?
        .execute(params![
            lane.0,
            seq,
            kind,
            accepted,
            body,
            dead.reason,
            dead.plugin,
            dead.stderr,
            dead.tries,
            dead.at,
            sum.number(dead.at).value()
        ])?;
    if buried == 0 {
        let text = format!(
            "the place {seq} of a dead letter has another one already; `returner dead show` has what is in it, and \
             `returner dead drop` makes room"
        );
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CONSTRAINT), Some(text)));
    }
    Ok(())
}

/// Of what is held only as much is looked at as is trimmed.
const TRIM: &str = "DELETE FROM items WHERE seq > ?1 AND seq <= ?2 AND target = ?3
     AND seq NOT IN (SELECT seq FROM held WHERE lane IN (SELECT id FROM lanes) AND seq > ?1 AND seq <= ?2)";

/// Removes what every lane of a set has settled, where that is so many places; says whether
/// it left some. By set, so that a lane that is stuck keeps its own items and no others.
pub(super) fn trim(
    transaction: &Transaction<'_>,
    lanes: &HashMap<LaneId, Lane>,
    targets: &mut [Target],
    places: u64,
) -> rusqlite::Result<bool> {
    let mut left = false;
    for target in targets {
        let cursors = target.lanes.iter().filter_map(|lane| lanes.get(lane)).map(|lane| lane.cursor);
        let Some(through) = cursors.min().filter(|through| *through > target.trimmed) else { continue };
        if through < target.trimmed + places {
            left = true;
            continue;
        }
        transaction.prepare_cached(TRIM)?.execute(params![target.trimmed, through, target.id])?;
        target.trimmed = through;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is done beside every commit, and a lane may hold a hundred thousand.
    #[test]
    fn trimming_looks_at_no_more_of_what_is_held_than_it_trims() {
        let plan = held::plan(TRIM, params![1, 2, 3]);
        assert!(
            plan.iter().any(|step| step.contains("SEARCH held USING PRIMARY KEY (lane=? AND seq>?")),
            "{plan:?}"
        );
    }
}
