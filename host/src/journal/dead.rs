//! Dead letters: listing them, handing them back to their lane, removing them.
//!
//! A dead letter that is replayed is a held item of its lane again, at its old place;
//! both change in one transaction, so it is never in both and never in neither.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::book::{self, Book, Targets};
use super::seen::Fresh;
use super::sum::Sum;
use super::{Held, JournalError, LaneId, Seq, held, now};
use crate::items::{self, Item, Key, Kind};

/// Which dead letters: those that fit all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeadFilter {
    pub(crate) returner: Option<String>,
    /// Words of the reason.
    pub(crate) reason: Option<String>,
    /// Rejected before, or since, these moments, in milliseconds since 1970-01-01 UTC.
    pub(crate) before: Option<u64>,
    pub(crate) since: Option<u64>,
    /// With a greater id than this.
    pub(crate) after: i64,
    /// Only these; empty for all.
    pub(crate) ids: Vec<i64>,
}

/// What of some items is not stored though their lane has passed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SetAside {
    /// To be tried again on its own.
    pub(crate) held: bool,
    /// A dead letter.
    pub(crate) rejected: bool,
}

/// Dead letters that one transaction changes. Whoever waits for an acknowledgement waits for its
/// end, and they may be large.
#[derive(Debug, Default)]
struct Portion {
    ids: Vec<i64>,
    bytes: u64,
}

impl Portion {
    /// So many, of so many bytes; but at least one.
    const MOST: usize = 500;
    const BYTES: u64 = 4 << 20;

    /// Whether it has a place for one more.
    fn add(&mut self, id: i64, bytes: u64) -> bool {
        let is_full = self.ids.len() >= Self::MOST || self.bytes + bytes > Self::BYTES;
        if is_full && !self.ids.is_empty() {
            return false;
        }
        self.ids.push(id);
        self.bytes += bytes;
        true
    }
}

/// A dead letter as the journal keeps it.
#[derive(Debug)]
pub(crate) struct KeptDeadLetter {
    pub(crate) id: i64,
    pub(crate) returner: String,
    pub(crate) accepted: u64,
    pub(crate) kind: Kind,
    /// Names the item.
    pub(crate) title: String,
    pub(crate) reason: String,
    pub(crate) plugin: String,
    pub(crate) tries: u32,
    pub(crate) at: u64,
}

/// One of them, with all that is kept of it.
#[derive(Debug)]
pub(crate) struct WholeDeadLetter {
    pub(crate) letter: KeptDeadLetter,
    /// The item, as Salt sent it.
    pub(crate) body: String,
    pub(crate) stderr: String,
}

const COLUMNS: &str = "dead.lane, dead.seq, dead.kind, dead.accepted, dead.body, dead.reason, dead.plugin,
    dead.stderr, dead.tries, dead.at, dead.sum, dead.id, lanes.name";

/// The one of this id.
pub(super) fn whole(connection: &Connection, id: i64) -> Result<Option<WholeDeadLetter>, JournalError> {
    let filter = DeadFilter { ids: vec![id], ..DeadFilter::default() };
    let read = |row: &Row<'_>| {
        Ok(Some(WholeDeadLetter { letter: letter(row)?, body: row.get(4)?, stderr: row.get(7)? }))
    };
    Ok(select(connection, COLUMNS, &filter, 1, read)?.pop())
}

/// The oldest dead letters that fit, at most so many. Their items may be large: none of
/// them is kept longer than it takes to name it.
pub(super) fn list(
    connection: &Connection,
    filter: &DeadFilter,
    limit: usize,
) -> Result<Vec<KeptDeadLetter>, JournalError> {
    select(connection, COLUMNS, filter, limit, |row| letter(row).map(Some))
}

/// The ids of the oldest that fit, at most so many and no more than one transaction changes: also
/// of those that cannot be read any more.
pub(super) fn ids(
    connection: &Connection,
    filter: &DeadFilter,
    limit: usize,
) -> Result<Vec<i64>, JournalError> {
    let mut portion = Portion::default();
    select(connection, "dead.id, octet_length(dead.body)", filter, limit, |row| {
        let id = row.get(0)?;
        Ok(portion.add(id, row.get(1)?).then_some(id))
    })
}

