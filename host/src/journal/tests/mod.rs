//! What the journal's tests share, and what it does when nothing goes wrong.

mod damage;
mod empty;
mod fuzz;
mod lost;
mod model;
mod places;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::items::{self, Item, Kind};

const LANES: [&str; 3] = ["a", "b", "c"];

fn item(number: u32) -> Item {
    let text = format!(r#"{{"jid":"{number}","id":"m{}","fun":"f","return":{number}}}"#, number % 3);
    items::parse(Kind::Return, &text, String::new).unwrap()
}

fn jid(entry: &Entry) -> u32 {
    let Item::Return(item) = &entry.item else { panic!() };
    item.jid.parse().unwrap()
}

fn dead_letter(entry: Arc<Entry>) -> DeadLetter {
    let (reason, plugin, stderr) = ("r".to_owned(), "p".to_owned(), String::new());
    DeadLetter { entry, reason, plugin, stderr, tries: 1, at: 1 }
}

fn bounds() -> Bounds {
    // A tail of a few items, so that reading from the disk is tried too.
    Bounds { tail: 2000, ..Bounds::of_a_test() }
}

struct Opened {
    journal: Journal,
    lanes: Vec<LaneState>,
}

async fn open(path: &Path) -> Opened {
    open_within(path, bounds()).await
}

async fn open_within(path: &Path, bounds: Bounds) -> Opened {
    let journal = Journal::open(path, bounds, JournalMetrics::default()).unwrap();
    let mut lanes = Vec::new();
    for name in LANES {
        lanes.push(journal.lane(name).await.unwrap());
    }
    Opened { journal, lanes }
}

/// With one lane, and bounds of a test's.
async fn open_one(path: &Path, bounds: Bounds) -> Opened {
    let journal = Journal::open(path, bounds, JournalMetrics::default()).unwrap();
    let lanes = vec![journal.lane("a").await.unwrap()];
    Opened { journal, lanes }
}

impl Opened {
    async fn append(&self, numbers: &[u32], lanes: &[usize], dedupe: bool) -> Appended {
        let ids: Arc<[LaneId]> = lanes.iter().map(|lane| self.lanes[*lane].id).collect();
        let new = |number: &u32| {
            let item = item(*number);
            let Item::Return(answer) = &item else { panic!() };
            let dedupe = dedupe.then_some(answer.key);
            NewItem { item, accepted: now(), lanes: Arc::clone(&ids), dedupe }
        };
        self.journal.append(numbers.iter().map(new).collect()).await.unwrap()
    }

    /// All that a lane has after a place, in windows of two.
    async fn read(&self, lane: usize, mut after: Seq) -> Vec<(Seq, u32)> {
        let mut all = Vec::new();
        loop {
            let window = self.journal.next(self.lanes[lane].id, after, 2, 1 << 20).await.unwrap();
            all.extend(window.entries.iter().map(|entry| (entry.seq, jid(entry))));
            if window.entries.is_empty() {
                return all;
            }
            assert!(window.through > after);
            after = window.through;
        }
    }

    /// A crash: the thread ends without writing what is settled, and without the mark of
    /// a clean stop.
    fn crash(self) {
        let thread = self.journal.thread.lock().take().unwrap();
        drop(self.journal);
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_key_is_taken_once_for_each_lane() {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path()).await;
    assert_eq!(opened.append(&[1, 1, 2], &[0], true).await.duplicates, 1);
    assert_eq!(opened.append(&[1], &[0, 1], true).await.duplicates, 0);
    assert_eq!(opened.append(&[1], &[1, 0], true).await.duplicates, 1);
    assert_eq!(opened.append(&[1], &[0], false).await.duplicates, 0);
    opened.journal.close(true).await;
    drop(opened);
    opened = open(directory.path()).await;
    assert_eq!(opened.append(&[1, 2, 3], &[0], true).await.duplicates, 2);
    let numbers = |read: Vec<(Seq, u32)>| read.into_iter().map(|(_, number)| number).collect::<Vec<_>>();
    assert_eq!(numbers(opened.read(0, 0).await), [1, 2, 1, 3]);
    assert_eq!(numbers(opened.read(1, 0).await), [1]);
    assert_eq!(opened.journal.depth(opened.lanes[0].id), 4);
}

/// What is dropped is gone: sent again, it is new.
#[tokio::test]
async fn a_dead_letter_that_is_dropped_is_no_duplicate_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path()).await;
    opened.append(&[1, 2], &[0, 1], true).await;
    let entry = opened.journal.next(opened.lanes[0].id, 0, 1, 1 << 20).await.unwrap().entries.remove(0);
    let dead = vec![dead_letter(entry)];
    let settlement = Settlement { through: 1, settled: 1, dead, ..Settlement::default() };
    opened.journal.settle(opened.lanes[0].id, settlement).unwrap();
    assert_eq!(opened.append(&[1], &[0, 1], true).await.duplicates, 1, "it may be replayed");
    let ids = opened.journal.dead_ids(DeadFilter::default(), 10).await.unwrap();
    assert_eq!(opened.journal.drop_dead(ids).await.unwrap(), [opened.lanes[0].id]);
    // Also after a restart; the other lane has had it.
    opened.journal.close(true).await;
    drop(opened);
    opened = open(directory.path()).await;
    let again = opened.append(&[1, 2], &[0, 1], true).await;
    assert_eq!((again.duplicates, opened.read(0, 2).await), (1, vec![(again.through, 1)]));
    assert_eq!(opened.read(1, 2).await, []);
    assert_eq!(opened.append(&[1], &[0, 1], true).await.duplicates, 1);
}

