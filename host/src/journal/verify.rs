//! Whether a journal is whole, before anything is delivered from it.
//!
//! What is looked at, in the time that it takes to read what is pending:
//! - the write-ahead log, for frames that SQLite would silently leave out;
//! - the structure of the database, by SQLite's own check;
//! - what is in the indexes beside lanes and targets, which is read in the place of their rows;
//! - each row, by its checksum;
//! - each lane's number of pending items, by counting them;
//! - the end of the journal, by the place that was last acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rustix::fs::{Advice, fadvise};

use super::schema::TABLES;
use super::sum::Sum;
use super::{LaneId, Seq, book, wal};

/// The most that a report names of one kind.
const MOST_NAMED: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Empty for a journal that is whole.
    pub(crate) damage: Vec<String>,
    /// The items that can be read, as far as was looked.
    pub(crate) items: Option<u64>,
}

/// Looks at the write-ahead log, which must be before SQLite does: it takes the log up to
/// the first damaged frame, and forgets the rest.
pub(super) fn log(path: &Path) -> io::Result<Health> {
    let mut health = Health::default();
    if let Some(wal::Damage { frame, behind }) = wal::look(path)? {
        health.damage.push(format!(
            "the write-ahead log is damaged in frame {frame}; {behind} whole frames are behind it"
        ));
    }
    Ok(health)
}

/// Has the system read the database from one end to the other, while it is looked at: SQLite goes
/// from page to page in the order of its trees, and a cold disk would be asked for each of them.
/// Not where most of it is room that a longer journal left, which is not read otherwise.
///
/// Before anything is opened: to close a file of the database would let go of the locks on it.
pub(super) fn read_ahead(path: &Path) {
    // https://www.sqlite.org/fileformat2.html#the_database_header
    let number = |header: &[u8], at: usize| {
        header.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let advised = File::open(path).and_then(|file| {
        let mut header = [0; 40];
        file.read_exact_at(&mut header, 0)?;
        let (pages, free) = (number(&header, 28), number(&header, 36));
        if free <= pages / 2 {
            fadvise(&file, 0, None, Advice::WillNeed)?;
        }
        Ok(())
    });
    if let Err(error) = advised {
        tracing::debug!(%error, "the journal is read page by page");
    }
}

/// Looks at the database. Leaves the write-ahead log alone where there is damage.
pub(super) fn database(connection: &Connection, acknowledged: Option<Seq>) -> rusqlite::Result<Health> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let mut health = Health::default();
    health.structure(connection);
    for (table, columns) in TABLES {
        health.rows(connection, table, columns);
    }
    if health.damage.is_empty()
        && let Err(error) = health.counts(connection, acknowledged)
    {
        health.damage.push(format!("counting what is pending failed: {error}"));
    }
    if health.damage.is_empty() {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    }
    Ok(health)
}

impl Health {
    /// There is nothing in the database, or no database, and there was something: in its log, or
    /// acknowledged.
    pub(super) fn gone(is_there: bool, has_log: bool, acknowledged: Option<Seq>) -> Self {
        let what = if is_there { "it is empty" } else { "it is not there" };
        let log = has_log.then(|| format!("{what}, and its write-ahead log has something"));
        let acknowledged = acknowledged.map(|seq| format!("{what}, and the item {seq} was acknowledged"));
        Self { damage: log.into_iter().chain(acknowledged).collect(), items: None }
    }

    /// What can be saved, for a report.
    pub(super) fn readable(&self) -> String {
        match self.items {
            Some(items) => format!("{items} of the items in it can be read"),
            None => "the items in it were not looked at".to_owned(),
        }
    }

