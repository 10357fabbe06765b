//! The keys that were accepted within the window, and the lanes that had them.
//!
//! Keys are remembered by commit, as they are on disk, so that forgetting is by the
//! commit too: the window is exact to the time of one.
//!
//! # Invariants
//! - A commit has, of each of its keys, the lanes that got the item by it, and no others. So each
//!   lane's time begins when it got the item, whoever gets it later.
//! - A commit's number is at least the place of its last item, and greater than that of the commit
//!   before. So an item's key was forgotten if a commit of its place or a later one was: no clock
//!   has to tell, and a clock may be set.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::book::Targets;
use super::sum::Sum;
use super::{LaneId, Seq};
use crate::items::Key;

/// A key and the number of its set of lanes, as in the table `seen`.
const RECORD: usize = 20;

pub(super) struct Seen {
    window: Duration,
    bound: usize,
    /// Of each key the newest commit that has it.
    newest: HashMap<Key, Had>,
    /// Of the few that several lanes got one after the other: the commits before, oldest first.
    earlier: HashMap<Key, Vec<Had>>,
    commits: VecDeque<Commit>,
    /// The number of the newest commit, forgotten or not.
    last: i64,
    /// The number of the newest commit that was forgotten, and whether it is still on disk.
    forgotten: i64,
    outdated_on_disk: bool,
}

/// The number of a set of lanes that had a key by a commit.
#[derive(Clone, Copy)]
struct Had {
    target: u32,
    commit: i64,
}

struct Commit {
    id: i64,
    at: u64,
    keys: Vec<Key>,
}