#[tokio::test]
async fn a_key_is_forgotten_when_its_window_has_passed() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { window: Duration::from_secs(1), ..bounds() };
    let opened = open_one(directory.path(), bounds).await;
    let begun = now();
    opened.append(&[1], &[0], true).await;
    while opened.append(&[1], &[0], true).await.duplicates == 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(now() - begun >= 1000, "it was forgotten early");
}

/// A host that rested between two requests remembers no longer than one that did not.
#[tokio::test]
async fn a_key_is_forgotten_when_nothing_happens_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { window: Duration::from_millis(200), ..bounds() };
    let opened = open_one(directory.path(), bounds).await;
    opened.append(&[1, 2], &[0], true).await;
    let begun = now();
    while now() - begun <= 300 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(opened.append(&[1, 2], &[0], true).await.duplicates, 0);
}

#[tokio::test]
async fn nothing_is_a_copy_where_nothing_is_to_be_remembered() {
    for (window, keys) in [(0, 1000), (600, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { window: Duration::from_secs(window), keys, ..bounds() };
        let opened = open_one(directory.path(), bounds).await;
        assert_eq!(opened.append(&[1, 1], &[0], true).await.duplicates, 0);
        assert_eq!(opened.append(&[1], &[0], true).await.duplicates, 0);
    }
}

/// The key is that of the newer one by then, which the lane may have stored.
#[tokio::test]
async fn a_dead_letter_that_is_dropped_late_makes_no_newer_one_new() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { window: Duration::from_millis(500), ..bounds() };
    let opened = open_one(directory.path(), bounds).await;
    let lane = opened.lanes[0].id;
    opened.append(&[1], &[0], true).await;
    let entry = opened.journal.next(lane, 0, 1, 1 << 20).await.unwrap().entries.remove(0);
    let dead = vec![dead_letter(entry)];
    opened
        .journal
        .settle(lane, Settlement { through: 1, settled: 1, dead, ..Settlement::default() })
        .unwrap();
    while opened.append(&[1], &[0], true).await.duplicates == 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ids = opened.journal.dead_ids(DeadFilter::default(), 10).await.unwrap();
    assert_eq!(opened.journal.drop_dead(ids).await.unwrap(), [lane]);
    assert_eq!(opened.append(&[1], &[0], true).await.duplicates, 1);
}