/// The ids of those that a lane made of these items, in parts that one transaction changes each.
pub(super) fn of(connection: &Connection, lane: LaneId, seqs: &[Seq]) -> Result<Vec<Vec<i64>>, JournalError> {
    let seqs = serde_json::json!(seqs).to_string();
    let mut statement = connection.prepare_cached(
        "SELECT id, octet_length(body) FROM dead WHERE lane = ?1 AND seq IN (SELECT value FROM json_each(?2))",
    )?;
    let mut rows = statement.query(params![lane.0, seqs])?;
    let (mut parts, mut portion) = (Vec::new(), Portion::default());
    while let Some(row) = rows.next()? {
        let (id, bytes) = (row.get(0)?, row.get(1)?);
        if !portion.add(id, bytes) {
            parts.push(std::mem::take(&mut portion).ids);
            portion.add(id, bytes);
        }
    }
    if !portion.ids.is_empty() {
        parts.push(portion.ids);
    }
    Ok(parts)
}

/// Which of these items a lane has set aside: those at these places, and earlier ones that these
/// keys repeat. One look at both tables: what moves from one to the other is in either.
///
/// At most so many of each, the newest ones, are compared by their keys: beyond that nobody knows,
/// and what is not known to be stored counts as held.
pub(super) fn aside(
    connection: &Connection,
    lane: LaneId,
    seqs: &RangeInclusive<Seq>,
    keys: &HashSet<Key>,
    most: usize,
) -> Result<SetAside, JournalError> {
    const HELD: &str = "SELECT kind, body FROM held JOIN items ON items.seq = held.seq
         WHERE held.lane = ?1 ORDER BY held.seq DESC LIMIT ?2";
    const DEAD: &str = "SELECT kind, body FROM dead WHERE lane = ?1 ORDER BY id DESC LIMIT ?2";
    let look = connection.unchecked_transaction()?;
    let is_in = |table: &str| -> Result<bool, JournalError> {
        let at = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE lane = ?1 AND seq BETWEEN ?2 AND ?3)");
        Ok(look
            .prepare_cached(&at)?
            .query_row(params![lane.0, seqs.start(), seqs.end()], |row| row.get(0))?)
    };
    let mut aside = SetAside { held: is_in("held")?, rejected: is_in("dead")? };
    if !keys.is_empty() {
        let (held, all_held) = has_one(&look, HELD, lane, keys, most)?;
        let (rejected, all_dead) = has_one(&look, DEAD, lane, keys, most)?;
        aside.rejected |= rejected;
        aside.held |= held || (!rejected && !(all_held && all_dead));
    }
    Ok(aside)
}

/// The most that is read for it: lanes that are behind wait meanwhile.
const MOST_BYTES: usize = 32 << 20;

/// Whether an item has one of the keys, and whether that is known of all of them. What cannot
/// be read is passed over.
fn has_one(
    connection: &Connection,
    select: &str,
    lane: LaneId,
    keys: &HashSet<Key>,
    most: usize,
) -> Result<(bool, bool), JournalError> {
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(params![lane.0, most + 1])?;
    let (mut compared, mut bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        let (kind, body) = (Kind::from_code(row.get(0)?), row.get_ref(1)?.as_str());
        bytes += body.as_ref().map_or(0, |body| body.len());
        if bytes > MOST_BYTES {
            return Ok((false, false));
        }
        if let (Some(kind), Ok(body)) = (kind, body) {
            let key = items::parse(kind, body, String::new).ok().and_then(|item| item.dedupe_key());
            if key.is_some_and(|key| keys.contains(&key)) {
                return Ok((true, true));
            }
        }
        compared += 1;
    }
    Ok((false, compared <= most))
}

