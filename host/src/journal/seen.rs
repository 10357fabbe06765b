//! The keys that were accepted within the window, and the lanes that had them.
//!
//! Keys are remembered by commit, as they are on disk, so that forgetting is by the
//! commit too: the window is exact to the time of one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::LaneId;
use super::book::Targets;
use super::sum::Sum;
use crate::items::Key;

/// A key and the number of its set of lanes, as in the table `seen`.
const RECORD: usize = 20;

pub(super) struct Seen {
    window: Duration,
    bound: usize,
    /// Of each key its set of lanes, and the newest commit that has it.
    lanes_of: HashMap<Key, (u32, i64)>,
    commits: VecDeque<Commit>,
    /// The number of the next commit: greater than that of any before it.
    next: i64,
    /// The newest commit that was forgotten and is still on disk.
    forgotten: Option<i64>,
}

struct Commit {
    id: i64,
    at: u64,
    keys: Vec<Key>,
}

fn sum(at: u64, records: &[u8]) -> u32 {
    Sum::default().number(at).blob(records).value()
}

/// The numbers of the sets of lanes that had a key, forgotten ones included.
pub(super) fn targets(connection: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let mut named = HashSet::new();
    let mut statement = connection.prepare("SELECT keys FROM seen")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        named.extend(records(row.get_ref(0)?.as_blob()?).map(|(_, target)| i64::from(target)));
    }
    Ok(named)
}

/// The keys of a commit as they are on disk, each with the number of its set of lanes.
fn records(bytes: &[u8]) -> impl Iterator<Item = (Key, u32)> {
    bytes
        .as_chunks::<RECORD>()
        .0
        .iter()
        .filter_map(|record| Some((Key(*record.first_chunk()?), u32::from_le_bytes(*record.last_chunk()?))))
}

/// Dates all commits later by so many milliseconds.
pub(super) fn shift(connection: &Connection, by: i64) -> rusqlite::Result<()> {
    let next = "SELECT id, at, keys FROM seen WHERE id > ?1 ORDER BY id LIMIT 1";
    let mut last = i64::MIN;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    while let Some((id, at, records)) = connection.prepare_cached(next)?.query_row([last], read).optional()? {
        let (at, records): (u64, Vec<u8>) = (at, records);
        let at = at.saturating_add_signed(by);
        connection.prepare_cached("UPDATE seen SET at = ?2, sum = ?3 WHERE id = ?1")?.execute(params![
            id,
            at,
            sum(at, &records)
        ])?;
        last = id;
    }
    Ok(())
}

/// When an item was accepted, by the journal's clock at the latest: the wall clock, which dates
/// items, may have been set back since, or before.
fn dated(accepted: u64) -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    accepted.max(accepted.saturating_add_signed(super::now().cast_signed().wrapping_sub(wall.cast_signed())))
}

/// The keys of a transaction that is not committed yet.
#[derive(Default)]
pub(super) struct Fresh(HashMap<Key, u32>);

impl Seen {
    /// Reads what the window still holds.
    pub(super) fn load(
        connection: &Connection,
        window: Duration,
        bound: usize,
        now: u64,
    ) -> rusqlite::Result<Self> {
        let mut seen = Self {
            window,
            bound,
            lanes_of: HashMap::new(),
            commits: VecDeque::new(),
            next: 1,
            forgotten: None,
        };
        let mut statement = connection.prepare("SELECT id, at, keys FROM seen ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let keys = records(row.get_ref(2)?.as_blob()?).collect();
            seen.remember(row.get(0)?, row.get(1)?, keys);
        }
        seen.forget(now);
        Ok(seen)
    }

    /// The lanes of a set that have not had the key, or none if all had it.
    pub(super) fn remaining(
        &self,
        fresh: &mut Fresh,
        targets: &mut Targets<'_>,
        key: Key,
        lanes: &Arc<[LaneId]>,
    ) -> rusqlite::Result<Option<Arc<[LaneId]>>> {
        if self.window.is_zero() || self.bound == 0 {
            return Ok(Some(Arc::clone(lanes)));
        }
        let Some(had) = self.had(fresh, targets, key) else {
            fresh.0.insert(key, targets.id(lanes)? as u32);
            return Ok(Some(Arc::clone(lanes)));
        };
        let new: Arc<[LaneId]> = lanes.iter().filter(|lane| !had.contains(lane)).copied().collect();
        if new.is_empty() {
            return Ok(None);
        }
        let mut union: Vec<LaneId> = had.iter().chain(new.iter()).copied().collect();
        union.sort_unstable();
        fresh.0.insert(key, targets.id(&union)? as u32);
        Ok(Some(new))
    }