    /// The quick check says nothing of what an index has and its table has not.
    fn structure(&mut self, connection: &Connection) {
        let check = |pragma: String| {
            let mut statement = connection.prepare(&pragma)?;
            let found = statement.query_map([], |row| row.get::<_, String>(0))?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        };
        let indexed = ["lanes", "targets"].map(|table| format!("PRAGMA integrity_check({table})"));
        for pragma in [format!("PRAGMA quick_check({MOST_NAMED})")].into_iter().chain(indexed) {
            match check(pragma) {
                Ok(found) => {
                    self.damage.extend(found.into_iter().filter(|line| line != "ok").take(MOST_NAMED))
                }
                Err(error) => self.damage.push(format!("its structure cannot be read: {error}")),
            }
        }
    }

    fn rows(&mut self, connection: &Connection, table: &str, columns: &str) {
        let count = columns.split(',').count();
        let mut bad = Vec::new();
        let mut good = 0;
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = connection.prepare(&format!("SELECT {columns}, sum FROM {table}"))?;
            let mut rows = statement.query([])?;
            let mut at = 0;
            while let Some(row) = rows.next()? {
                at += 1;
                match Sum::fits(row, count)? {
                    true => good += 1,
                    // An item's place is in its first column.
                    false if table == "items" => bad.push(row.get::<_, i64>(0).unwrap_or(at)),
                    false => bad.push(at),
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            self.damage.push(format!("`{table}` cannot be read to its end: {error}"));
        }
        if table == "items" {
            self.items = Some(good);
        }
        if !bad.is_empty() {
            let named: Vec<String> = bad.iter().take(MOST_NAMED).map(ToString::to_string).collect();
            let more = if bad.len() > MOST_NAMED { ", ..." } else { "" };
            let (rows, named) = (bad.len(), named.join(", "));
            self.damage.push(format!("the checksum of {rows} rows of `{table}` does not fit: {named}{more}"));
        }
    }

    fn counts(&mut self, connection: &Connection, acknowledged: Option<Seq>) -> rusqlite::Result<()> {
        let lanes = book::lanes(connection)?;
        let (mut found, mut unknown) = (HashMap::<LaneId, u64>::new(), BTreeMap::<LaneId, u64>::new());
        let mut last = book::reached(connection, &lanes)?;
        let targets = book::targets(connection)?;
        let targets: HashMap<i64, _> = targets.into_iter().map(|target| (target.id, target.lanes)).collect();
        let mut items = connection.prepare("SELECT seq, target FROM items ORDER BY seq")?;
        let mut rows = items.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, target): (Seq, i64) = (row.get(0)?, row.get(1)?);
            last = last.max(seq);
            let Some(members) = targets.get(&target) else {
                self.damage.push(format!("nothing says which lanes the item {seq} is meant for"));
                continue;
            };
            for id in members.iter() {
                match lanes.get(id) {
                    Some(lane) if lane.cursor < seq => *found.entry(*id).or_default() += 1,
                    Some(_) => {}
                    None => *unknown.entry(*id).or_default() += 1,
                }
            }
        }
        self.damage.extend(
            unknown.into_iter().take(MOST_NAMED).map(|(id, items)| {
                format!("{items} items are meant for the lane {}, which is not there", id.0)
            }),
        );
        let mut held = connection.prepare(
            "SELECT lane, count(*), count(items.seq) FROM held LEFT JOIN items USING (seq) GROUP BY lane",
        )?;
        let mut rows = held.query([])?;
        while let Some(row) = rows.next()? {
            let (id, held, there): (i64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            *found.entry(LaneId(id)).or_default() += there;
            if there < held {
                self.damage.push(format!("{} items that wait on their own are missing", held - there));
            }
        }
        for (id, lane) in &lanes {
            let there = found.get(id).copied().unwrap_or(0);
            if there != lane.pending {
                let (name, pending) = (&lane.name, lane.pending);
                self.damage.push(format!("`{name}` has {there} items pending, and should have {pending}"));
            }
        }
        if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > last) {
            self.damage.push(format!("it ends at the item {last}, and {acknowledged} was acknowledged"));
        }
        Ok(())
    }
}
