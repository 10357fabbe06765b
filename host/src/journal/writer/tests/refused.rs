//! What was refused because its flush failed is not there when it is sent again.
//!
//! No disk fails a flush on demand; but a log that is removed while something is written has all of
//! a transaction that is refused, too.

use super::*;

const FIRST: LaneId = LaneId(1);
const SECOND: LaneId = LaneId(2);

fn with_two_lanes(directory: &Path) -> Writer {
    let mut writer = writer_within(directory, Bounds::of_a_test());
    writer.lane("b").unwrap();
    writer
}

fn new(jids: &[u32], lanes: &[LaneId]) -> Vec<NewItem> {
    let new = |jid: &u32| {
        let text = format!(r#"{{"jid":"{jid}","id":"m","fun":"f","return":{jid}}}"#);
        let item = items::parse(Kind::Return, &text, String::new).unwrap();
        NewItem { dedupe: item.dedupe_key(), item, accepted: 1, lanes: Arc::from(lanes) }
    };
    jids.iter().map(new).collect()
}

fn take(writer: &mut Writer, items: Vec<NewItem>) -> Appended {
    let (reply, mut answer) = oneshot::channel();
    writer.flush(vec![(items, reply)]);
    answer.try_recv().unwrap().unwrap()
}

/// Writes all of it, and fails as with this error.
fn refuse(writer: &mut Writer, directory: &Path, items: Vec<NewItem>, error: Option<rusqlite::Error>) {
    std::fs::remove_file(directory.join("journal.db-wal")).unwrap();
    let refused = writer.commit(&mut vec![(items, oneshot::channel().0)]).unwrap_err();
    writer.failed(&error.unwrap_or(refused));
}

/// As it goes on by itself after its rest.
fn go_on(writer: &mut Writer) {
    writer.trouble.as_mut().unwrap().rest_until = Instant::now();
    writer.flush(Appends::new());
    assert!(writer.trouble.is_none());
}

fn pending(writer: &Writer) -> [u64; 2] {
    [FIRST, SECOND].map(|lane| writer.book.lanes[&lane].pending)
}

fn is_whole(writer: Writer, directory: &Path) -> u64 {
    drop(writer);
    check(directory).unwrap().items.unwrap()
}

#[test]
fn what_was_refused_is_new_when_it_is_sent_again() {
    for error in [None, Some(flush_failed())] {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = with_two_lanes(directory.path());
        take(&mut writer, new(&[1, 2], &[FIRST]));
        // The first lane has had one of them, and the second none.
        refuse(&mut writer, directory.path(), new(&[2, 3], &[FIRST, SECOND]), error);
        go_on(&mut writer);
        assert_eq!((items(directory.path()), *writer.head.borrow(), pending(&writer)), (2, 2, [2, 0]));
        let again = take(&mut writer, new(&[2, 3], &[FIRST, SECOND]));
        assert_eq!((again.first, again.through, again.duplicates), (3, 4, 0));
        assert_eq!(pending(&writer), [3, 2]);
        // What was acknowledged before is a copy still, and what is now.
        assert_eq!(take(&mut writer, new(&[1, 2, 3], &[FIRST])).duplicates, 3);
        assert_eq!(take(&mut writer, new(&[2, 3], &[SECOND])).duplicates, 2);
        assert_eq!(is_whole(writer, directory.path()), 4);
    }
}

/// It was in the same transaction, and is true: it counts, and counts once.
#[test]
fn what_was_settled_with_what_was_refused_stays_settled() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = with_two_lanes(directory.path());
    take(&mut writer, new(&[1, 2, 3], &[FIRST, SECOND]));
    let entry = Arc::clone(&writer.shared.tail.next(FIRST, 1, 3, 1, 1 << 20).unwrap().entries[0]);
    let (reason, plugin, stderr) = ("r".to_owned(), "p".to_owned(), String::new());
    let dead = vec![DeadLetter { entry, reason: reason.clone(), plugin, stderr, tries: 1, at: 1 }];
    let held = vec![Held { seq: 1, tries: 1, not_before: 0, reason: reason.into(), redelivered: false }];
    writer.note(FIRST, Settlement { through: 2, settled: 1, held, dead, ..Settlement::default() });
    writer.note(SECOND, Settlement { through: 3, settled: 3, ..Settlement::default() });
    refuse(&mut writer, directory.path(), new(&[4], &[FIRST, SECOND]), None);
    go_on(&mut writer);
    assert!(writer.settlements.waiting.is_empty());
    assert_eq!(pending(&writer), [2, 0]);
    assert_eq!(held::of(&writer.connection, FIRST).unwrap().len(), 1);
    assert_eq!(dead::count(&writer.connection, FIRST).unwrap(), 1);
    assert_eq!(take(&mut writer, new(&[4], &[FIRST, SECOND])).first, 4);
    assert_eq!(pending(&writer), [3, 1]);
    is_whole(writer, directory.path());
}

/// Lanes are told of nothing that comes and goes.
#[test]
fn nobody_sees_what_was_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = with_two_lanes(directory.path());
    take(&mut writer, new(&[1], &[FIRST]));
    let mut head = writer.head.subscribe();
    head.mark_unchanged();
    refuse(&mut writer, directory.path(), new(&[2], &[FIRST]), Some(flush_failed()));
    go_on(&mut writer);
    assert!(!head.has_changed().unwrap() && *head.borrow() == 1);
    let reader = Reader::open(&directory.path().join("journal.db")).unwrap();
    assert!(reader.next(FIRST, 1, Seq::MAX >> 1, 9, 1 << 20).unwrap().entries.is_empty());
    assert_eq!(writer.mark.get(), Some(1));
}

/// A stop that puts a lost journal back takes nothing of it along.
#[test]
fn what_was_refused_is_not_put_back_with_a_database_that_was_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = with_two_lanes(directory.path());
    take(&mut writer, new(&[1], &[FIRST]));
    std::fs::remove_file(directory.path().join("journal.db")).unwrap();
    let refused = writer.commit(&mut vec![(new(&[2], &[FIRST]), oneshot::channel().0)]).unwrap_err();
    writer.failed(&refused);
    writer.close(true);
    assert_eq!(check(directory.path()).unwrap().items, Some(1));
    let mut writer = with_two_lanes(directory.path());
    assert_eq!(take(&mut writer, new(&[1, 2], &[FIRST])).duplicates, 1);
}
