//! What the writer does after a flush that failed, which no disk of a test's does on demand.

mod refused;

use std::os::unix::fs::MetadataExt;

use rusqlite::ffi;

use super::super::open::begin;
use super::super::{DeadLetter, Entry, Journal, check};
use super::trouble::REST;
use super::*;
use crate::items::{self, Kind};

fn bounds() -> Bounds {
    Bounds { window: Duration::ZERO, keys: 0, ..Bounds::of_a_test() }
}

fn writer(directory: &Path) -> Writer {
    writer_within(directory, bounds())
}

fn writer_within(directory: &Path, bounds: Bounds) -> Writer {
    let (path, mark) = (directory.join("journal.db"), Mark::open(directory).unwrap());
    let (connection, clean) = begin(directory, &path, &mark).unwrap();
    let shared = Shared {
        tail: Arc::new(Tail::new(1 << 20)),
        depths: Depths::default(),
        readers: [(); 2].map(|()| Arc::new(Reader::open(&path).unwrap())),
        reopened: watch::Sender::new(0),
        metrics: JournalMetrics::default(),
    };
    let mut writer = Writer::new(connection, clean, &path, bounds, mark, shared).unwrap().0;
    writer.lane("a").unwrap();
    writer
}

fn flush_failed() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None)
}

/// Appends an item of so many bytes; says whether it was taken.
fn append(writer: &mut Writer, bytes: usize) -> bool {
    let text = format!(r#"{{"jid":"1","id":"m","fun":"f","return":"{}"}}"#, "x".repeat(bytes));
    let item = items::parse(Kind::Return, &text, String::new).unwrap();
    let (reply, mut answer) = oneshot::channel();
    let new = NewItem { item, accepted: 1, lanes: Arc::from([LaneId(1)]), dedupe: None };
    writer.flush(vec![(vec![new], reply)]);
    answer.try_recv().unwrap().is_ok()
}

fn inode(directory: &Path) -> u64 {
    std::fs::metadata(directory.join("journal.db")).unwrap().ino()
}

fn is_doubtful(directory: &Path) -> bool {
    directory.join("journal.db.doubtful").exists()
}

fn items(directory: &Path) -> u64 {
    let database = Connection::open(directory.join("journal.db")).unwrap();
    database.query_row("SELECT count(*) FROM items", [], |row| row.get(0)).unwrap()
}

/// So many small ones, of one call.
fn append_all(writer: &mut Writer, items: usize) {
    let new = |number: usize| {
        let text = format!(r#"{{"jid":"{number}","id":"m","fun":"f","return":1}}"#);
        let item = items::parse(Kind::Return, &text, String::new).unwrap();
        NewItem { item, accepted: 1, lanes: Arc::from([LaneId(1)]), dedupe: None }
    };
    let (reply, mut answer) = oneshot::channel();
    writer.flush(vec![((0..items).map(new).collect(), reply)]);
    assert!(answer.try_recv().unwrap().is_ok());
}

/// Settles so many items of a lane, each of which is to be tried again, in parts of a hundred.
fn hold_all(writer: &mut Writer, items: Seq) {
    for first in (1..items).step_by(100) {
        let held = (first..first + 100).map(|seq| Held {
            seq,
            tries: 1,
            not_before: 5,
            reason: format!("{seq}{}", "x".repeat(200)).into(),
            redelivered: false,
        });
        let settlement = Settlement { through: first + 99, held: held.collect(), ..Settlement::default() };
        writer.note(LaneId(1), settlement);
    }
}

/// Who appends waits for a share of what a lane has to say, and who asks what was settled for all
/// that was settled before.
#[test]
fn what_is_much_to_settle_holds_up_nobody_who_appends() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    append_all(&mut writer, 5000);
    hold_all(&mut writer, 5000);
    let (reply, mut asked) = oneshot::channel();
    writer.settlements.ask(reply);
    writer.flush(Appends::new());
    let held = || {
        let database = Connection::open(directory.path().join("journal.db")).unwrap();
        let count = "SELECT count(*) FROM held";
        database.query_row(count, [], |row| row.get::<_, u64>(0)).unwrap()
    };
    let mut before = held();
    assert!((1..1500).contains(&before), "{before} in one transaction");
    while !writer.settlements.waiting.is_empty() {
        assert!(writer.settlements.due.is_some_and(|due| due <= Instant::now()), "nobody waits for more");
        assert!(asked.try_recv().is_err(), "some of it is not written");
        assert!(append(&mut writer, 10));
        assert!((1..1500).contains(&(held() - before)), "{} in one transaction", held() - before);
        before = held();
    }
    assert!(asked.try_recv().unwrap().is_ok());
    assert_eq!(held(), 5000);
    writer.close(true);
    assert_eq!(check(directory.path()).unwrap().damage, Vec::<String>::new());
}

/// What is settled is shown at once, and stays so while it is written.
#[test]
fn what_is_settled_is_counted_before_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    append_all(&mut writer, 5000);
    hold_all(&mut writer, 4000);
    writer.note(LaneId(1), Settlement { through: 5000, settled: 1000, ..Settlement::default() });
    let depth = |writer: &Writer| writer.shared.depths.read()[&LaneId(1)];
    assert_eq!(depth(&writer), 4000);
    writer.flush(Appends::new());
    assert!(!writer.settlements.waiting.is_empty());
    assert_eq!(depth(&writer), 4000);
    // A lane that comes back has all of it.
    let (reply, mut lane) = oneshot::channel();
    writer.answer(Command::Lane { name: "a".to_owned(), reply });
    let lane = lane.try_recv().unwrap().unwrap();
    assert_eq!((lane.cursor, lane.held.len(), depth(&writer)), (5000, 4000, 4000));
}