/// A clock may be set, and others may get the same item later: what a lane dropped is new to it.
#[tokio::test]
async fn what_is_dropped_is_new_whenever_it_was_accepted_and_whoever_got_it_since() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { window: Duration::from_secs(3600), ..bounds() };
    let mut opened = open_within(directory.path(), bounds).await;
    let lane = opened.lanes[0].id;
    // Accepted, by the clock of the wall, long before the window.
    let item = item(1);
    let new = NewItem { dedupe: item.dedupe_key(), item, accepted: 1, lanes: Arc::from([lane]) };
    opened.journal.append(vec![new]).await.unwrap();
    let entry = opened.journal.next(lane, 0, 1, 1 << 20).await.unwrap().entries.remove(0);
    let dead = vec![dead_letter(entry)];
    opened
        .journal
        .settle(lane, Settlement { through: 1, settled: 1, dead, ..Settlement::default() })
        .unwrap();
    for other in [1, 2] {
        assert_eq!(opened.append(&[1], &[other], true).await.duplicates, 0);
    }
    opened.journal.close(true).await;
    drop(opened);
    opened = open_within(directory.path(), bounds).await;
    assert_eq!(opened.append(&[1], &[0, 1, 2], true).await.duplicates, 1);
    let ids = opened.journal.dead_ids(DeadFilter::default(), 10).await.unwrap();
    assert_eq!(opened.journal.drop_dead(ids).await.unwrap(), [lane]);
    assert_eq!(opened.append(&[1], &[1, 2], true).await.duplicates, 1);
    opened.journal.close(true).await;
    drop(opened);
    opened = open_within(directory.path(), bounds).await;
    let again = opened.append(&[1], &[0, 1, 2], true).await;
    assert_eq!((again.duplicates, opened.read(0, 1).await), (0, vec![(again.through, 1)]));
    assert_eq!(opened.append(&[1], &[0, 1, 2], true).await.duplicates, 1);
}

/// Each lane's time is its own: that another one got the item since makes it no longer.
#[tokio::test]
async fn a_key_is_forgotten_for_each_lane_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { window: Duration::from_secs(2), ..bounds() };
    let opened = open_within(directory.path(), bounds).await;
    let begun = now();
    opened.append(&[1], &[0], true).await;
    while now() - begun < 1200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(opened.append(&[1], &[0, 1], true).await.duplicates, 0);
    let second = now();
    while opened.append(&[1], &[0], true).await.duplicates == 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(now() - begun >= 2000, "it was forgotten early");
    if now() - second < 2000 {
        assert_eq!(opened.append(&[1], &[1], true).await.duplicates, 1, "its time is not over");
    }
}

/// Those that some lane had are told, too: it may have set them aside.
#[tokio::test]
async fn what_some_lane_had_is_told_as_repeated_and_looked_for_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    let lane = opened.lanes[0].id;
    assert_eq!(opened.append(&[1], &[0], true).await.repeated, []);
    let entry = opened.journal.next(lane, 0, 1, 1 << 20).await.unwrap().entries.remove(0);
    let again = opened.append(&[1], &[0, 1], true).await;
    assert_eq!((again.duplicates, again.repeated.len()), (0, 1));
    let aside = async || {
        let keys = again.repeated.iter().copied().collect();
        let SetAside { held, rejected } =
            opened.journal.set_aside(lane, again.first..=again.through, keys).await.unwrap();
        (held, rejected)
    };
    assert_eq!(aside().await, (false, false));
    let dead = vec![dead_letter(entry)];
    opened
        .journal
        .settle(lane, Settlement { through: 1, settled: 1, dead, ..Settlement::default() })
        .unwrap();
    assert_eq!(aside().await, (false, true));
    let ids = opened.journal.dead_ids(DeadFilter::default(), 10).await.unwrap();
    opened.journal.replay(ids).await.unwrap();
    assert_eq!(aside().await, (true, false));
}

