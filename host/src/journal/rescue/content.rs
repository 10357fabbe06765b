//! What a damaged journal still says, and a new one of it.
//!
//! # Invariants
//! - A row counts only if its checksum fits. Of a lane whose row does not, its number and name are
//!   taken as they are, and nothing else.
//! - Every lane that an item is meant for is in the new journal, under another name if its own
//!   cannot be read or is another's: what it had is kept.
//! - Whatever is not in the new journal is named.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use rusqlite::{Connection, params, params_from_iter};

use super::keys::Keys;
use super::leaves;
use crate::journal::schema::{self, TABLES};
use crate::journal::sum::Sum;
use crate::journal::{OpenError, Seq, book};

/// What is needed to read the rest: the lanes, and the sets of them.
pub(super) struct Found {
    lanes: Lanes,
    targets: BTreeMap<i64, Vec<i64>>,
    first: Seq,
    last: Seq,
    /// The last place that was acknowledged.
    acknowledged: Seq,
}

struct Lane {
    name: String,
    cursor: Seq,
    /// As it says; none where its row is damaged.
    pending: Option<u64>,
    saved: u64,
}

type Lanes = BTreeMap<i64, Lane>;

/// What a lane is called whose row cannot be read.
const UNKNOWN: &str = "unknown";

/// A lane of which nobody knows how far it was.
fn add(lanes: &mut Lanes, id: i64, name: &str) {
    if lanes.contains_key(&id) {
        return;
    }
    let is_taken = |name: &str| lanes.values().any(|lane| lane.name == name);
    let others = (2..).map(|number| format!("{name}-{number}"));
    let name = std::iter::once(name.to_owned()).chain(others).find(|name| !is_taken(name));
    lanes.insert(id, Lane { name: name.unwrap_or_default(), cursor: 0, pending: None, saved: 0 });
}

impl Lane {
    fn has_lost(&self) -> bool {
        self.pending.is_none_or(|pending| pending > self.saved)
    }
}

/// An item as it stands in its row.
pub(super) struct Item {
    pub(super) seq: Seq,
    pub(super) kind: i64,
    pub(super) accepted: u64,
    pub(super) target: i64,
    pub(super) body: String,
}

/// Why rescuing ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    File(#[from] io::Error),
}

pub(super) struct Written {
    pub(super) items: u64,
    pub(super) dead: u64,
    pub(super) missing: Vec<String>,
}

impl Found {
    pub(super) fn read(damaged: &Connection, end: Option<Seq>) -> rusqlite::Result<Self> {
        let mut lanes = Lanes::default();
        let mut doubtful = Vec::new();
        let mut rows = damaged.prepare("SELECT id, name, cursor, pending, settlements, sum FROM lanes")?;
        let mut rows = rows.query([])?;
        while let Ok(Some(row)) = rows.next() {
            let whole = Sum::fits(row, 5).unwrap_or(false);
            let (Ok(id), Ok(name)) = (row.get(0), row.get(1)) else { continue };
            if whole {
                let (cursor, pending) = (row.get(2)?, Some(row.get(3)?));
                lanes.insert(id, Lane { name, cursor, pending, saved: 0 });
            } else {
                doubtful.push((id, name));
            }
        }
        // A name that is damaged may be another's, which is whole.
        for (id, name) in doubtful {
            add(&mut lanes, id, &name);
        }
        let mut targets = BTreeMap::new();
        let mut rows = damaged.prepare("SELECT id, lanes, sum FROM targets")?;
        let mut rows = rows.query([])?;
        while let Ok(Some(row)) = rows.next() {
            if Sum::fits(row, 2).unwrap_or(false) {
                let members: String = row.get(1)?;
                let members: Vec<i64> = serde_json::from_str(&members).unwrap_or_default();
                members.iter().for_each(|id| add(&mut lanes, *id, UNKNOWN));
                targets.insert(row.get(0)?, members);
            }
        }
        let bound = |order: &str| {
            let query = format!("SELECT seq FROM items ORDER BY seq {order} LIMIT 1");
            damaged.query_row(&query, [], |row| row.get::<_, Seq>(0)).ok()
        };
        let cursors: Vec<Seq> = lanes.values().map(|lane| lane.cursor).collect();
        let first = bound("ASC").unwrap_or_else(|| cursors.iter().copied().min().unwrap_or(0));
        let last = bound("DESC").into_iter().chain(cursors).chain(end).max().unwrap_or(0);
        Ok(Self { lanes, targets, first, last, acknowledged: end.unwrap_or(0) })
    }