/// At most so many, up to the first of which `read` makes nothing.
fn select<T>(
    connection: &Connection,
    columns: &str,
    filter: &DeadFilter,
    limit: usize,
    mut read: impl FnMut(&Row<'_>) -> Result<Option<T>, JournalError>,
) -> Result<Vec<T>, JournalError> {
    let ids = serde_json::json!(filter.ids).to_string();
    let all = filter.ids.is_empty();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {columns} FROM dead LEFT JOIN lanes ON lanes.id = dead.lane
         WHERE dead.id > ?1 AND (?2 OR dead.id IN (SELECT value FROM json_each(?3)))
           AND (?4 IS NULL OR lanes.name = ?4) AND (?5 IS NULL OR instr(dead.reason, ?5) > 0)
           AND (?6 IS NULL OR dead.at < ?6) AND (?7 IS NULL OR dead.at >= ?7)
         ORDER BY dead.id LIMIT ?8"
    ))?;
    let DeadFilter { returner, reason, before, since, after, .. } = filter;
    let parameters: [&dyn ToSql; 8] = [after, &all, &ids, returner, reason, before, since, &limit];
    let mut rows = statement.query(&parameters[..])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(one) = read(row)? else { break };
        found.push(one);
    }
    Ok(found)
}

fn letter(row: &Row<'_>) -> Result<KeptDeadLetter, JournalError> {
    let (seq, id) = (row.get(1)?, row.get(11)?);
    let broken = |reason: String| JournalError::Item { seq, reason };
    if !Sum::fits(row, 10)? {
        return Err(broken(format!("the checksum of the dead letter {id} does not fit")));
    }
    let code = row.get(2)?;
    let kind = Kind::from_code(code).ok_or_else(|| broken(format!("its kind is {code}")))?;
    let body = row.get_ref(4)?;
    let body = body.as_str().map_err(|error| broken(error.to_string()))?;
    let item = items::parse(kind, body, String::new).map_err(|invalid| broken(invalid.to_string()))?;
    Ok(KeptDeadLetter {
        id,
        // Of a lane that is no more.
        returner: row.get::<_, Option<String>>(12)?.unwrap_or_default(),
        accepted: row.get(3)?,
        kind,
        title: item.title(),
        reason: row.get(5)?,
        plugin: row.get(6)?,
        tries: row.get(8)?,
        at: row.get(9)?,
    })
}

pub(super) fn count(connection: &Connection, lane: LaneId) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM dead WHERE lane = ?1", [lane.0], |row| row.get(0))
}

/// Hands dead letters back to their lanes; gives what those hold now. An id that is not
/// there any more is left out.
pub(super) fn replay(
    connection: &mut Connection,
    book: &mut Book,
    ids: &[i64],
) -> rusqlite::Result<Vec<(LaneId, Held)>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut targets = Targets { transaction: &transaction, known: &mut book.targets };
    let mut replayed = Vec::new();
    for id in ids {
        let found = transaction
            .prepare_cached("SELECT lane, seq, kind, accepted, body, tries FROM dead WHERE id = ?1")?
            .query_row([id], |row| {
                let body: String = row.get(4)?;
                Ok((LaneId(row.get(0)?), row.get(1)?, row.get(2)?, row.get(3)?, body, row.get(5)?))
            })
            .optional()?;
        let Some((lane, seq, kind, accepted, body, tries)) = found else { continue };
        if !book.lanes.contains_key(&lane) {
            continue;
        }
        // It is still there where another lane has not settled it.
        let there: Option<String> = transaction
            .prepare_cached("SELECT body FROM items WHERE seq = ?1")?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        match there {
            Some(other) if other != body => {
                tracing::warn!("the dead letter {id} is not replayed: another item has its place {seq}");
                continue;
            }
            Some(_) => {}
            None => {
                let target = targets.id(&[lane])?;
                let sum = book::item_sum(seq, kind, accepted, target, &body);
                transaction
                    .prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute(params![seq, kind, accepted, target, body, sum])?;
            }
        }
        let again = again(seq, tries);
        held::hold(&transaction, lane, &again)?;
        transaction.prepare_cached("DELETE FROM dead WHERE id = ?1")?.execute([id])?;
        replayed.push((lane, again));
    }
    for (lane, _) in &replayed {
        if let Some(lane) = book.lanes.get_mut(lane) {
            lane.add_pending(1);
        }
    }
    for (id, lane) in &mut book.lanes {
        lane.write(&transaction, *id)?;
    }
    transaction.commit()?;
    Ok(replayed)
}

