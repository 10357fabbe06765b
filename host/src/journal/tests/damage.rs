//! Every region of the journal's files damaged in turn: the answer is a report, or
//! nothing was lost; and what is rescued is what was accepted.

use std::collections::BTreeSet;
use std::fs;

use rusqlite::config::DbConfig;

use super::*;

/// The bytes of a region that is damaged at once.
const REGION: usize = 192;

/// How many items [`fill`] appends.
const SENT: u32 = 33;

/// What stands in the journal, by lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents {
    pending: [Vec<(Seq, String)>; 3],
    held: [Vec<(Seq, String)>; 3],
    dead: Vec<(String, String, String)>,
}

/// A journal with something of everything in it.
async fn fill(path: &Path) -> Opened {
    let opened = open(path).await;
    let numbers: Vec<u32> = (0..30).collect();
    opened.append(&numbers[..20], &[0], true).await;
    opened.append(&numbers[20..], &[0, 1, 2], true).await;
    let entries = opened.journal.next(opened.lanes[0].id, 0, 10, 1 << 20).await.unwrap().entries;
    let held = Held { seq: 2, tries: 3, not_before: 7, reason: "later".into(), redelivered: true };
    let dead = DeadLetter {
        entry: Arc::clone(&entries[4]),
        reason: "no such column".to_owned(),
        plugin: "mysql 0.1.0".to_owned(),
        stderr: "it wrote this".to_owned(),
        tries: 2,
        at: 1_700_000_000_000,
    };
    let settlement =
        Settlement { through: 6, settled: 5, held: vec![held], dead: vec![dead], ..Settlement::default() };
    opened.journal.settle(opened.lanes[0].id, settlement).unwrap();
    opened.append(&[30, 31], &[1], true).await;
    opened.append(&[32], &[2], true).await;
    opened
}

pub(super) async fn contents(journal: &Journal) -> Result<Contents, JournalError> {
    let mut contents = Contents::default();
    let text = |entry: &Arc<Entry>| (entry.seq, entry.item.text().to_owned());
    for (at, name) in LANES.iter().enumerate() {
        let state = journal.lane(name).await?;
        let mut after = state.cursor;
        loop {
            let window = journal.next(state.id, after, 7, 1 << 20).await?;
            contents.pending[at].extend(window.entries.iter().map(text));
            if window.entries.is_empty() {
                break;
            }
            after = window.through;
        }
        let seqs = state.held.iter().map(|held| held.seq).collect();
        contents.held[at] = journal.entries(state.id, seqs, usize::MAX).await?.iter().map(text).collect();
    }
    for letter in journal.dead_letters(DeadFilter::default(), 100).await? {
        let body = journal.dead_letter(letter.id).await?.map(|whole| whole.body).unwrap_or_default();
        contents.dead.push((letter.returner, body, letter.reason));
    }
    Ok(contents)
}

/// As a crash leaves it: the newest of it is in the write-ahead log.
pub(super) async fn after_a_crash() -> (tempfile::TempDir, Contents) {
    let (live, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let opened = fill(live.path()).await;
    for name in ["journal.db", "journal.db-wal", "acknowledged"] {
        fs::copy(live.path().join(name), copy.path().join(name)).unwrap();
    }
    let contents = contents(&opened.journal).await.unwrap();
    (copy, contents)
}

/// As a stop leaves it: all of it is in the database.
async fn after_a_stop() -> (tempfile::TempDir, Contents) {
    let directory = tempfile::tempdir().unwrap();
    let opened = fill(directory.path()).await;
    let contents = contents(&opened.journal).await.unwrap();
    opened.journal.close(true).await;
    drop(opened);
    (directory, contents)
}

/// A directory where flushing costs nothing, if the system has one.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// SQLite reads which lanes an item is for out of an index, which no checksum covers.
#[tokio::test]
async fn what_an_index_has_is_looked_at() {
    let (directory, expected) = after_a_stop().await;
    let whole = fs::read(directory.path().join("journal.db")).unwrap();
    let places = (1..whole.len()).filter(|at| whole[at - 1] == b'[' && whole[*at].is_ascii_digit());
    let mut reported = 0;
    for at in places {
        let damaged = in_memory();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), damaged.path().join(entry.file_name())).unwrap();
        }
        let mut bytes = whole.clone();
        bytes[at] = b'9';
        fs::write(damaged.path().join("journal.db"), bytes).unwrap();
        assert!(is_reported(damaged.path(), &expected, &format!("byte {at}")).await, "byte {at}");
        reported += 1;
    }
    assert!(reported >= 2, "of the table and of its index: {reported}");
}