/// The log does not grow without a bound, though SQLite does nothing by itself.
#[test]
fn a_long_log_is_moved_into_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    for _ in 0..40 {
        assert!(append(&mut writer, 20_000));
        writer.fold();
    }
    let log = std::fs::metadata(directory.path().join("journal.db-wal")).unwrap().len();
    assert!(log < 80 * u64::from(schema::PAGE), "the log has {log} bytes");
    assert!(writer.trouble.is_none());
}

/// The log of a large transaction is a part of the journal's size, and no longer than it is of use.
#[test]
fn the_log_counts_until_it_is_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    let log = || std::fs::metadata(directory.path().join("journal.db-wal")).unwrap().len();
    assert!(append(&mut writer, 3_000_000));
    assert!(log() > 3_000_000 && writer.book.bytes > 6_000_000, "{}", writer.book.bytes);
    writer.bounds.size = 5_000_000;
    assert!(append(&mut writer, 10), "only the log was too much");
    assert!(log() < 1_000_000 && writer.book.bytes < 5_000_000, "{}", writer.book.bytes);
}

/// What SQLite says of a checkpoint is heard.
#[test]
fn a_checkpoint_that_fails_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    assert!(append(&mut writer, 1000));
    let path = directory.path().join("journal.db");
    let reader = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.query_row("SELECT count(*) FROM items", [], |_| Ok(())).unwrap();
    assert!(schema::fold_from(&reader, 1).is_err(), "it may not write");
}

#[test]
fn after_a_checkpoint_whose_flush_failed_the_journal_is_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    assert!(append(&mut writer, 10));
    let before = inode(directory.path());
    writer.folded(Err(flush_failed()));
    assert!(is_doubtful(directory.path()) && writer.is_unflushed());
    assert!(!append(&mut writer, 10), "nothing is taken in meanwhile");
    assert_eq!(inode(directory.path()), before);
    std::thread::sleep(REST);
    assert!(append(&mut writer, 10));
    assert_ne!(inode(directory.path()), before);
    assert!(!is_doubtful(directory.path()) && writer.trouble.is_none());
    assert_eq!(items(directory.path()), 2);
}

#[test]
fn a_disk_that_is_full_at_a_checkpoint_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    writer.folded(Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None)));
    assert!(!directory.path().join("reserve").exists(), "the reserve is for this");
    assert!(writer.trouble.is_none() && append(&mut writer, 10));
}

#[test]
fn a_stop_soon_after_a_flush_that_failed_renews_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    assert!(append(&mut writer, 10));
    let before = inode(directory.path());
    writer.failed(&flush_failed());
    writer.close(true);
    assert_ne!(inode(directory.path()), before);
    assert!(!is_doubtful(directory.path()));
    assert_eq!(items(directory.path()), 1);
}

/// Where it could not, the log is left to the next start, which does before all else.
#[test]
fn what_a_stop_could_not_renew_the_next_start_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    assert!(append(&mut writer, 10));
    let (before, log) = (inode(directory.path()), directory.path().join("journal.db-wal"));
    // It cannot be removed as a file.
    let in_the_way = directory.path().join("journal.db.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let written = std::fs::read(&log).unwrap();
    writer.failed(&flush_failed());
    writer.close(true);
    assert!(is_doubtful(directory.path()));
    assert_eq!((inode(directory.path()), std::fs::read(&log).unwrap()), (before, written));
    check(directory.path()).unwrap();
    assert!(std::fs::read(&log).unwrap().len() > 100, "a look moves nothing");
    let open = || Journal::open(directory.path(), bounds(), JournalMetrics::default());
    assert!(open().is_err(), "it is in doubt");
    std::fs::remove_dir(&in_the_way).unwrap();
    drop(open().unwrap());
    assert_ne!(inode(directory.path()), before);
    assert!(!is_doubtful(directory.path()));
    assert_eq!(items(directory.path()), 1);
}