    /// `copy` is the file of the damaged one.
    pub(super) fn write(
        mut self,
        damaged: &Connection,
        copy: &Path,
        path: &Path,
    ) -> rusqlite::Result<Written> {
        let new = schema::open(path).map_err(|error| match error {
            OpenError::Database { error, .. } => error,
            other => rusqlite::Error::ToSqlConversionFailure(other.into()),
        })?;
        let transaction = new.unchecked_transaction()?;
        let mut missing = Vec::new();
        let held = rows_of(damaged, "held", &mut missing);
        let named = missing.len();
        let dead = rows_of(damaged, "dead", &mut missing);
        let all_dead = missing.len() == named;
        held.iter().chain(&dead).for_each(|row| add(&mut self.lanes, integer(&row[0]), UNKNOWN));
        let everyone: Vec<i64> = self.lanes.keys().copied().collect();
        // A set of lanes is there once.
        let known = self.targets.iter().find(|(_, members)| **members == everyone).map(|(id, _)| *id);
        let unknown = known.unwrap_or_else(|| self.targets.keys().max().map_or(1, |most| most + 1));
        let mut items = 0;
        let mut newest: Option<Seq> = None;
        let mut saved = BTreeSet::new();
        let held_places: BTreeSet<i64> = held.iter().map(|row| integer(&row[1])).collect();
        let mut take = |Item { seq, kind, accepted, target, body }: Item| -> rusqlite::Result<()> {
            if saved.contains(&seq.cast_signed()) {
                return Ok(());
            }
            newest = newest.max(Some(seq));
            let target = if self.targets.contains_key(&target) { target } else { unknown };
            let members = self.targets.get(&target).unwrap_or(&everyone);
            let mut wanted = held_places.contains(&seq.cast_signed());
            for id in members {
                if let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.cursor < seq) {
                    lane.saved += 1;
                    wanted = true;
                }
            }
            if wanted {
                let sum = book::item_sum(seq, kind, accepted, target, &body);
                transaction.execute(
                    "INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![seq, kind, accepted, target, body, sum],
                )?;
                saved.insert(seq.cast_signed());
                items += 1;
            }
            Ok(())
        };
        if !read_range(damaged, self.first, self.last, &mut take)? {
            // What leads to some of them is damaged. Leaves are looked for in the file, so all of it
            // has to be there.
            let _ = schema::fold(damaged);
            leaves::scan(copy, &mut |item| take(item).map_err(Ended::from)).or_else(|ended| match ended {
                Ended::Database(error) => Err(error),
                Ended::File(error) => {
                    missing.push(format!("the items could not be looked for page by page: {error}"));
                    Ok(())
                }
            })?;
        }
        let aside = held.iter().chain(&dead).map(|row| integer(&row[1]).cast_unsigned());
        let cursors = self.lanes.values().map(|lane| lane.cursor);
        let reached = cursors.chain(newest).chain(aside).max().unwrap_or(0);
        if reached < self.acknowledged {
            let (lost, end) = (self.acknowledged - reached, self.acknowledged);
            missing.push(format!("the newest {lost} items, up to {end}, are lost; they were acknowledged"));
        }
        self.targets.insert(unknown, everyone);
        for row in held.iter().filter(|row| saved.contains(&integer(&row[1]))) {
            insert(&transaction, "held", row)?;
            if let Some(lane) = self.lanes.get_mut(&integer(&row[0])) {
                lane.saved += 1;
            }
        }
        for row in &dead {
            insert(&transaction, "dead", row)?;
        }
        let lost = self.lanes.iter().filter(|(_, lane)| !all_dead || lane.has_lost()).map(|(id, _)| *id);
        let keys = Keys::read(damaged);
        missing.extend(keys.write(&transaction, &mut self.targets, &lost.collect(), reached)?);
        self.write_lanes(&transaction, &mut missing)?;
        // What comes next has a place of its own, whatever of this was lost.
        book::keep_places(&transaction, reached.max(self.acknowledged))?;
        // Nobody knows what was delivered: all of it says so.
        schema::set_clean(&transaction, false)?;
        transaction.commit()?;
        schema::fold(&new)?;
        Ok(Written { items, dead: dead.len() as u64, missing })
    }

    fn write_lanes(&self, new: &Connection, missing: &mut Vec<String>) -> rusqlite::Result<()> {
        for (id, lane) in &self.lanes {
            let name = &lane.name;
            match lane.pending {
                Some(pending) if pending > lane.saved => {
                    missing.push(format!("{} of {pending} items of `{name}` are lost", pending - lane.saved));
                }
                Some(_) => {}
                None => missing.push(format!(
                    "it is not known how far `{name}` was: {} items are delivered again, and some may be lost",
                    lane.saved
                )),
            }
            let row = [
                (*id).into(),
                name.clone().into(),
                lane.cursor.cast_signed().into(),
                lane.saved.cast_signed().into(),
                0i64.into(),
            ];
            insert(new, "lanes", &row)?;
        }
        for (id, members) in &self.targets {
            let text = serde_json::json!(members).to_string();
            insert(new, "targets", &[(*id).into(), text.into()])?;
        }
        Ok(())
    }
}