/// The page from which all others of the table are reached.
#[tokio::test]
async fn items_are_saved_though_nothing_leads_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    let numbers: Vec<u32> = (0..3000).collect();
    for some in numbers.chunks(500) {
        opened.append(some, &[0, 1], true).await;
    }
    // Of these one lane has had enough, and the other one has not.
    let settlement = Settlement { through: 100, settled: 100, ..Settlement::default() };
    opened.journal.settle(opened.lanes[0].id, settlement).unwrap();
    let expected = contents(&opened.journal).await.unwrap();
    opened.journal.close(true).await;
    drop(opened);
    let path = directory.path().join("journal.db");
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'items'";
    let root: u64 =
        rusqlite::Connection::open(&path).unwrap().query_row(query, [], |row| row.get(0)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xA5; 4096], (root - 1) * 4096).unwrap();
    let rescued = rescue(directory.path()).unwrap();
    assert_eq!((rescued.items, &rescued.missing), (3000, &Vec::new()));
    let opened = open(directory.path()).await;
    assert_eq!(contents(&opened.journal).await.unwrap(), expected);
}

/// Damages each region of a file in turn; gives how many were reported.
async fn damage_each(original: &Path, file: &str, expected: &Contents) -> usize {
    let size = fs::metadata(original.join(file)).unwrap().len() as usize;
    let mut random = fastrand::Rng::with_seed(7);
    let mut reported = 0;
    for begin in (0..size).step_by(REGION) {
        let at = begin + random.usize(..REGION.min(size - begin));
        let damaged = in_memory();
        for entry in fs::read_dir(original).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), damaged.path().join(entry.file_name())).unwrap();
        }
        let mut bytes = fs::read(damaged.path().join(file)).unwrap();
        for byte in bytes.iter_mut().skip(at).take(random.usize(1..16)) {
            *byte ^= random.u8(1..);
        }
        fs::write(damaged.path().join(file), bytes).unwrap();
        reported += usize::from(is_reported(damaged.path(), expected, &format!("{file}, byte {at}")).await);
    }
    reported
}

async fn is_reported(path: &Path, expected: &Contents, place: &str) -> bool {
    match Journal::open(path, bounds(), JournalMetrics::default()) {
        Ok(journal) => match contents(&journal).await {
            Ok(found) => {
                assert_eq!(found, *expected, "{place}: silent");
                false
            }
            Err(_) => true,
        },
        Err(error) => {
            let report = error.to_string();
            assert!(report.contains("journal.db") && report.contains("hint: "), "{place}: {report}");
            rescued(path, expected, place).await;
            true
        }
    }
}

/// What is saved was accepted, and what is not is named.
async fn rescued(path: &Path, expected: &Contents, place: &str) {
    let rescued = match rescue(path) {
        Ok(rescued) => rescued,
        Err(error) => {
            assert!(error.to_string().contains("hint: "), "{place}: {error}");
            return;
        }
    };
    assert!(rescued.kept.join("journal.db").exists());
    let journal = Journal::open(path, bounds(), JournalMetrics::default())
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = contents(&journal).await.unwrap_or_else(|error| panic!("{place}: {error}"));
    // Where it is not known how far a lane was, it gets again what it had.
    let sent: BTreeSet<String> = (0..SENT).map(|number| item(number).text().to_owned()).collect();
    let mut lost = false;
    for (found, expected) in
        found.pending.iter().chain(&found.held).zip(expected.pending.iter().chain(&expected.held))
    {
        assert!(found.iter().all(|(_, text)| sent.contains(text)), "{place}: an item that nobody sent");
        lost |= expected.iter().any(|item| !found.contains(item));
    }
    lost |= found.dead.len() < expected.dead.len();
    assert!(!lost || !rescued.missing.is_empty(), "{place}: something is missing and not named");
}