/// A plugin that trapped may have stored it, where it writes without a transaction.
fn again(seq: Seq, tries: u32) -> Held {
    Held { seq, tries, not_before: 0, reason: "replayed".into(), redelivered: true }
}

/// Removes dead letters for good; gives the lane of each that was there. What is sent again
/// afterwards is no duplicate for that lane: it has nothing of it.
pub(super) fn remove(
    connection: &mut Connection,
    book: &mut Book,
    ids: &[i64],
) -> rusqlite::Result<Vec<LaneId>> {
    let now = now();
    book.seen.forget(now);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut targets = Targets { transaction: &transaction, known: &mut book.targets };
    let mut fresh = Fresh::default();
    let mut removed = Vec::new();
    for id in ids {
        let found = transaction
            .prepare_cached("DELETE FROM dead WHERE id = ?1 RETURNING lane, kind, body, seq")?
            .query_row([id], |row| {
                Ok((LaneId(row.get(0)?), row.get(1)?, row.get::<_, String>(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((lane, kind, body, seq)) = found else { continue };
        removed.push(lane);
        // What cannot be read any more has no key.
        let item = Kind::from_code(kind).map(|kind| items::parse(kind, &body, String::new));
        if let Some(Ok(Item::Return(item))) = item {
            book.seen.take_out(&mut fresh, &mut targets, (item.key, seq), lane)?;
        }
    }
    let seen = book.seen.write(&transaction, &fresh, now, book.last)?;
    transaction.commit()?;
    book.seen.committed(seen, fresh, now);
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::{Bounds, DeadLetter, Journal, NewItem, Settlement};
    use crate::telemetry::JournalMetrics;

    /// Whoever waits for an acknowledgement does not wait for all of them.
    #[tokio::test]
    async fn large_dead_letters_are_changed_a_few_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let journal =
            Journal::open(directory.path(), Bounds::of_a_test(), JournalMetrics::default()).unwrap();
        let lane = journal.lane("a").await.unwrap().id;
        let new = |number: usize| {
            let value = "x".repeat(if number == 5 { 6 << 20 } else { 1 << 20 });
            let text = format!(r#"{{"jid":"{number}","id":"m","fun":"f","return":"{value}"}}"#);
            let item = items::parse(Kind::Return, &text, String::new).unwrap();
            NewItem { item, accepted: 1, lanes: Arc::from([lane]), dedupe: None }
        };
        journal.append((1..=10).map(new).collect()).await.unwrap();
        let entries = journal.next(lane, 0, 100, 100 << 20).await.unwrap().entries;
        let (reason, plugin, stderr) = ("r".to_owned(), "p".to_owned(), String::new());
        let letter = DeadLetter { entry: Arc::clone(&entries[0]), reason, plugin, stderr, tries: 1, at: 1 };
        let dead = entries.into_iter().map(|entry| DeadLetter { entry, ..letter.clone() }).collect();
        journal.settle(lane, Settlement { through: 10, settled: 10, dead, ..Settlement::default() }).unwrap();
        // Writes what was settled before.
        journal.lane("a").await.unwrap();
        let (mut parts, mut filter) = (Vec::new(), DeadFilter::default());
        loop {
            let ids = journal.dead_ids(filter.clone(), 500).await.unwrap();
            let Some(last) = ids.last() else { break };
            filter.after = *last;
            parts.push(ids.len());
        }
        assert_eq!(parts, [3, 1, 1, 3, 2], "by bytes; a large one is alone");
        let whole =
            of(&rusqlite::Connection::open(directory.path().join("journal.db")).unwrap(), lane, &[1, 5, 6]);
        assert_eq!(whole.unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        let held = journal.replay_of(lane, (1..=10).collect()).await.unwrap();
        assert_eq!(held.iter().map(|held| held.seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!((journal.depth(lane), journal.dead_count(lane).await.unwrap()), (10, 0));
    }

    #[test]
    fn small_ones_are_counted() {
        let mut portion = Portion::default();
        assert!((0..500).all(|id| portion.add(id, 1)) && !portion.add(500, 1));
    }
}