/// What became of the first is settled, and the journal cannot be written: nobody is told that it
/// is stored.
#[tokio::test]
async fn what_is_not_known_of_what_is_repeated_counts_as_held() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    let lane = opened.lanes[0].id;
    opened.append(&[1], &[0], true).await;
    let entry = opened.journal.next(lane, 0, 1, 1 << 20).await.unwrap().entries.remove(0);
    let again = opened.append(&[1], &[0], true).await;
    let aside = async |keys: &[Key]| {
        let (seqs, keys) = (again.first..=again.through, keys.iter().copied().collect());
        let SetAside { held, rejected } = opened.journal.set_aside(lane, seqs, keys).await.unwrap();
        (held, rejected)
    };
    let (path, beside) = (directory.path().join("journal.db"), directory.path().join("beside"));
    std::fs::rename(&path, &beside).unwrap();
    let dead = vec![dead_letter(entry)];
    opened
        .journal
        .settle(lane, Settlement { through: 1, settled: 1, dead, ..Settlement::default() })
        .unwrap();
    assert_eq!((aside(&again.repeated).await, aside(&[]).await), ((true, false), (false, false)));
    std::fs::rename(&beside, &path).unwrap();
    while aside(&again.repeated).await != (false, true) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The wall clock is set a day on, or back, while no host runs: the window is as long as before.
/// Only after another boot there is nothing else to go by.
#[tokio::test]
async fn a_key_is_known_after_a_restart_with_another_clock() {
    const DAY: i64 = 86_400_000;
    for (earlier, same_boot, known) in [(DAY, true, 1), (-DAY, true, 1), (DAY, false, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path()).await;
        opened.append(&[1], &[0], true).await;
        opened.journal.close(true).await;
        drop(opened);
        let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
        seen::shift(&database, -earlier).unwrap();
        let boot = |name| schema::state(&database, name).unwrap().unwrap();
        schema::set_state(&database, "at_boot", boot("at_boot") - earlier).unwrap();
        schema::set_state(&database, "boot", boot("boot") ^ i64::from(!same_boot)).unwrap();
        drop(database);
        // Once it is dated anew, it stays so.
        for _ in 0..2 {
            let opened = open(directory.path()).await;
            let again = opened.append(&[1], &[0], true).await.duplicates;
            assert_eq!(again, known, "{earlier}, the same boot: {same_boot}");
            if !same_boot {
                break;
            }
            opened.journal.close(true).await;
        }
    }
}

#[tokio::test]
async fn keys_beyond_the_bound_are_forgotten_on_disk_too() {
    for keys in [0, 15] {
        let directory = tempfile::tempdir().unwrap();
        let bounds = Bounds { keys, ..bounds() };
        let opened = open_one(directory.path(), bounds).await;
        for round in 0..20_u32 {
            let numbers: Vec<u32> = (round * 10..round * 10 + 10).collect();
            assert_eq!(opened.append(&numbers, &[0], true).await.duplicates, 0);
        }
        let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
        let count = |which: &str| -> u64 {
            let select = format!("SELECT count(*) FROM seen WHERE octet_length(keys) {which}");
            database.query_row(&select, [], |row| row.get(0)).unwrap()
        };
        let rows = count("> 0");
        assert!(rows <= 2, "{rows} commits are kept for {keys} keys");
        assert!(count("= 0") <= 1, "one tells what was forgotten");
    }
}

#[tokio::test]
async fn what_every_lane_settled_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    opened.append(&[1, 2], &[0, 1], true).await;
    opened.append(&[3], &[1], true).await;
    let settled = |through, settled| Settlement { through, settled, ..Settlement::default() };
    let ids = [opened.lanes[0].id, opened.lanes[1].id];
    opened.journal.settle(ids[0], settled(3, 2)).unwrap();
    opened.append(&[4], &[0], true).await;
    let count = || {
        let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
        database.query_row("SELECT count(*) FROM items", [], |row| row.get::<_, u64>(0)).unwrap()
    };
    assert_eq!(count(), 4);
    opened.journal.settle(ids[1], settled(3, 3)).unwrap();
    while count() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let kept = KeptLane { name: "a".to_owned(), id: LaneId(1), pending: 1 };
    assert_eq!(opened.journal.kept_lanes().await.unwrap(), [kept]);
}

/// Trimming waits for a rest, but not for long.
#[tokio::test]
async fn what_is_settled_is_removed_while_items_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    let lane = opened.lanes[0].id;
    for round in 0..400_u32 {
        let numbers: Vec<u32> = (round * 10..round * 10 + 10).collect();
        let through = opened.append(&numbers, &[0], true).await.through;
        opened.journal.settle(lane, Settlement { through, settled: 10, ..Settlement::default() }).unwrap();
    }
    let count: u64 = database.query_row("SELECT count(*) FROM items", [], |row| row.get(0)).unwrap();
    assert!(count < 2000, "{count} of 4000 items are still there");
}