#[tokio::test]
async fn damage_to_the_database_is_reported() {
    let (directory, expected) = after_a_stop().await;
    let reported = damage_each(directory.path(), "journal.db", &expected).await;
    assert!(reported > 20, "{reported}: the test damages nothing");
}

#[tokio::test]
async fn damage_to_the_log_is_reported() {
    let (directory, expected) = after_a_crash().await;
    let reported = damage_each(directory.path(), "journal.db-wal", &expected).await;
    assert!(reported > 20, "{reported}: the test damages nothing");
}

#[tokio::test]
async fn a_log_that_is_missing_or_short_is_reported() {
    let (directory, expected) = after_a_crash().await;
    let log = directory.path().join("journal.db-wal");
    let bytes = fs::read(&log).unwrap();
    for keep in [bytes.len() / 2, 40, 0] {
        let damaged = tempfile::tempdir().unwrap();
        for name in ["journal.db", "acknowledged"] {
            fs::copy(directory.path().join(name), damaged.path().join(name)).unwrap();
        }
        fs::write(damaged.path().join("journal.db-wal"), &bytes[..keep]).unwrap();
        assert!(is_reported(damaged.path(), &expected, &format!("{keep} bytes of the log")).await);
    }
}

#[tokio::test]
async fn a_database_that_is_short_is_reported_and_the_rest_rescued() {
    const ITEMS: u64 = 100;
    for keep in [3, 2] {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), bounds(), JournalMetrics::default()).unwrap();
        let lane = journal.lane("a").await.unwrap();
        for _ in 0..ITEMS {
            journal.append(vec![large(lane.id)]).await.unwrap();
        }
        journal.close(true).await;
        drop(journal);
        let file = directory.path().join("journal.db");
        let bytes = fs::read(&file).unwrap();
        // Neither at the end of a page nor of an item.
        fs::write(&file, &bytes[..bytes.len() / 4 * keep + 77]).unwrap();
        let refused = Journal::open(directory.path(), bounds(), JournalMetrics::default()).err();
        assert!(refused.unwrap().to_string().contains("`returner journal rescue`"));
        let rescued = rescue(directory.path()).unwrap();
        assert!((ITEMS / 3..ITEMS).contains(&rescued.items), "{} of {keep} quarters", rescued.items);
        let lost = format!("{} of {ITEMS} items of `a` are lost", ITEMS - rescued.items);
        assert!(rescued.missing.contains(&lost), "{:?}", rescued.missing);
        let journal = Journal::open(directory.path(), bounds(), JournalMetrics::default()).unwrap();
        assert_eq!(journal.depth(journal.lane("a").await.unwrap().id), rescued.items);
    }
}

#[tokio::test]
async fn a_damaged_item_is_never_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    opened.append(&[1, 2, 3], &[0], true).await;
    // While the host runs; only its own write would be seen by SQLite.
    let other = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    other.execute("UPDATE items SET body = replace(body, '2', '7') WHERE seq = 2", []).unwrap();
    let damaged = opened.journal.entries(opened.lanes[0].id, vec![2], usize::MAX).await;
    assert!(matches!(damaged, Err(JournalError::Item { seq: 2, .. })), "{damaged:?}");
}

#[tokio::test]
async fn what_is_whole_is_rescued_whole() {
    let (directory, expected) = after_a_crash().await;
    let rescued = rescue(directory.path()).unwrap();
    assert_eq!(rescued.missing, Vec::<String>::new());
    let opened = open(directory.path()).await;
    assert_eq!(contents(&opened.journal).await.unwrap(), expected);
    // Which copies came before is known, too.
    let numbers: Vec<u32> = (0..30).collect();
    assert_eq!(opened.append(&numbers, &[0], true).await.duplicates, 30);
    assert_eq!(opened.append(&numbers, &[0, 1], true).await.duplicates, 10);
}

/// Nobody knows which items those were: sent again, they are stored.
#[tokio::test]
async fn of_lanes_that_lost_items_no_key_is_left() {
    let (directory, _) = after_a_stop().await;
    let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    // One that is meant for the first lane only.
    database.execute("UPDATE items SET body = replace(body, 'm', 'n') WHERE seq = 9", []).unwrap();
    drop(database);
    let rescued = rescue(directory.path()).unwrap();
    assert!(rescued.missing.iter().any(|line| line.contains("may be stored twice")), "{:?}", rescued.missing);
    let opened = open(directory.path()).await;
    let numbers: Vec<u32> = (20..30).collect();
    assert_eq!(opened.append(&numbers, &[1, 2], true).await.duplicates, 10);
    assert_eq!(opened.append(&[8], &[0], true).await.duplicates, 0);
}

