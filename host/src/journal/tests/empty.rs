//! A database that is empty or not there beside a log that has something, which SQLite would throw
//! away.

use std::fs;
use std::path::PathBuf;

use super::damage::{Contents, after_a_crash, contents};
use super::*;

fn files(directory: &Path) -> [Option<Vec<u8>>; 3] {
    ["journal.db", "journal.db-wal", "acknowledged"].map(|name| fs::read(directory.join(name)).ok())
}

/// Both ways, each with the place of the database.
const WAYS: [fn(&Path); 2] =
    [|database| fs::write(database, "").unwrap(), |database| fs::remove_file(database).unwrap()];

fn refused(directory: &Path) -> String {
    Journal::open(directory, bounds(), JournalMetrics::default()).err().unwrap().to_string()
}

#[tokio::test]
async fn what_only_the_log_has_is_left_alone_and_rescued() {
    for (way, lose) in WAYS.into_iter().enumerate() {
        let (directory, expected) = after_a_crash().await;
        let (path, mark) = (directory.path(), directory.path().join("acknowledged"));
        lose(&path.join("journal.db"));
        let before = files(path);
        for doubtful in [false, true] {
            if doubtful {
                fs::write(path.join("journal.db.doubtful"), "").unwrap();
            }
            assert!(check(path).unwrap_err().to_string().contains("its write-ahead log has something"));
            assert!(refused(path).contains("journal rescue"), "way {way}");
            assert_eq!(files(path), before, "way {way}: nothing is changed");
        }
        fs::remove_file(path.join("journal.db.doubtful")).unwrap();
        let rescued = rescue(path).unwrap();
        assert_eq!(rescued.missing, Vec::<String>::new(), "way {way}");
        assert!(!mark.exists() && rescued.kept.join("journal.db-wal").exists());
        let journal = Journal::open(path, bounds(), JournalMetrics::default()).unwrap();
        assert_eq!(contents(&journal).await.unwrap(), expected, "way {way}");
    }
}

/// The mark may be lost as well: the log alone says that there was something.
#[tokio::test]
async fn a_log_alone_is_enough_to_refuse() {
    let (directory, _) = after_a_crash().await;
    fs::write(directory.path().join("journal.db"), "").unwrap();
    fs::remove_file(directory.path().join("acknowledged")).unwrap();
    assert!(refused(directory.path()).contains("it is empty, and its write-ahead log has something"));
    // A start that was broken off before it wrote anything leaves nothing to rescue.
    let begun: PathBuf = directory.path().join("begun");
    fs::create_dir(&begun).unwrap();
    fs::write(begun.join("journal.db"), "").unwrap();
    fs::write(begun.join("journal.db-wal"), "").unwrap();
    drop(Journal::open(&begun, bounds(), JournalMetrics::default()).unwrap());
}

/// What the database had and the log has not is named.
#[tokio::test]
async fn what_the_log_has_not_is_missing_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_one(directory.path(), bounds()).await;
    let (journal, lane) = (&opened.journal, opened.lanes[0].id);
    // Long enough for the log to begin anew.
    for _ in 0..20 {
        journal.append(vec![large(lane)]).await.unwrap();
    }
    opened.append(&[1], &[0], true).await;
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.db-wal", "acknowledged"] {
        fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let said = match rescue(copy.path()) {
        Ok(rescued) => rescued.missing.join("; "),
        Err(error) => panic!("{error}"),
    };
    assert!(said.contains("pages are lost"), "{said}");
    drop(Journal::open(copy.path(), bounds(), JournalMetrics::default()).unwrap());
}

/// A rescue is told to whoever starts the host, so it has to lead on from there.
#[tokio::test]
async fn where_all_is_gone_a_rescue_says_so_and_makes_an_empty_one() {
    for lose in WAYS {
        let (directory, _) = after_a_crash().await;
        let path = directory.path();
        let acknowledged = Mark::open(path).unwrap().get().unwrap();
        lose(&path.join("journal.db"));
        fs::remove_file(path.join("journal.db-wal")).unwrap();
        assert!(check(path).unwrap_err().to_string().contains("was acknowledged"));
        assert!(refused(path).contains("journal rescue"));
        let missing = rescue(path).unwrap().missing.join("; ");
        assert!(missing.contains("nothing of it is left"), "{missing}");
        assert!(missing.contains(&format!("the newest {acknowledged} items")), "{missing}");
        let journal = Journal::open(path, bounds(), JournalMetrics::default()).unwrap();
        assert_eq!(contents(&journal).await.unwrap(), Contents::default());
    }
}

/// After a clean stop there is no log, and the rest of the database is as good as ever.
#[tokio::test]
async fn a_header_that_is_damaged_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_one(directory.path(), bounds()).await;
    opened.append(&[1, 2, 3], &[0], true).await;
    let expected = contents(&opened.journal).await.unwrap();
    opened.journal.close(true).await;
    drop(opened);
    let database = directory.path().join("journal.db");
    // The last to close it takes the log along.
    drop(rusqlite::Connection::open(&database).and_then(|last| last.execute_batch("SELECT * FROM lanes")));
    assert!(!directory.path().join("journal.db-wal").exists());
    let mut bytes = fs::read(&database).unwrap();
    bytes[..50].fill(0xa5);
    fs::write(&database, bytes).unwrap();
    assert!(refused(directory.path()).contains("journal rescue"));
    let rescued = rescue(directory.path()).unwrap();
    assert_eq!(rescued.missing, Vec::<String>::new());
    let journal = Journal::open(directory.path(), bounds(), JournalMetrics::default()).unwrap();
    assert_eq!(contents(&journal).await.unwrap(), expected);
}

#[test]
fn where_no_journal_ever_was_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/journal");
    let told = [check(&path).unwrap_err().to_string(), rescue(&path).unwrap_err().to_string()];
    assert!(
        told.iter().all(|told| told.contains("there is no journal") && told.contains("`host.data`")),
        "{told:?}"
    );
    assert!(!directory.path().join("data").exists());
}