#[tokio::test]
async fn a_second_host_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    let lock = directory.path().join("lock");
    // Also where somebody removes what it seems to wait for.
    for _ in 0..2 {
        assert!(matches!(
            Journal::open(directory.path(), bounds(), JournalMetrics::default()),
            Err(OpenError::InUse { .. })
        ));
        assert!(matches!(check(directory.path()), Err(OpenError::InUse { .. })));
        std::fs::remove_file(&lock).unwrap();
    }
    drop(opened);
    drop(open(directory.path()).await);
}

/// A return of a hundred kilobytes.
fn large(lane: LaneId) -> NewItem {
    let text = format!(r#"{{"jid":"1","id":"m","fun":"f","return":"{}"}}"#, "x".repeat(100_000));
    NewItem {
        item: items::parse(Kind::Return, &text, String::new).unwrap(),
        accepted: 1,
        lanes: Arc::from([lane]),
        dedupe: None,
    }
}

async fn there_is_room(journal: &Journal, lane: LaneId) {
    let wait = async {
        while journal.append(vec![large(lane)]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
}

#[tokio::test]
async fn a_full_journal_refuses_and_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let journal =
        Journal::open(directory.path(), Bounds { size: 1 << 20, ..bounds() }, JournalMetrics::default())
            .unwrap();
    let lane = journal.lane("a").await.unwrap();
    let new = || large(lane.id);
    let mut taken = 0;
    let refused = loop {
        match journal.append(vec![new()]).await {
            Ok(appended) => taken = appended.through,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&refused, AppendError::Full { behind, .. } if behind.as_deref() == Some("a")),
        "{refused}"
    );
    assert!((5..=12).contains(&taken), "{taken}");
    journal.settle(lane.id, Settlement { through: taken, settled: taken, ..Settlement::default() }).unwrap();
    // The refused call is not needed to make room: settling is written by itself.
    there_is_room(&journal, lane.id).await;
}

/// What is settled there can be asked for, as where there is room: the newest dead letters may be
/// what fills it.
#[tokio::test]
async fn what_is_settled_in_a_full_journal_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { size: 1 << 20, ..bounds() };
    let journal = Journal::open(directory.path(), bounds, JournalMetrics::default()).unwrap();
    let lane = journal.lane("a").await.unwrap();
    while journal.append(vec![large(lane.id)]).await.is_ok() {}
    for through in 1..=3 {
        let entry = journal.next(lane.id, through - 1, 1, 1 << 20).await.unwrap().entries.remove(0);
        let dead = vec![dead_letter(entry)];
        journal.settle(lane.id, Settlement { through, settled: 1, dead, ..Settlement::default() }).unwrap();
        journal.catch_up().await.unwrap();
        assert_eq!(journal.dead_count(lane.id).await.unwrap(), through);
        assert!(journal.append(Vec::new()).await.is_err(), "it is as full as before");
    }
    assert_eq!(journal.replay_of(lane.id, vec![1, 2, 3]).await.unwrap().len(), 3);
}

/// A lane that has ended and has nothing to do keeps nothing in memory for itself.
#[tokio::test]
async fn a_lane_that_stands_still_holds_nothing_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_within(directory.path(), Bounds { tail: 64 << 20, ..bounds() }).await;
    let lane = opened.lanes[0].id;
    let numbers: Vec<u32> = (0..1000).collect();
    for round in 1..=6 {
        opened.append(&numbers, &[0], false).await;
        let through = round * 1000;
        let settlement = Settlement { through, settled: 1000, ..Settlement::default() };
        opened.journal.settle(lane, settlement).unwrap();
    }
    opened.journal.catch_up().await.unwrap();
    let (other, head) = (opened.lanes[1].id, *opened.journal.head().borrow());
    assert!(opened.journal.tail.next(other, 0, head, 1, 1).is_none(), "all of it is still there");
    assert_eq!(opened.read(1, 0).await, []);
}