/// What another lane had is kept, under a name of its own.
#[tokio::test]
async fn a_name_that_is_damaged_takes_no_other_lanes_items() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(directory.path(), bounds(), JournalMetrics::default()).unwrap();
    let mut opened = Opened { journal, lanes: Vec::new() };
    for name in ["first.sqlite3", "other.sqlite3"] {
        opened.lanes.push(opened.journal.lane(name).await.unwrap());
    }
    opened.append(&[1, 2, 3], &[0], true).await;
    opened.append(&[4, 5, 6, 7], &[1], true).await;
    opened.journal.close(true).await;
    drop(opened);
    let bytes = fs::read(directory.path().join("journal.db")).unwrap();
    let places = bytes.windows(13).enumerate().filter(|(_, name)| name == b"first.sqlite3").map(|(at, _)| at);
    let mut tried = 0;
    for at in places {
        let damaged = in_memory();
        let mut bytes = bytes.clone();
        bytes[at..at + 5].copy_from_slice(b"other");
        fs::write(damaged.path().join("journal.db"), bytes).unwrap();
        assert!(Journal::open(damaged.path(), bounds(), JournalMetrics::default()).is_err());
        rescue(damaged.path()).unwrap();
        let journal = Journal::open(damaged.path(), bounds(), JournalMetrics::default()).unwrap();
        let mut kept = journal.kept_lanes().await.unwrap();
        kept.sort_by_key(|lane| lane.pending);
        let kept: Vec<(&str, u64)> = kept.iter().map(|lane| (lane.name.as_str(), lane.pending)).collect();
        assert_eq!((kept.len(), kept[0].1, kept[1]), (2, 3, ("other.sqlite3", 4)), "{kept:?}");
        tried += 1;
    }
    assert_eq!(tried, 2, "its row, and the index");
}

/// It is another host's to read: what this one does not know of it would be lost.
#[tokio::test]
async fn what_a_newer_host_wrote_is_not_taken_apart() {
    for (directory, _) in [after_a_crash().await, after_a_stop().await] {
        let path = directory.path();
        let database = rusqlite::Connection::open(path.join("journal.db")).unwrap();
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        database.execute_batch("PRAGMA user_version = 2").unwrap();
        drop(database);
        let files = || ["journal.db", "journal.db-wal"].map(|name| fs::read(path.join(name)).ok());
        let before = files();
        let refused = check(path).unwrap_err().to_string();
        assert!(refused.contains("has the layout 2"), "{refused}");
        assert_eq!(rescue(path).unwrap_err().to_string(), refused);
        assert_eq!(files(), before);
        assert!(!path.join("rescue").exists() && !path.join("damaged-1").exists());
    }
}

/// As a crash leaves it after each of the moves that put the new journal in its place.
#[tokio::test]
async fn a_rescue_that_is_broken_off_loses_nothing() {
    for moved in 0..=4 {
        let ((directory, expected), (other, _)) = (after_a_crash().await, after_a_crash().await);
        let path = directory.path();
        rescue(other.path()).unwrap();
        let (work, kept) = (path.join("rescue"), path.join("damaged-1"));
        let new = work.join("new.db");
        fs::create_dir(&work).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::copy(other.path().join("journal.db"), &new).unwrap();
        for (from, to) in &super::super::rescue::steps(path, &kept, &new)[..moved] {
            fs::rename(from, to).unwrap();
        }
        let opened = Journal::open(path, bounds(), JournalMetrics::default());
        assert_eq!(opened.is_err(), moved == 1 || moved == 2, "after {moved} moves");
        if let Ok(journal) = opened {
            assert_eq!(contents(&journal).await.unwrap(), expected, "after {moved} moves");
            continue;
        }
        rescue(path).unwrap_or_else(|error| panic!("after {moved} moves: {error}"));
        let journal = Journal::open(path, bounds(), JournalMetrics::default()).unwrap();
        assert_eq!(contents(&journal).await.unwrap(), expected, "after {moved} moves");
    }
}