    /// The lanes that had a key, by this transaction or before it.
    fn had(&self, fresh: &Fresh, targets: &Targets<'_>, key: Key) -> Option<Arc<[LaneId]>> {
        let had = fresh.0.get(&key).or_else(|| self.lanes_of.get(&key).map(|(target, _)| target));
        had.and_then(|id| targets.lanes(i64::from(*id)))
    }

    /// Takes a lane out of those that had a key, by an item of that moment. One that was
    /// accepted again after the window is another item's key, which the lane may have stored.
    pub(super) fn take_out(
        &self,
        fresh: &mut Fresh,
        targets: &mut Targets<'_>,
        (key, accepted): (Key, u64),
        lane: LaneId,
    ) -> rusqlite::Result<()> {
        let newest = self.lanes_of.get(&key).and_then(|(_, commit)| self.commit(*commit));
        if newest.is_some_and(|commit| self.outdated_by(dated(accepted), commit.at)) {
            return Ok(());
        }
        let Some(had) = self.had(fresh, targets, key) else { return Ok(()) };
        let others: Vec<LaneId> = had.iter().filter(|other| **other != lane).copied().collect();
        fresh.0.insert(key, targets.id(&others)? as u32);
        Ok(())
    }

    /// Writes the keys of a transaction, and removes those that are too old.
    pub(super) fn write(
        &self,
        transaction: &Transaction<'_>,
        fresh: &Fresh,
        now: u64,
    ) -> rusqlite::Result<Option<i64>> {
        let outdated = self.commits.iter().take_while(|commit| self.outdated(commit, now)).last();
        if let Some(through) = outdated.map(|commit| commit.id).max(self.forgotten) {
            transaction.prepare_cached("DELETE FROM seen WHERE id <= ?1")?.execute([through])?;
        }
        if fresh.0.is_empty() {
            return Ok(None);
        }
        let mut records = Vec::with_capacity(fresh.0.len() * RECORD);
        for (key, target) in &fresh.0 {
            records.extend(key.0);
            records.extend(target.to_le_bytes());
        }
        transaction
            .prepare_cached("INSERT INTO seen (id, at, keys, sum) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.next, now, records, sum(now, &records)])?;
        Ok(Some(self.next))
    }

    /// After the commit that [`write`](Self::write) was part of.
    pub(super) fn committed(&mut self, id: Option<i64>, fresh: Fresh, now: u64) {
        self.forgotten = None;
        if let Some(id) = id {
            self.remember(id, now, fresh.0.into_iter().collect());
        }
        self.forget(now);
    }

    fn remember(&mut self, id: i64, at: u64, records: Vec<(Key, u32)>) {
        self.next = id + 1;
        self.commits.push_back(Commit { id, at, keys: records.iter().map(|(key, _)| *key).collect() });
        self.lanes_of.extend(records.into_iter().map(|(key, target)| (key, (target, id))));
    }

    fn commit(&self, id: i64) -> Option<&Commit> {
        let at = self.commits.binary_search_by_key(&id, |commit| commit.id).ok()?;
        self.commits.get(at)
    }

    /// Nothing that is too old by then is a copy's any more. A key that was seen again, for
    /// other lanes, goes with its newest commit.
    pub(super) fn forget(&mut self, now: u64) {
        while let Some(commit) = self.commits.front() {
            if !self.outdated(commit, now) && self.lanes_of.len() <= self.bound {
                break;
            }
            for key in &commit.keys {
                if self.lanes_of.get(key).is_some_and(|(_, newest)| *newest == commit.id) {
                    self.lanes_of.remove(key);
                }
            }
            self.forgotten = Some(commit.id);
            self.commits.pop_front();
        }
        // A burst leaves a table that is mostly empty.
        if self.lanes_of.len() * 4 < self.lanes_of.capacity() {
            self.lanes_of.shrink_to(self.lanes_of.len() * 2);
        }
    }

    /// A clock that was set back makes nothing outdated.
    fn outdated(&self, commit: &Commit, now: u64) -> bool {
        self.outdated_by(commit.at, now)
    }

    fn outdated_by(&self, at: u64, now: u64) -> bool {
        u128::from(now.saturating_sub(at)) > self.window.as_millis()
    }
}
