//! A new journal of what can be read of a damaged one.
//!
//! Works on a copy, and changes nothing before the new journal is whole on disk; the
//! damaged files stay beside it. What is saved is delivered again from where its lane
//! can be shown to be, and says `redelivered`: rather twice than not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::mark::Mark;
use super::schema::{self, TABLES};
use super::sum::Sum;
use super::{OpenError, Seq, wal};

const DATABASE: &str = "journal.db";
/// The new one, until it is in its place.
const NEW: &str = "new.db";

/// What every database of the host begins with, up to the first number that changes
/// (<https://www.sqlite.org/fileformat2.html#the_database_header>): pages of 4096 bytes,
/// in write-ahead mode.
const BEGIN: &[u8; 24] = b"SQLite format 3\0\x10\0\x02\x02\0\x40\x20\x20";

/// Where the number of pages stands. With 0 there, as many as the file has are read; SQLite
/// reads nothing of a file that has fewer than it says.
const PAGES: u64 = 28;

/// There will not be more: a greater number is damage.
const LAST_LAYOUT: i64 = 1000;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Rescued {
    pub(crate) items: u64,
    pub(crate) dead: u64,
    /// What is missing, and for whom; empty where nothing is.
    pub(crate) missing: Vec<String>,
    /// Where the damaged journal is now.
    pub(crate) kept: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RescueError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot write beside the journal in `{}`: {error}\n  hint: nothing was changed", path.display())]
    Files { path: PathBuf, error: io::Error },
    #[error(
        "the journal in `{}` cannot be read at all: {error}\n  hint: nothing was changed; move `journal.db` and \
         `journal.db-wal` away to begin with an empty one",
        path.display()
    )]
    Unreadable { path: PathBuf, error: rusqlite::Error },
    #[error("the new journal in `{}` could not be written: {error}\n  hint: nothing was changed", path.display())]
    New { path: PathBuf, error: rusqlite::Error },
}

/// Makes a new journal in the directory of a damaged one, which no host may be using.
pub(crate) fn rescue(directory: &Path) -> Result<Rescued, RescueError> {
    let _lock = schema::lock(directory)?;
    let files = |error| RescueError::Files { path: directory.to_owned(), error };
    let work = directory.join("rescue");
    put_back(directory, &work).map_err(files)?;
    let copy = copied(directory, &work).map_err(files)?;
    if let Some(found) = newer_layout(&copy) {
        fs::remove_dir_all(&work).map_err(files)?;
        let path = directory.join(DATABASE);
        return Err(OpenError::Newer { path, found, known: schema::LAYOUT }.into());
    }
    mend(&copy).map_err(files)?;
    let unreadable = |error| RescueError::Unreadable { path: directory.to_owned(), error };
    let damaged = Connection::open(&copy).map_err(unreadable)?;
    let end = Mark::open(directory).map_err(files)?.get();
    let found = Found::read(&damaged, end).map_err(unreadable)?;
    let new = work.join(NEW);
    let written = found.write(&damaged, &new);
    let written = written.map_err(|error| RescueError::New { path: directory.to_owned(), error })?;
    let kept = swap(directory, &work, &new).map_err(files)?;
    Ok(Rescued { items: written.items, dead: written.dead, missing: written.missing, kept })
}

fn copied(directory: &Path, work: &Path) -> io::Result<PathBuf> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    fs::create_dir(work)?;
    let (original, copy) = (directory.join(DATABASE), work.join(DATABASE));
    fs::copy(&original, &copy)?;
    let log = wal::path_of(&original);
    if log.exists() {
        fs::copy(log, wal::path_of(&copy))?;
    }
    Ok(copy)
}

/// The layout of a journal that a newer host wrote, and that is not damaged: it is that host's to
/// read. Where it is damaged, what says so may be the damage.
fn newer_layout(copy: &Path) -> Option<i64> {
    let connection = Connection::open(copy).ok()?;
    // The log is needed as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok()?;
    let newer = schema::LAYOUT + 1..=LAST_LAYOUT;
    let found = schema::layout(&connection).ok().filter(|found| newer.contains(found))?;
    let check = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    (check.ok()? == "ok").then_some(found)
}

/// Makes as much as possible of a copy readable.
fn mend(copy: &Path) -> io::Result<()> {
    wal::mend(copy)?;
    let header = OpenOptions::new().write(true).open(copy)?;
    header.write_all_at(BEGIN, 0)?;
    header.write_all_at(&[0; 4], PAGES)
}

/// Puts the damaged files into a directory of their own and the new one in their place.
fn swap(directory: &Path, work: &Path, new: &Path) -> io::Result<PathBuf> {
    File::open(new)?.sync_all()?;
    let kept = (1..).map(|number| numbered(directory, number)).find(|path| !path.exists());
    let kept = kept.unwrap_or_else(|| directory.join("damaged"));
    fs::create_dir(&kept)?;
    for (from, to) in steps(directory, &kept, new).iter().filter(|(from, _)| from.exists()) {
        fs::rename(from, to)?;
    }
    File::open(directory)?.sync_all()?;
    fs::remove_dir_all(work)?;
    Ok(kept)
}