/// A journal that dead letters fill says so, and has room again when they are dropped: nothing
/// else has to happen.
#[tokio::test]
async fn dead_letters_that_are_dropped_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { size: 1 << 20, ..bounds() };
    let journal = Journal::open(directory.path(), bounds, JournalMetrics::default()).unwrap();
    let lane = journal.lane("a").await.unwrap();
    let new = || large(lane.id);
    while journal.append(vec![new()]).await.is_ok() {}
    let window = journal.next(lane.id, 0, 100, 100 << 20).await.unwrap();
    let settled = window.entries.len() as u64;
    let dead = window.entries.into_iter().map(dead_letter).collect();
    journal
        .settle(lane.id, Settlement { through: window.through, settled, dead, ..Settlement::default() })
        .unwrap();
    let refused = async {
        loop {
            match journal.append(vec![new()]).await {
                Err(error @ AppendError::Full { behind: None, .. }) => break error,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert!(refused.to_string().contains("dead letters"), "{refused}");
    let ids = journal.dead_ids(DeadFilter::default(), 100).await.unwrap();
    journal.drop_dead(ids).await.unwrap();
    there_is_room(&journal, lane.id).await;
}

/// One item that waits is no reason for a journal that others fill.
#[tokio::test]
async fn a_journal_that_dead_letters_fill_blames_no_lane() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { size: 1 << 20, ..bounds() };
    let opened = open_one(directory.path(), bounds).await;
    let (journal, lane) = (&opened.journal, opened.lanes[0].id);
    opened.append(&[1], &[0], false).await;
    let first = Held { seq: 1, tries: 1, not_before: 0, reason: "r".into(), redelivered: false };
    let refused = loop {
        let through = match journal.append(vec![large(lane)]).await {
            Ok(appended) => appended.through,
            Err(error) => break error,
        };
        let entry = journal.next(lane, through - 1, 1, 1 << 20).await.unwrap().entries.remove(0);
        let (held, dead) = (vec![first.clone()], vec![dead_letter(entry)]);
        let settlement = Settlement { through, settled: 1, held, dead, ..Settlement::default() };
        journal.settle(lane, settlement).unwrap();
    };
    assert!(matches!(refused, AppendError::Full { behind: None, .. }), "{refused}");
    assert_eq!(journal.depth(lane), 1);
}

/// What is kept for a lane goes, the others keep theirs, and nothing falls behind the mark of
/// what was acknowledged: the journal opens again.
#[tokio::test]
async fn a_lane_that_is_abandoned_has_nothing_and_stays_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = open(directory.path()).await;
    opened.append(&[1, 2, 3, 4], &[0, 1], true).await;
    opened.append(&[5], &[0], true).await;
    let held = Held { seq: 1, tries: 1, not_before: 0, reason: "r".into(), redelivered: false };
    let settlement = Settlement { through: 2, settled: 1, held: vec![held], ..Settlement::default() };
    opened.journal.settle(opened.lanes[0].id, settlement).unwrap();
    // Looked up, a lane knows what it settled last.
    let lane = opened.journal.lane("a").await.unwrap();
    assert_eq!((lane.cursor, lane.held.len(), opened.journal.depth(lane.id)), (2, 1, 4));
    assert_eq!(opened.journal.abandon(&lane).await.unwrap(), 4);
    assert_eq!(opened.journal.depth(lane.id), 0);
    for _ in 0..2 {
        assert_eq!(opened.journal.lane("a").await.unwrap().held, []);
        assert_eq!(opened.read(0, 5).await, []);
        assert_eq!(opened.read(1, 0).await.len(), 4);
        opened.journal.close(true).await;
        drop(opened);
        opened = open(directory.path()).await;
    }
    // 2 was stored by both; the rest is new to the lane that has nothing of it.
    let again = opened.append(&[1, 2, 3, 4, 5], &[0, 1], true).await;
    assert_eq!(again.duplicates, 1);
    let numbers: Vec<u32> = opened.read(0, 5).await.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [1, 3, 4, 5]);
}