/// What was written to it is where a restart finds it, before anything more is acknowledged.
#[test]
fn a_log_that_is_removed_is_saved_by_who_has_it_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    assert!(append(&mut writer, 10));
    let log = directory.path().join("journal.db-wal");
    let database = inode(directory.path());
    std::fs::remove_file(&log).unwrap();
    // Somebody may have put another one there.
    std::fs::write(&log, "x").unwrap();
    assert!(append(&mut writer, 10));
    assert_eq!((items(directory.path()), inode(directory.path())), (2, database));
    assert!(writer.trouble.is_none() && !is_doubtful(directory.path()));
    // Also where it goes while something is written: that is not acknowledged.
    std::fs::remove_file(&log).unwrap();
    let commit = writer.commit(&mut Appends::new());
    assert!(commit.is_err());
    writer.failed(&commit.unwrap_err());
    assert!(!writer.is_unflushed());
    std::thread::sleep(REST);
    assert!(append(&mut writer, 10));
    assert_eq!(items(directory.path()), 3);
}

/// Nothing was written: it is no flush that failed.
#[test]
fn who_has_the_turn_to_write_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    let before = inode(directory.path());
    let busy = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None);
    writer.failed(&busy);
    assert!(!writer.is_unflushed() && !is_doubtful(directory.path()));
    std::thread::sleep(REST);
    assert!(append(&mut writer, 10));
    assert_eq!(inode(directory.path()), before);
}

/// A renewal that was killed leaves as much as the journal itself.
#[test]
fn what_a_renewal_left_goes_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let left = ["", "-wal", "-shm"].map(|end| directory.path().join(format!("journal.db.new{end}")));
    for path in &left {
        std::fs::write(path, "x").unwrap();
    }
    drop(Journal::open(directory.path(), bounds(), JournalMetrics::default()).unwrap());
    assert!(left.iter().all(|path| !path.exists()));
}

/// Two items never have one place; should they have, none of them is written over.
#[test]
fn a_dead_letter_in_the_place_of_another_is_refused_and_neither_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    assert!(append(&mut writer, 10) && append(&mut writer, 20));
    let dead = |body: &Entry| {
        let item = items::parse(Kind::Return, body.item.text(), String::new).unwrap();
        let entry = Entry { seq: 1, accepted: 1, item, lanes: Arc::from([LaneId(1)]) };
        let (plugin, stderr) = ("p".to_owned(), String::new());
        DeadLetter { entry: Arc::new(entry), reason: "r".to_owned(), plugin, stderr, tries: 1, at: 1 }
    };
    let window = writer.shared.tail.next(LaneId(1), 0, 2, 9, 1 << 20).unwrap();
    let [first, second] = [0, 1].map(|at| dead(&window.entries[at]));
    let bury = |writer: &mut Writer, dead: &DeadLetter| {
        let settlement = Settlement { dead: vec![dead.clone()], ..Settlement::default() };
        writer.note(LaneId(1), settlement);
        writer.commit(&mut Appends::new())
    };
    for _ in 0..2 {
        bury(&mut writer, &first).unwrap();
        assert!(writer.settlements.waiting.is_empty());
    }
    let refused = bury(&mut writer, &second).unwrap_err();
    assert!(
        refused.to_string().contains("the place 1 of a dead letter has another one already"),
        "{refused}"
    );
    writer.failed(&refused);
    assert!(!writer.is_unflushed(), "nothing was written");
    writer.reopen().unwrap();
    let body: String = writer.connection.query_row("SELECT body FROM dead", [], |row| row.get(0)).unwrap();
    assert_eq!(body, first.entry.item.text());
    // Its own item went on: another one has its place, and is not taken for it.
    writer.connection.execute("UPDATE items SET seq = 0 WHERE seq = 1", []).unwrap();
    writer.connection.execute("UPDATE items SET seq = 1 WHERE seq = 2", []).unwrap();
    let replayed = dead::replay(&mut writer.connection, &mut writer.book, &[1]).unwrap();
    assert!(replayed.is_empty());
    assert_eq!(dead::count(&writer.connection, LaneId(1)).unwrap(), 1);
}
