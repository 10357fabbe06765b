//! A new journal of what can be read of a damaged one.
//!
//! Works on a copy, and changes nothing before the new journal is whole on disk; the
//! damaged files stay beside it. What is saved is delivered again from where its lane
//! can be shown to be, and says `redelivered`: rather twice than not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::files::{DATABASE, MARK, RESCUE, log_of};
use super::lock::Lock;
use super::mark::Mark;
use super::{OpenError, open, schema, wal};

mod content;
mod keys;
mod leaves;

use content::Found;

/// The new one, until it is in its place.
const NEW: &str = "new.db";

/// What every database of the host begins with, up to the first number that changes
/// (<https://www.sqlite.org/fileformat2.html#the_database_header>): pages of 4096 bytes,
/// in write-ahead mode.
const BEGIN: &[u8; 24] = b"SQLite format 3\0\x10\0\x02\x02\0\x40\x20\x20";

/// What stands in a header of the host's at these places, in bytes, behind which SQLite reads nothing
/// where something else is there: no number of pages, so that as many as the file has are read, and
/// no list of free ones; the format of the schema; no largest root, and UTF-8; no vacuum.
const FIELDS: [(u64, &[u32]); 4] = [(28, &[0, 0, 0]), (44, &[4]), (52, &[0, 1]), (64, &[0])];

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
    #[error(
        "the damaged journal in `{}` was being moved to `{}`: {error}\n  hint: run `returner journal rescue` again; \
         what was moved is there, and nothing is lost",
        path.display(), kept.display()
    )]
    Moving { path: PathBuf, kept: PathBuf, error: io::Error },
    #[error("the new journal in `{}` could not be written: {error}\n  hint: nothing was changed", path.display())]
    New { path: PathBuf, error: rusqlite::Error },
}

/// Makes a new journal in the directory of a damaged one, which no host may be using.
pub(crate) fn rescue(directory: &Path) -> Result<Rescued, RescueError> {
    open::look_for(directory)?;
    let _lock = Lock::take(directory)?;
    let files = |error| RescueError::Files { path: directory.to_owned(), error };
    let work = directory.join(RESCUE);
    put_back(directory, &work).map_err(files)?;
    let source = Source::of(directory).map_err(files)?;
    let rescued =
        copied(directory, &work, source).and_then(|copy| from_copy(directory, &work, &copy, source));
    if rescued.is_err() && (directory.join(DATABASE).exists() || !work.join(NEW).exists()) {
        // What is left would take room that the next try needs.
        let _ = fs::remove_dir_all(&work);
    }
    rescued
}

fn from_copy(directory: &Path, work: &Path, copy: &Path, source: Source) -> Result<Rescued, RescueError> {
    let files = |error| RescueError::Files { path: directory.to_owned(), error };
    if let Some(found) = newer_layout(copy) {
        let path = directory.join(DATABASE);
        return Err(OpenError::Newer { path, found, known: schema::LAYOUT }.into());
    }
    let mut missing = Vec::new();
    if let Source::Nothing = source {
        missing.push(
            "the database was empty or not there, and so was its log: nothing of it is left".to_owned(),
        );
    }
    if let (Source::Log, (lacking @ 1.., pages)) = (source, wal::lacking(copy).map_err(files)?) {
        missing.push(format!(
            "the database was empty or not there, and its log has not all of it: {lacking} of {pages} pages are lost"
        ));
    }
    mend(copy).map_err(files)?;
    let unreadable = |error| RescueError::Unreadable { path: directory.to_owned(), error };
    let damaged = Connection::open(copy).map_err(unreadable)?;
    let end = Mark::open(directory).map_err(files)?.get();
    let found = Found::read(&damaged, end).map_err(unreadable)?;
    let new = work.join(NEW);
    let written = found.write(&damaged, copy, &new);
    let written = written.map_err(|error| RescueError::New { path: directory.to_owned(), error })?;
    let kept = swap(directory, work, &new)?;
    missing.extend(written.missing);
    Ok(Rescued { items: written.items, dead: written.dead, missing, kept })
}

/// What is there to be read.
#[derive(Debug, Clone, Copy)]
enum Source {
    Database,
    /// The database is empty.
    Log,
    /// And its log has nothing.
    Nothing,
}

impl Source {
    /// Where there is no database, an empty one is made. It says no less, and what was broken off
    /// in the middle of a [`swap`] is told by that there is none.
    fn of(directory: &Path) -> io::Result<Self> {
        let database = directory.join(DATABASE);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&database)?;
        Ok(match (file.metadata()?.len(), wal::has_frames(&database)) {
            (1.., _) => Self::Database,
            (0, true) => Self::Log,
            (0, false) => Self::Nothing,
        })
    }
}

fn copied(directory: &Path, work: &Path, source: Source) -> Result<PathBuf, RescueError> {
    let files = |error| RescueError::Files { path: directory.to_owned(), error };
    if work.exists() {
        fs::remove_dir_all(work).map_err(files)?;
    }
    fs::create_dir(work).map_err(files)?;
    let (original, copy) = (directory.join(DATABASE), work.join(DATABASE));
    match source {
        Source::Database => fs::copy(&original, &copy).map(drop).map_err(files)?,
        Source::Log | Source::Nothing => begin_anew(&copy)?,
    }
    let log = log_of(&original);
    if log.exists() {
        fs::copy(log, log_of(&copy)).map_err(files)?;
    }
    Ok(copy)
}

/// SQLite throws the log of an empty database away, so one that has the tables of every journal, and
/// nothing in them, stands below what the log has.
fn begin_anew(copy: &Path) -> Result<(), RescueError> {
    let new = schema::open(copy)?;
    let closed = schema::fold(&new).and_then(|()| new.close().map_err(|(_, error)| error));
    closed.map_err(|error| RescueError::New { path: copy.to_owned(), error })
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
    FIELDS.iter().try_for_each(|(at, numbers)| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        header.write_all_at(&bytes, *at)
    })
}

/// Puts the damaged files into a directory of their own and the new one in their place.
fn swap(directory: &Path, work: &Path, new: &Path) -> Result<PathBuf, RescueError> {
    let files = |error| RescueError::Files { path: directory.to_owned(), error };
    File::open(new).and_then(|file| file.sync_all()).map_err(files)?;
    let kept = (1..).map(|number| numbered(directory, number)).find(|path| !path.exists());
    let kept = kept.unwrap_or_else(|| directory.join("damaged"));
    fs::create_dir(&kept).map_err(files)?;
    let moved = || {
        for (from, to) in steps(directory, &kept, new).iter().filter(|(from, _)| from.exists()) {
            fs::rename(from, to)?;
        }
        File::open(directory)?.sync_all()
    };
    moved().map_err(|error| RescueError::Moving { path: directory.to_owned(), kept: kept.clone(), error })?;
    if let Err(error) = fs::remove_dir_all(work) {
        tracing::warn!(%error, "`{}` was not removed, and is not needed any more", work.display());
    }
    Ok(kept)
}

/// The moves of a [`swap`], in their order. Until the new one is in its place, a host that
/// starts refuses to: the mark says that something was acknowledged, and goes last.
pub(super) fn steps(directory: &Path, kept: &Path, new: &Path) -> [(PathBuf, PathBuf); 4] {
    let [from, to] = [directory, kept].map(|directory| directory.join(DATABASE));
    [
        (from.clone(), to.clone()),
        (log_of(&from), log_of(&to)),
        (new.to_owned(), from),
        (directory.join(MARK), kept.join(MARK)),
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
