//! Files of the journal that are removed or replaced while the host runs: what was acknowledged is
//! there at the next start.

use std::fs;
use std::path::PathBuf;

use super::*;

const ITEMS: [u32; 3] = [1, 2, 3];

fn database(directory: &Path) -> PathBuf {
    directory.join("journal.db")
}

/// With items of which nothing is settled, and a log that has all of them.
async fn filled(directory: &Path) -> Opened {
    let opened = open_one(directory, bounds()).await;
    opened.append(&ITEMS, &[0], true).await;
    opened
}

async fn numbers(opened: &Opened) -> Vec<u32> {
    opened.read(0, 0).await.into_iter().map(|(_, number)| number).collect()
}

/// As a host does that is told to stop, and one that is started then.
async fn restarted(opened: Opened, directory: &Path) -> Opened {
    opened.journal.close(true).await;
    drop(opened);
    open_one(directory, bounds()).await
}

/// By its copy, which has not what the log has.
fn replace_by_copy(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

/// By the same rows in other pages, into which the log must not be moved.
fn replace_by_other_pages(path: &Path) {
    let copy = path.with_extension("copy");
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    fs::rename(copy, path).unwrap();
}

/// What has no name any more is found by nobody after a restart.
#[tokio::test]
async fn a_journal_that_is_removed_under_the_host_takes_nothing_in() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    opened.append(&[1], &[0], false).await;
    let (path, beside) = (directory.path().join("journal.db"), directory.path().join("beside"));
    let append = async || {
        let lanes = Arc::from([opened.lanes[0].id]);
        opened.journal.append(vec![NewItem { item: item(2), accepted: now(), lanes, dedupe: None }]).await
    };
    fs::rename(&path, &beside).unwrap();
    for _ in 0..2 {
        let Err(AppendError::Disk(reason)) = append().await else { panic!("it was taken in") };
        assert!(reason.contains("was removed or replaced while the host ran"), "{reason}");
    }
    fs::rename(&beside, &path).unwrap();
    append().await.unwrap();
    assert_eq!(opened.read(0, 0).await.len(), 2);
}

#[tokio::test]
async fn a_stop_after_the_database_was_replaced_loses_nothing() {
    let ways: [fn(&Path); 3] =
        [replace_by_copy, replace_by_other_pages, |path| fs::remove_file(path).unwrap()];
    for (at, lose) in ways.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let opened = filled(directory.path()).await;
        lose(&database(directory.path()));
        let replaced = database(directory.path()).exists();
        let opened = restarted(opened, directory.path()).await;
        assert_eq!(numbers(&opened).await, ITEMS, "way {at}");
        assert_eq!(directory.path().join("journal.db.replaced-1").exists(), replaced, "way {at}");
        assert_eq!(opened.append(&ITEMS, &[0], true).await.duplicates, ITEMS.len(), "way {at}");
    }
}

/// With what a lane has settled and the journal could not write any more: it comes again.
#[tokio::test]
async fn a_stop_after_the_database_was_replaced_gives_again_what_was_settled_since() {
    let directory = tempfile::tempdir().unwrap();
    let opened = filled(directory.path()).await;
    replace_by_copy(&database(directory.path()));
    let settlement = Settlement { through: 1, settled: 1, ..Settlement::default() };
    opened.journal.settle(opened.lanes[0].id, settlement).unwrap();
    let opened = restarted(opened, directory.path()).await;
    assert_eq!(numbers(&opened).await, ITEMS);
    assert!(opened.lanes[0].uncertain_through >= 3, "it says that it is redelivered");
}

/// Another directory that stands there is not this host's.
#[tokio::test]
async fn a_stop_after_the_directory_was_moved_touches_no_other() {
    let parent = tempfile::tempdir().unwrap();
    let [directory, moved] = ["journal", "moved"].map(|name| parent.path().join(name));
    let opened = filled(&directory).await;
    fs::rename(&directory, &moved).unwrap();
    fs::create_dir(&directory).unwrap();
    for name in ["journal.db", "reserve"] {
        fs::write(directory.join(name), "x").unwrap();
    }
    opened.journal.close(true).await;
    drop(opened);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    assert_eq!(numbers(&open_one(&moved, bounds()).await).await, ITEMS);
}

/// What cannot be put back is said to be beside it, and is whole.
#[tokio::test]
async fn a_copy_that_cannot_take_its_place_stays_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let opened = filled(directory.path()).await;
    let path = database(directory.path());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    opened.journal.close(true).await;
    drop(opened);
    fs::remove_dir(&path).unwrap();
    fs::remove_file(directory.path().join("journal.db-wal")).unwrap();
    fs::rename(directory.path().join("journal.db.kept-1"), &path).unwrap();
    assert_eq!(numbers(&open_one(directory.path(), bounds()).await).await, ITEMS);
}