type Value = rusqlite::types::Value;

fn integer(value: &Value) -> i64 {
    if let Value::Integer(value) = value { *value } else { 0 }
}

fn insert(connection: &Connection, table: &str, row: &[Value]) -> rusqlite::Result<()> {
    let columns = TABLES.iter().find(|(name, _)| *name == table).map_or("", |(_, columns)| columns);
    let sum = row.iter().fold(Sum::default(), |sum, value| sum.column(value.into())).value();
    let places: Vec<String> = (1..=row.len() + 1).map(|place| format!("?{place}")).collect();
    // What an index of the damaged one did not keep apart.
    let verb = if matches!(table, "held" | "dead") { "INSERT OR IGNORE" } else { "INSERT" };
    let statement = format!("{verb} INTO {table} ({columns}, sum) VALUES ({})", places.join(", "));
    let values = row.iter().cloned().chain([Value::Integer(sum.into())]);
    connection.execute(&statement, params_from_iter(values)).map(drop)
}

/// The whole rows of a small table; says where there are others.
fn rows_of(damaged: &Connection, table: &str, missing: &mut Vec<String>) -> Vec<Vec<Value>> {
    let columns = TABLES.iter().find(|(name, _)| *name == table).map_or("", |(_, columns)| columns);
    let count = columns.split(',').count();
    let mut whole = Vec::new();
    let mut bad = 0;
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = damaged.prepare(&format!("SELECT {columns}, sum FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if Sum::fits(row, count)? {
                let row: rusqlite::Result<Vec<Value>> = (0..count).map(|column| row.get(column)).collect();
                whole.push(row?);
            } else {
                bad += 1;
            }
        }
        Ok(())
    };
    if let Err(error) = read() {
        missing.push(format!("`{table}` could not be read to its end: {error}"));
    }
    if bad > 0 {
        missing.push(format!("{bad} rows of `{table}` are damaged and left out"));
    }
    whole
}

/// Hands over the items of a range that are whole, in order. Where reading fails, the
/// range is halved until what cannot be read is alone. Gives whether all of it could be read.
fn read_range(
    damaged: &Connection,
    first: Seq,
    last: Seq,
    take: &mut impl FnMut(Item) -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    let mut ranges = vec![(first, last)];
    let mut all = true;
    while let Some((first, last)) = ranges.pop() {
        let mut next = first;
        let failed = {
            let mut statement = damaged.prepare_cached(
                "SELECT seq, kind, accepted, target, body, sum FROM items WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
            )?;
            let mut rows = statement.query(params![first, last])?;
            loop {
                match rows.next() {
                    Ok(Some(row)) => {
                        next = row.get::<_, Seq>(0)?.max(next) + 1;
                        if Sum::fits(row, 5).unwrap_or(false) {
                            let [kind, target] = [row.get(1)?, row.get(3)?];
                            let (seq, accepted, body) = (row.get(0)?, row.get(2)?, row.get(4)?);
                            take(Item { seq, kind, accepted, target, body })?;
                        } else {
                            all = false;
                        }
                    }
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            }
        };
        all &= !failed;
        if failed && next < last {
            let middle = next + (last - next) / 2;
            ranges.push((middle + 1, last));
            ranges.push((next, middle));
        }
    }
    Ok(all)
}