/// The moves of a [`swap`], in their order. Until the new one is in its place, a host that
/// starts refuses to: the mark says that something was acknowledged, and goes last.
pub(super) fn steps(directory: &Path, kept: &Path, new: &Path) -> [(PathBuf, PathBuf); 4] {
    let [from, to] = [directory, kept].map(|directory| directory.join(DATABASE));
    [
        (from.clone(), to.clone()),
        (wal::path_of(&from), wal::path_of(&to)),
        (new.to_owned(), from),
        (directory.join("acknowledged"), kept.join("acknowledged")),
    ]
}

fn numbered(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("damaged-{number}"))
}

/// One that was broken off when the damaged files were away and the new one was not yet in
/// their place begins anew: they go back.
fn put_back(directory: &Path, work: &Path) -> io::Result<()> {
    let new = work.join(NEW);
    if directory.join(DATABASE).exists() || !new.exists() {
        return Ok(());
    }
    let kept = (1..).map(|number| numbered(directory, number)).take_while(|path| path.exists()).last();
    if let Some(kept) = kept {
        // The database last: without it this is done once more.
        let [database, log, ..] = steps(directory, &kept, &new);
        for (to, from) in [log, database].iter().filter(|(_, from)| from.exists()) {
            fs::rename(from, to)?;
        }
        fs::remove_dir(&kept)?;
    }
    Ok(())
}

/// What is needed to read the rest: the lanes, and the sets of them.
struct Found {
    lanes: BTreeMap<i64, Lane>,
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

struct Written {
    items: u64,
    dead: u64,
    missing: Vec<String>,
}

impl Found {
    fn read(damaged: &Connection, end: Option<Seq>) -> rusqlite::Result<Self> {
        let mut lanes = BTreeMap::new();
        let mut rows = damaged.prepare("SELECT id, name, cursor, pending, settlements, sum FROM lanes")?;
        let mut rows = rows.query([])?;
        while let Ok(Some(row)) = rows.next() {
            let whole = Sum::fits(row, 5).unwrap_or(false);
            let (Ok(id), Ok(name)) = (row.get(0), row.get(1)) else { continue };
            let cursor = if whole { row.get(2)? } else { 0 };
            let pending = if whole { Some(row.get(3)?) } else { None };
            lanes.insert(id, Lane { name, cursor, pending, saved: 0 });
        }
        let mut targets = BTreeMap::new();
        let mut rows = damaged.prepare("SELECT id, lanes, sum FROM targets")?;
        let mut rows = rows.query([])?;
        while let Ok(Some(row)) = rows.next() {
            if Sum::fits(row, 2).unwrap_or(false) {
                let members: String = row.get(1)?;
                targets.insert(row.get(0)?, serde_json::from_str(&members).unwrap_or_default());
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

    fn write(mut self, damaged: &Connection, path: &Path) -> rusqlite::Result<Written> {
        let new = schema::open(path).map_err(|error| match error {
            OpenError::Database { error, .. } => error,
            other => rusqlite::Error::ToSqlConversionFailure(other.into()),
        })?;
        let transaction = new.unchecked_transaction()?;
        let mut missing = Vec::new();
        let held = rows_of(damaged, "held", &mut missing);
        let dead = rows_of(damaged, "dead", &mut missing);
        let held: Vec<_> =
            held.into_iter().filter(|row| self.lanes.contains_key(&integer(&row[0]))).collect();
        let everyone: Vec<i64> = self.lanes.keys().copied().collect();
        // A set of lanes is there once.
        let known = self.targets.iter().find(|(_, members)| **members == everyone).map(|(id, _)| *id);
        let unknown = known.unwrap_or_else(|| self.targets.keys().max().map_or(1, |most| most + 1));
        let mut items = 0;
        let mut newest = None;
        let mut saved = BTreeSet::new();
        let held_places: BTreeSet<i64> = held.iter().map(|row| integer(&row[1])).collect();
        read_range(damaged, self.first, self.last, &mut |row| {
            let (seq, target): (Seq, i64) = (row.get(0)?, row.get(3)?);
            newest = Some(seq);
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
                let (kind, accepted, body): (i64, u64, String) = (row.get(1)?, row.get(2)?, row.get(4)?);
                let sum = super::book::item_sum(seq, kind, accepted, target, &body);
                transaction.execute(
                    "INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![seq, kind, accepted, target, body, sum],
                )?;
                saved.insert(seq.cast_signed());
                items += 1;
            }
            Ok(())
        })?;
        let reached = self.lanes.values().map(|lane| lane.cursor).chain(newest).max().unwrap_or(0);
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
        let unknown = self.targets.values().flatten().filter(|id| !self.lanes.contains_key(id));
        for id in unknown.collect::<BTreeSet<_>>() {
            missing.push(format!("the lane {id} cannot be read; what was pending for it is lost"));
        }
        for row in &dead {
            insert(&transaction, "dead", row)?;
        }
        self.write_lanes(&transaction, &mut missing)?;
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
    let statement = format!("INSERT OR IGNORE INTO {table} ({columns}, sum) VALUES ({})", places.join(", "));
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
/// range is halved until what cannot be read is alone.
fn read_range(
    damaged: &Connection,
    first: Seq,
    last: Seq,
    take: &mut impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut ranges = vec![(first, last)];
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
                            take(row)?;
                        }
                    }
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            }
        };
        if failed && next < last {
            let middle = next + (last - next) / 2;
            ranges.push((middle + 1, last));
            ranges.push((next, middle));
        }
    }
    Ok(())
}
