//! Reading items back from the disk, for lanes that are behind.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::dead::{self, DeadFilter, KeptDeadLetter, SetAside, WholeDeadLetter};
use super::entry::Filling;
use super::sum::Sum;
use super::{Entry, JournalError, KeptLane, LaneId, Seq, Window, weight};
use crate::items::{self, Key, Kind};

/// A connection of its own: in SQLite's WAL mode, reading does not wait for the
/// writer nor hold it up.
pub(super) struct Reader {
    path: PathBuf,
    /// None where the journal could not be opened again.
    connection: Mutex<Option<Connection>>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self { path: path.to_owned(), connection: Mutex::new(Some(connect(path)?)) })
    }

    fn connection(&self) -> rusqlite::Result<MappedMutexGuard<'_, Connection>> {
        let mut place = self.connection.lock();
        let connection = place.take().map_or_else(|| connect(&self.path), Ok)?;
        Ok(MutexGuard::map(place, |place| place.insert(connection)))
    }

    /// Lets go of the database while others put another in its place. Nobody reads meanwhile;
    /// who reads next opens what is there then.
    pub(super) fn let_go<T>(&self, change: impl FnOnce() -> T) -> T {
        let mut connection = self.connection.lock();
        *connection = None;
        change()
    }

    /// As [`super::Journal::next`].
    pub(super) fn next(
        &self,
        lane: LaneId,
        after: Seq,
        head: Seq,
        count: usize,
        bytes: usize,
    ) -> Result<Window, JournalError> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(
            "SELECT seq, kind, accepted, target, body, sum FROM items
             WHERE seq > ?1 AND seq <= ?2 AND target IN
                 (SELECT targets.id FROM targets, json_each(targets.lanes) AS lane WHERE lane.value = ?3)
             ORDER BY seq",
        )?;
        let mut rows = statement.query(params![after, head, lane.0])?;
        let mut filling = Filling::new(after, head, count, bytes);
        while let Some(row) = rows.next()? {
            let entry = match entry(row, lane) {
                // What is in front of one that cannot be read is delivered first.
                Err(_) if !filling.is_empty() => return Ok(filling.cut()),
                entry => entry?,
            };
            if !filling.take(&Arc::new(entry)) {
                return Ok(filling.cut());
            }
        }
        Ok(filling.whole())
    }

    /// As [`super::Journal::entries`].
    pub(super) fn entries(
        &self,
        lane: LaneId,
        seqs: &[Seq],
        bytes: usize,
    ) -> Result<Vec<Arc<Entry>>, JournalError> {
        let connection = self.connection()?;
        let mut statement = connection
            .prepare_cached("SELECT seq, kind, accepted, target, body, sum FROM items WHERE seq = ?1")?;
        let mut entries = Vec::with_capacity(seqs.len());
        let mut taken = 0;
        for seq in seqs {
            let mut rows = statement.query([seq])?;
            if let Some(row) = rows.next()? {
                let entry = entry(row, lane)?;
                taken += entry.item.text().len();
                if taken > bytes && !entries.is_empty() {
                    break;
                }
                entries.push(Arc::new(entry));
            }
        }
        Ok(entries)
    }

    /// As [`super::Journal::dead_letters`].
    pub(super) fn dead_letters(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Vec<KeptDeadLetter>, JournalError> {
        dead::list(&*self.connection()?, filter, limit)
    }

    /// As [`super::Journal::dead_letter`].
    pub(super) fn dead_letter(&self, id: i64) -> Result<Option<WholeDeadLetter>, JournalError> {
        dead::whole(&*self.connection()?, id)
    }

    /// As [`super::Journal::dead_ids`].
    pub(super) fn dead_ids(&self, filter: &DeadFilter, limit: usize) -> Result<Vec<i64>, JournalError> {
        dead::ids(&*self.connection()?, filter, limit)
    }

    /// As [`super::Journal::replay_of`]: the ids.
    pub(super) fn dead_of(&self, lane: LaneId, seqs: &[Seq]) -> Result<Vec<Vec<i64>>, JournalError> {
        dead::of(&*self.connection()?, lane, seqs)
    }

    /// As [`super::Journal::set_aside`].
    pub(super) fn set_aside(
        &self,
        lane: LaneId,
        seqs: &RangeInclusive<Seq>,
        keys: &HashSet<Key>,
        most: usize,
    ) -> Result<SetAside, JournalError> {
        dead::aside(&*self.connection()?, lane, seqs, keys, most)
    }

    /// As [`super::Journal::knows_lane`].
    pub(super) fn knows_lane(&self, name: &str) -> Result<bool, JournalError> {
        let connection = self.connection()?;
        let known = "SELECT EXISTS (SELECT 1 FROM lanes WHERE name = ?1)";
        Ok(connection.prepare_cached(known)?.query_row([name], |row| row.get(0))?)
    }

    /// As [`super::Journal::kept_lanes`].
    pub(super) fn kept_lanes(&self) -> Result<Vec<KeptLane>, JournalError> {
        let connection = self.connection()?;
        let mut statement = connection.prepare_cached(
            "SELECT name, id, pending FROM lanes
             WHERE pending > 0 OR EXISTS (SELECT 1 FROM dead WHERE dead.lane = lanes.id) ORDER BY name",
        )?;
        let lanes = statement.query_map([], |row| {
            Ok(KeptLane { name: row.get(0)?, id: LaneId(row.get(1)?), pending: row.get(2)? })
        })?;
        Ok(lanes.collect::<Result<_, _>>()?)
    }

    /// As [`super::Journal::kept_bytes`].
    pub(super) fn kept_bytes(&self, lanes: &[LaneId]) -> Result<HashMap<LaneId, u64>, JournalError> {
        weight::of_lanes(&*self.connection()?, lanes)
    }

    /// As [`super::Journal::dead_count`].
    pub(super) fn dead_count(&self, lane: LaneId) -> Result<u64, JournalError> {
        Ok(dead::count(&*self.connection()?, lane)?)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute_batch("PRAGMA busy_timeout = 10000; PRAGMA cache_size = -8192;")?;
    // Whoever closes last would move the log; that is the writer's to do.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// The item of a whole row.
fn entry(row: &Row<'_>, lane: LaneId) -> Result<Entry, JournalError> {
    let seq = row.get(0)?;
    let broken = |reason: String| JournalError::Item { seq, reason };
    if !Sum::fits(row, 5)? {
        return Err(broken("its checksum does not fit: it is damaged".to_owned()));
    }
    let code: i64 = row.get(1)?;
    let kind = Kind::from_code(code).ok_or_else(|| broken(format!("its kind is {code}")))?;
    let body = row.get_ref(4)?;
    let body = body.as_str().map_err(|error| broken(error.to_string()))?;
    // A job id was assigned, if at all, before the item was written.
    let item = items::parse(kind, body, String::new).map_err(|invalid| broken(invalid.to_string()))?;
    Ok(Entry { seq, accepted: row.get(2)?, item, lanes: Arc::from([lane]) })
}
