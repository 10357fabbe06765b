//! A place has one item, also where damage has taken what says how far places were given.

use std::fs;

use super::*;

/// Where nobody knows how far a lane was, its dead letters still say which places were given: what
/// comes next takes none of them, and a replay hands back what was saved.
#[tokio::test]
async fn what_comes_after_a_rescue_takes_no_place_of_a_dead_letter() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_one(directory.path(), bounds()).await;
    let lane = opened.lanes[0].id;
    opened.append(&[1, 2, 3], &[0], false).await;
    let window = opened.journal.next(lane, 0, 3, 1 << 20).await.unwrap();
    let dead = window.entries.into_iter().map(dead_letter).collect();
    opened
        .journal
        .settle(lane, Settlement { through: 3, settled: 3, dead, ..Settlement::default() })
        .unwrap();
    opened.journal.close(true).await;
    drop(opened);
    let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    database.execute("UPDATE lanes SET sum = sum + 1", []).unwrap();
    drop(database);
    let rescued = rescue(directory.path()).unwrap();
    assert_eq!((rescued.items, rescued.dead, rescued.missing.len()), (0, 3, 1), "{:?}", rescued.missing);

    let opened = open_one(directory.path(), bounds()).await;
    assert_eq!(opened.append(&[4], &[0], false).await.first, 4);
    let entry = opened.journal.next(lane, 3, 1, 1 << 20).await.unwrap().entries.remove(0);
    let settlement =
        Settlement { through: 4, settled: 1, dead: vec![dead_letter(entry)], ..Settlement::default() };
    opened.journal.settle(lane, settlement).unwrap();
    opened.append(&[5], &[0], false).await;
    let ids = opened.journal.dead_ids(DeadFilter::default(), 10).await.unwrap();
    assert_eq!(ids.len(), 4);
    let held = opened.journal.replay(ids).await.unwrap();
    let seqs = held.into_iter().map(|(_, held)| held.seq).collect();
    let back = opened.journal.entries(lane, seqs, usize::MAX).await.unwrap();
    assert_eq!(back.iter().map(|entry| jid(entry)).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

/// Also where none of them is left when a lane begins.
#[tokio::test]
async fn a_place_is_not_given_again_when_its_dead_letter_is_dropped_after_a_rescue() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_one(directory.path(), bounds()).await;
    opened.append(&[1, 2], &[0], false).await;
    let lane = opened.lanes[0].id;
    let window = opened.journal.next(lane, 0, 2, 1 << 20).await.unwrap();
    let dead = window.entries.into_iter().map(dead_letter).collect();
    let settlement = Settlement { through: 2, settled: 2, dead, ..Settlement::default() };
    opened.journal.settle(lane, settlement).unwrap();
    opened.journal.close(true).await;
    drop(opened);
    // As a host before this one left it: no lane has reached what its dead letters have.
    let database = rusqlite::Connection::open(directory.path().join("journal.db")).unwrap();
    database.execute("DELETE FROM lanes", []).unwrap();
    drop(database);
    fs::remove_file(directory.path().join("acknowledged")).unwrap();
    for expected in [3, 4] {
        let opened = open_one(directory.path(), bounds()).await;
        let ids = opened.journal.dead_ids(DeadFilter::default(), 10).await.unwrap();
        opened.journal.drop_dead(ids).await.unwrap();
        let appended = opened.append(&[expected], &[0], false).await;
        assert_eq!(u64::from(expected), appended.first);
        opened.journal.close(true).await;
    }
}