pub(super) fn sum(at: u64, records: &[u8]) -> u32 {
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
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = (Key, u32)> {
    bytes
        .as_chunks::<RECORD>()
        .0
        .iter()
        .filter_map(|record| Some((Key(*record.first_chunk()?), u32::from_le_bytes(*record.last_chunk()?))))
}

pub(super) fn blob(keys: impl IntoIterator<Item = (Key, u32)>) -> Vec<u8> {
    keys.into_iter().flat_map(|(key, target)| key.0.into_iter().chain(target.to_le_bytes())).collect()
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

/// The keys of a transaction that is not committed yet.
#[derive(Default)]
pub(super) struct Fresh {
    keys: HashMap<Key, u32>,
    /// What earlier commits have of a key from now on.
    taken_out: Vec<(Key, Had)>,
}

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
            newest: HashMap::new(),
            earlier: HashMap::new(),
            commits: VecDeque::new(),
            last: 0,
            forgotten: 0,
            outdated_on_disk: false,
        };
        let mut statement = connection.prepare("SELECT id, at, keys FROM seen ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let keys: Vec<(Key, u32)> = records(row.get_ref(2)?.as_blob()?).collect();
            seen.remember(row.get(0)?, row.get(1)?, keys);
        }
        seen.forget(now);
        Ok(seen)
    }

    /// The number of the newest commit that has keys, forgotten or not.
    pub(super) fn newest_commit(&self) -> i64 {
        self.last
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
        let by_this = fresh.keys.get(&key).and_then(|target| targets.lanes(i64::from(*target)));
        let had: Vec<LaneId> = by_this.iter().flat_map(|lanes| lanes.iter().copied()).collect();
        let before: Vec<LaneId> = self.had(targets, key).flat_map(|(_, lanes)| lanes.to_vec()).collect();
        if had.is_empty() && before.is_empty() {
            fresh.keys.insert(key, targets.id(lanes)? as u32);
            return Ok(Some(Arc::clone(lanes)));
        }
        let is_new = |lane: &&LaneId| !had.contains(lane) && !before.contains(lane);
        let new: Arc<[LaneId]> = lanes.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            return Ok(None);
        }
        let mut by_this: Vec<LaneId> = had.iter().chain(new.iter()).copied().collect();
        by_this.sort_unstable();
        fresh.keys.insert(key, targets.id(&by_this)? as u32);
        Ok(Some(new))
    }

    /// The commits before this transaction that have a key, each with its lanes.
    fn had(&self, targets: &Targets<'_>, key: Key) -> impl Iterator<Item = (Had, Arc<[LaneId]>)> {
        let earlier = self.earlier.get(&key).into_iter().flatten();
        let all = earlier.chain(self.newest.get(&key)).copied();
        all.filter_map(|had| Some((had, targets.lanes(i64::from(had.target))?)))
    }

    /// Takes a lane out of those that had a key by the item of a place. Where that was forgotten
    /// the key is another item's, which was accepted since and which the lane may have stored.
    pub(super) fn take_out(
        &self,
        fresh: &mut Fresh,
        targets: &mut Targets<'_>,
        (key, seq): (Key, Seq),
        lane: LaneId,
    ) -> rusqlite::Result<()> {
        if seq.cast_signed() <= self.forgotten {
            return Ok(());
        }
        let by: Vec<(Had, Arc<[LaneId]>)> = self.had(targets, key).collect();
        for (had, lanes) in by.into_iter().filter(|(_, lanes)| lanes.contains(&lane)) {
            // Of what this transaction has taken out before.
            let is_same = |(known, taken): &&(Key, Had)| *known == key && taken.commit == had.commit;
            let lanes = match fresh.taken_out.iter().rfind(is_same) {
                Some((_, taken)) => targets.lanes(i64::from(taken.target)).unwrap_or(lanes),
                None => lanes,
            };
            let others: Vec<LaneId> = lanes.iter().filter(|other| **other != lane).copied().collect();
            let target = targets.id(&others)? as u32;
            fresh.taken_out.push((key, Had { target, commit: had.commit }));
        }
        Ok(())
    }

    /// Writes the keys of a transaction whose last item has this place, and removes those that are
    /// too old; gives the number of the commit, if it has any.
    pub(super) fn write(
        &self,
        transaction: &Transaction<'_>,
        fresh: &Fresh,
        now: u64,
        last: Seq,
    ) -> rusqlite::Result<Option<i64>> {
        if self.outdated_on_disk {
            transaction.prepare_cached("DELETE FROM seen WHERE id < ?1")?.execute([self.forgotten])?;
            // It tells the next start what was forgotten.
            transaction
                .prepare_cached("UPDATE seen SET at = 0, keys = x'', sum = ?2 WHERE id = ?1")?
                .execute(params![self.forgotten, sum(0, &[])])?;
        }
        let changed: HashSet<i64> = fresh.taken_out.iter().map(|(_, had)| had.commit).collect();
        for commit in self.commits.iter().filter(|commit| changed.contains(&commit.id)) {
            let mut keys: HashMap<Key, u32> =
                commit.keys.iter().filter_map(|key| Some((*key, self.of(*key, commit.id)?.target))).collect();
            let taken = fresh.taken_out.iter().filter(|(_, had)| had.commit == commit.id);
            keys.extend(taken.map(|(key, had)| (*key, had.target)));
            let records = blob(keys);
            transaction
                .prepare_cached("UPDATE seen SET keys = ?2, sum = ?3 WHERE id = ?1")?
                .execute(params![commit.id, records, sum(commit.at, &records)])?;
        }
        if fresh.keys.is_empty() {
            return Ok(None);
        }
        let (id, records) = (
            last.cast_signed().max(self.last + 1),
            blob(fresh.keys.iter().map(|(key, target)| (*key, *target))),
        );
        transaction
            .prepare_cached("INSERT INTO seen (id, at, keys, sum) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, now, records, sum(now, &records)])?;
        Ok(Some(id))
    }

    /// After the commit that [`write`](Self::write) was part of.
    pub(super) fn committed(&mut self, id: Option<i64>, fresh: Fresh, now: u64) {
        self.outdated_on_disk = false;
        for (key, had) in fresh.taken_out {
            let earlier = self.earlier.get_mut(&key).into_iter().flatten();
            let known = earlier.chain(self.newest.get_mut(&key));
            known.filter(|known| known.commit == had.commit).for_each(|known| *known = had);
        }
        if let Some(id) = id {
            self.remember(id, now, fresh.keys.into_iter().collect());
        }
        self.forget(now);
    }

    fn remember(&mut self, id: i64, at: u64, keys: Vec<(Key, u32)>) {
        self.last = id;
        self.commits.push_back(Commit { id, at, keys: keys.iter().map(|(key, _)| *key).collect() });
        for (key, target) in keys {
            if let Some(before) = self.newest.insert(key, Had { target, commit: id }) {
                self.earlier.entry(key).or_default().push(before);
            }
        }
    }

    /// What a commit has of a key.
    fn of(&self, key: Key, commit: i64) -> Option<Had> {
        let earlier = self.earlier.get(&key).into_iter().flatten();
        earlier.chain(self.newest.get(&key)).find(|had| had.commit == commit).copied()
    }

    /// Nothing that is too old by then is a copy's any more.
    pub(super) fn forget(&mut self, now: u64) {
        while let Some(commit) = self.commits.front() {
            if !self.outdated(commit, now) && self.newest.len() <= self.bound {
                break;
            }
            let Some(commit) = self.commits.pop_front() else { break };
            for key in &commit.keys {
                self.forget_of(*key, commit.id);
            }
            self.forgotten = commit.id;
            // One without keys tells it already.
            self.outdated_on_disk |= !commit.keys.is_empty();
        }
        // A burst leaves a table that is mostly empty.
        if self.newest.len() * 4 < self.newest.capacity() {
            self.newest.shrink_to(self.newest.len() * 2);
        }
    }

    fn forget_of(&mut self, key: Key, commit: i64) {
        if let Some(earlier) = self.earlier.get_mut(&key) {
            earlier.retain(|had| had.commit != commit);
            if earlier.is_empty() {
                self.earlier.remove(&key);
            }
        }
        if self.newest.get(&key).is_some_and(|had| had.commit == commit) {
            self.newest.remove(&key);
        }
    }

    /// A clock that was set back makes nothing outdated.
    fn outdated(&self, commit: &Commit, now: u64) -> bool {
        u128::from(now.saturating_sub(commit.at)) > self.window.as_millis()
    }
}
