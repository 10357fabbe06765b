//! What the tables say, in memory, and the statements that change both together.
//!
//! Everything here happens within the writer's transaction: if that fails, the book is
//! thrown away and read again.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, params};

use super::seen::Seen;
use super::{Bounds, Entry, LaneId, Seq, Settlement, now};

/// What the tables say, in memory. Read again after a transaction that failed.
pub(super) struct Book {
    pub(super) last: Seq,
    pub(super) lanes: HashMap<LaneId, Lane>,
    pub(super) targets: Vec<Target>,
    pub(super) seen: Seen,
    pub(super) bytes: u64,
}

pub(super) struct Lane {
    pub(super) name: String,
    pub(super) cursor: Seq,
    pub(super) pending: u64,
    /// Since it was written.
    pub(super) changed: bool,
}

/// A set of lanes that items are meant for.
pub(super) struct Target {
    id: i64,
    lanes: Arc<[LaneId]>,
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
        let mut lanes = HashMap::new();
        let mut statement = connection.prepare("SELECT id, name, cursor, pending FROM lanes")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let lane = Lane { name: row.get(1)?, cursor: row.get(2)?, pending: row.get(3)?, changed: false };
            lanes.insert(LaneId(row.get(0)?), lane);
        }
        let mut targets = Vec::new();
        let mut statement = connection.prepare("SELECT id, lanes FROM targets ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let ids: String = row.get(1)?;
            let ids: Vec<i64> = serde_json::from_str(&ids).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
            })?;
            targets.push(Target {
                id: row.get(0)?,
                lanes: ids.into_iter().map(LaneId).collect(),
                trimmed: 0,
            });
        }
        // Numbers are never used again: every removed item was below some cursor.
        let newest: Option<Seq> = connection.query_row("SELECT max(seq) FROM items", [], |row| row.get(0))?;
        let last = lanes.values().map(|lane| lane.cursor).chain(newest).max().unwrap_or(0);
        let seen = Seen::load(connection, bounds.window, bounds.keys, now())?;
        Ok(Self { last, lanes, targets, seen, bytes: size(connection)? })
    }
}

impl Targets<'_> {
    /// The number of a set of lanes; a new set is given one.
    pub(super) fn id(&mut self, lanes: &[LaneId]) -> rusqlite::Result<i64> {
        if let Some(target) = self.known.iter().find(|target| *target.lanes == *lanes) {
            return Ok(target.id);
        }
        let text = serde_json::json!(lanes.iter().map(|lane| lane.0).collect::<Vec<_>>()).to_string();
        self.transaction.execute("INSERT INTO targets (lanes) VALUES (?1)", [text])?;
        let id = self.transaction.last_insert_rowid();
        self.known.push(Target { id, lanes: lanes.into(), trimmed: 0 });
        Ok(id)
    }

    pub(super) fn lanes(&self, id: i64) -> Option<Arc<[LaneId]>> {
        self.known.iter().find(|target| target.id == id).map(|target| Arc::clone(&target.lanes))
    }
}

pub(super) fn insert(targets: &mut Targets<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let target = targets.id(&entry.lanes)?;
    targets
        .transaction
        .prepare_cached("INSERT INTO items (seq, kind, accepted, target, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![entry.seq, entry.item.kind().code(), entry.accepted, target, entry.item.text()])?;
    Ok(())
}

pub(super) fn settle(
    transaction: &Transaction<'_>,
    lanes: &mut HashMap<LaneId, Lane>,
    id: LaneId,
    settlement: &Settlement,
) -> rusqlite::Result<()> {
    let Some(lane) = lanes.get_mut(&id) else { return Ok(()) };
    lane.cursor = lane.cursor.max(settlement.through);
    lane.pending = lane.pending.saturating_sub(settlement.settled);
    lane.changed = true;
    for seq in &settlement.released {
        transaction
            .prepare_cached("DELETE FROM held WHERE lane = ?1 AND seq = ?2")?
            .execute(params![id.0, seq])?;
        // Trimming has passed it already; it goes when no other lane holds it or has it
        // before itself, which the next trim finds by looking from the start.
        transaction
            .prepare_cached(
                "DELETE FROM items WHERE seq = ?1
                 AND NOT EXISTS (SELECT 1 FROM held WHERE held.seq = ?1)
                 AND NOT EXISTS (SELECT 1 FROM targets, json_each(targets.lanes) AS member, lanes
                     WHERE targets.id = items.target AND lanes.id = member.value AND lanes.cursor < ?1)",
            )?
            .execute([seq])?;
    }
    for held in &settlement.held {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![id.0, held.seq, held.tries, held.not_before, held.reason, held.redelivered])?;
    }
    for dead in &settlement.dead {
        let item = &dead.entry.item;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO dead (lane, seq, kind, accepted, body, reason, plugin, stderr, tries, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                id.0,
                dead.entry.seq,
                item.kind().code(),
                dead.entry.accepted,
                item.text(),
                dead.reason,
                dead.plugin,
                dead.stderr,
                dead.tries,
                dead.at
            ])?;
    }
    Ok(())
}

/// Removes what every lane of a set has settled. By set, so that a lane that is stuck
/// keeps its own items and no others.
pub(super) fn trim(
    transaction: &Transaction<'_>,
    lanes: &HashMap<LaneId, Lane>,
    targets: &mut [Target],
) -> rusqlite::Result<()> {
    for target in targets {
        let cursors = target.lanes.iter().filter_map(|lane| lanes.get(lane)).map(|lane| lane.cursor);
        let Some(through) = cursors.min().filter(|through| *through > target.trimmed) else { continue };
        transaction
            .prepare_cached(
                "DELETE FROM items WHERE seq > ?1 AND seq <= ?2 AND target = ?3
                 AND seq NOT IN (SELECT seq FROM held)",
            )?
            .execute(params![target.trimmed, through, target.id])?;
        target.trimmed = through;
    }
    Ok(())
}

/// The bytes of the database that are in use.
pub(super) fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u64>(0));
    Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
}
