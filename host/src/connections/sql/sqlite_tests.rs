//! SQLite needs no server: what `sql` promises is tried on it.

use std::time::Instant;

use super::*;
use crate::connections::sql::{SqlPool, SqlTransaction};

const BOUND: Duration = Duration::from_secs(2);
const BOUNDS: AnswerBounds = AnswerBounds { bytes: 1 << 20, rows: 1000 };

struct Fixture {
    directory: tempfile::TempDir,
    pool: SqlPool,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let pool = open(&directory.path().join("deeper/salt.db"), BOUND);
        let fixture = Self { directory, pool };
        let mut transaction = fixture.begin().await;
        execute(&mut transaction, "CREATE TABLE t (a UNIQUE, b)").await.expect("a table");
        transaction.commit().await.expect("a commit");
        fixture
    }

    async fn begin(&self) -> SqlTransaction {
        self.pool.begin(Purpose::Read).await.expect("a transaction")
    }

    async fn count(&self) -> SqlValue {
        let mut transaction = self.begin().await;
        let rows = query(&mut transaction, "SELECT count(*) FROM t").await.expect("a count");
        transaction.commit().await.expect("a commit");
        rows.rows[0][0].clone()
    }
}

fn open(path: &Path, bound: Duration) -> SqlPool {
    let timeout = Duration::from_millis(200);
    SqlPool::sqlite(&SqliteSettings { database: path.to_owned(), timeout }, bound)
}

async fn execute(transaction: &mut SqlTransaction, statement: &str) -> Result<u64, SqlError> {
    transaction.execute(statement.to_owned(), Vec::new()).await
}

async fn query(transaction: &mut SqlTransaction, statement: &str) -> Result<SqlRows, SqlError> {
    transaction.query(statement.to_owned(), Vec::new(), BOUNDS).await
}

async fn refused(transaction: &mut SqlTransaction, statement: &str) -> SqlError {
    match execute(transaction, statement).await {
        Err(error) => error,
        Ok(_) => panic!("`{statement}` was not refused"),
    }
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let fixture = Fixture::new().await;
    let values = vec![
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Float(0.1),
        SqlValue::Text("😀".to_owned()),
        SqlValue::Bytes(vec![0, 255]),
    ];
    let mut transaction = fixture.begin().await;
    let rows = transaction
        .query("SELECT ?, ?, ?, ?, ? AS bytes".to_owned(), values.clone(), BOUNDS)
        .await
        .expect("a row");
    assert_eq!(rows.rows, [values]);
    assert_eq!(rows.columns[4], "bytes");
    let few =
        transaction.query("SELECT ?, ?".to_owned(), vec![SqlValue::Null], BOUNDS).await.expect_err("too few");
    assert_eq!((few.kind, few.retryable), (SqlErrorKind::Statement, false));
}

#[tokio::test]
async fn only_a_commit_keeps_what_was_written() {
    let fixture = Fixture::new().await;
    let mut dropped = fixture.begin().await;
    execute(&mut dropped, "INSERT INTO t VALUES (1, 1)").await.expect("a row");
    drop(dropped);
    let mut undone = fixture.begin().await;
    execute(&mut undone, "INSERT INTO t VALUES (2, 1)").await.expect("a row");
    undone.rollback().await;
    assert_eq!(fixture.count().await, SqlValue::Integer(0));
    let mut kept = fixture.begin().await;
    assert_eq!(execute(&mut kept, "INSERT INTO t VALUES (3, 1), (4, 1)").await, Ok(2));
    kept.commit().await.expect("a commit");
    assert_eq!(fixture.count().await, SqlValue::Integer(2));
}

#[tokio::test]
async fn a_constraint_does_not_end_the_transaction() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.begin().await;
    execute(&mut transaction, "INSERT INTO t VALUES (1, 1)").await.expect("a row");
    let error = refused(&mut transaction, "INSERT INTO t VALUES (1, 2)").await;
    assert_eq!(
        (error.kind, error.code.as_deref(), error.retryable),
        (SqlErrorKind::Constraint, Some("2067"), false)
    );
    transaction.commit().await.expect("a commit");
    assert_eq!(fixture.count().await, SqlValue::Integer(1));
}

#[tokio::test]
async fn a_guest_reaches_this_file_only() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.begin().await;
    let other = fixture.directory.path().join("other.db");
    let denied = [
        format!("ATTACH DATABASE '{}' AS other", other.display()),
        "PRAGMA journal_mode = delete".to_owned(),
        "PRAGMA synchronous = off".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        // They take time with the square of the text, and nothing can stop them.
        "SELECT json_patch('{}', '{}')".to_owned(),
        "SELECT JSONB_Patch('{}', '{}')".to_owned(),
        "SELECT json_pretty('{}')".to_owned(),
        // They would come before the real ones for whoever has the connection next.
        "CREATE TEMP TABLE t (value)".to_owned(),
        "CREATE TABLE temp.t (value)".to_owned(),
        "CREATE TEMPORARY VIEW v AS SELECT 1".to_owned(),
        "CREATE TEMP TRIGGER r INSERT ON t BEGIN DELETE FROM t; END".to_owned(),
    ];
    for statement in denied {
        let error = refused(&mut transaction, &statement).await;
        assert!(!error.retryable, "{statement}: {error}");
    }
    execute(&mut transaction, "SELECT 1").await.expect("the transaction goes on");
    let vacuum = format!("VACUUM INTO '{}'", other.display());
    refused(&mut transaction, &vacuum).await;
    assert!(!other.exists());
    for statement in ["COMMIT", "SAVEPOINT s", "/**/ rollback"] {
        assert_eq!(refused(&mut transaction, statement).await.kind, SqlErrorKind::Statement);
    }
    assert!(query(&mut transaction, "PRAGMA table_info(t)").await.is_ok());
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

#[tokio::test]
async fn an_endless_statement_is_stopped() {
    let fixture = Fixture::new().await;
    let pool = open(&fixture.directory.path().join("deeper/salt.db"), Duration::from_millis(300));
    let mut transaction = pool.begin(Purpose::Read).await.expect("a transaction");
    let begun = Instant::now();
    let error = query(&mut transaction, ENDLESS).await.expect_err("endless");
    assert_eq!((error.kind, error.retryable), (SqlErrorKind::Timeout, true));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(query(&mut transaction, "SELECT 1").await, Err(error));
    assert!(matches!(transaction.commit().await, Err(CommitError::RolledBack(_))));
    // Nothing goes on in the background: the writer's lock is free.
    let mut next = fixture.begin().await;
    execute(&mut next, "INSERT INTO t VALUES (1, 1)").await.expect("a row");
}

#[tokio::test]
async fn a_call_that_is_cancelled_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    for _ in 0..=CONNECTIONS {
        let mut transaction = fixture.begin().await;
        execute(&mut transaction, "INSERT INTO t VALUES (1, 1)").await.expect("a row");
        let cancelled = timeout(Duration::from_millis(50), query(&mut transaction, ENDLESS)).await;
        assert!(cancelled.is_err());
    }
    assert_eq!(fixture.count().await, SqlValue::Integer(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_take_turns_and_readers_do_not_wait() {
    let fixture = Arc::new(Fixture::new().await);
    let mut writer = fixture.begin().await;
    execute(&mut writer, "INSERT INTO t VALUES (-1, 1)").await.expect("a row");
    assert_eq!(fixture.count().await, SqlValue::Integer(0));
    let writing = (0..50).map(|number| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move {
            let mut transaction = fixture.begin().await;
            execute(&mut transaction, &format!("INSERT INTO t VALUES ({number}, 1)")).await.expect("a row");
            transaction.commit().await.expect("a commit");
        })
    });
    let writing: Vec<_> = writing.collect();
    writer.commit().await.expect("a commit");
    for one in writing {
        one.await.expect("no panic");
    }
    assert_eq!(fixture.count().await, SqlValue::Integer(51));
}

/// As plugins do with what is delivered again.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_look_first_take_turns_too() {
    let fixture = Arc::new(Fixture::new().await);
    let writing = (0..20).map(|_| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move {
            let mut transaction = fixture.pool.begin(Purpose::Write).await.expect("a transaction");
            let rows = query(&mut transaction, "SELECT count(*) FROM t").await.expect("a count").rows;
            let [SqlValue::Integer(count)] = rows[0][..] else { panic!("a count is a number: {rows:?}") };
            execute(&mut transaction, &format!("INSERT INTO t VALUES ({count}, 1)")).await.expect("a row");
            transaction.commit().await.expect("a commit");
        })
    });
    let writing: Vec<_> = writing.collect();
    for one in writing {
        one.await.expect("no panic");
    }
    assert_eq!(fixture.count().await, SqlValue::Integer(20));
}

/// A guest that sleeps in its transaction keeps others from writing for a while only, also those
/// that have connections of their own.
#[tokio::test]
async fn who_keeps_others_from_writing_is_undone() {
    let fixture = Fixture::new().await;
    let mut sleeping = fixture.begin().await;
    execute(&mut sleeping, "INSERT INTO t VALUES (1, 1)").await.expect("a row");
    let others = open(&fixture.directory.path().join("deeper/../deeper/salt.db"), Duration::from_secs(10));
    let mut transaction = others.begin(Purpose::Write).await.expect("a transaction");
    execute(&mut transaction, "INSERT INTO t VALUES (2, 2)").await.expect("its turn comes");
    transaction.commit().await.expect("a commit");
    let error = refused(&mut sleeping, "INSERT INTO t VALUES (3, 3)").await;
    assert!(error.retryable && error.message.contains("kept others from writing"), "{error}");
    assert!(matches!(sleeping.commit().await, Err(CommitError::RolledBack(_))));
    assert_eq!(fixture.count().await, SqlValue::Integer(1));
    // Nobody waits: it may take its time.
    let mut alone = fixture.begin().await;
    execute(&mut alone, "INSERT INTO t VALUES (4, 4)").await.expect("a row");
    sleep(HELD + LOOK).await;
    alone.commit().await.expect("a commit");
    assert_eq!(fixture.count().await, SqlValue::Integer(2));
}

#[tokio::test]
async fn another_process_that_writes_is_waited_for_and_then_named() {
    let fixture = Fixture::new().await;
    let other = Connection::open(fixture.directory.path().join("deeper/salt.db")).expect("a connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    let mut transaction = fixture.begin().await;
    let error = refused(&mut transaction, "INSERT INTO t VALUES (1, 1)").await;
    assert_eq!((error.kind, error.retryable), (SqlErrorKind::Timeout, true));
    assert!(matches!(transaction.commit().await, Err(CommitError::RolledBack(_))));
    other.execute_batch("COMMIT").expect("no lock");
    let mut transaction = fixture.begin().await;
    execute(&mut transaction, "INSERT INTO t VALUES (1, 1)").await.expect("a row");
    transaction.commit().await.expect("a commit");
}

#[tokio::test]
async fn a_file_that_was_deleted_is_made_anew() {
    let fixture = Fixture::new().await;
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(fixture.directory.path().join(format!("deeper/salt.db{end}")));
    }
    let mut transaction = fixture.begin().await;
    let error = refused(&mut transaction, "INSERT INTO t VALUES (1, 1)").await;
    assert_eq!((error.message.as_str(), error.retryable), ("no such table: t", true));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let fixture = Fixture::new().await;
    let path = fixture.directory.path().join("noise.db");
    fs::write(&path, "this is no database, and long enough to be looked at ".repeat(100)).expect("a file");
    let Err(error) = open(&path, BOUND).begin(Purpose::Read).await else { panic!("no database") };
    assert!(error.retryable && error.message.contains("noise.db"), "{error}");
}

#[tokio::test]
async fn memory_is_one_database() {
    let pool = open(Path::new(":memory:"), BOUND);
    let mut transaction = pool.begin(Purpose::Read).await.expect("a transaction");
    execute(&mut transaction, "CREATE TABLE t (a)").await.expect("a table");
    transaction.commit().await.expect("a commit");
    let mut transaction = pool.begin(Purpose::Read).await.expect("a transaction");
    execute(&mut transaction, "INSERT INTO t VALUES (1)").await.expect("the table");
}

/// What a guest's statement may have in memory is less than what the process may.
#[tokio::test]
async fn a_statement_that_needs_too_much_memory_is_ended_and_its_connection_closed() {
    let mut open = Connection::open_in_memory().map(|connection| Open {
        connection,
        cancelled: Arc::default(),
        host: Arc::default(),
        judge: Arc::default(),
        memory: returner_sqlite_heap::used() + (64 << 20),
        file: None,
    });
    let open = open.as_mut().expect("a database");
    sqlite_session::set_up(open, BOUND).expect("it is set up");
    let grow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                SELECT group_concat('0123456789') FROM n";
    let error = sqlite_session::query(open, grow, Vec::new(), BOUNDS).expect_err("it grows");
    assert!(is_out_of_memory(&error) && error.retryable, "{error}");
    open.memory = 0;
    let error = sqlite_session::execute(open, "SELECT 1", Vec::new()).expect_err("there is no room");
    assert!(error.message.contains("out of memory"), "{error}");
    // The host's own goes on.
    sqlite_session::control(open, "BEGIN").expect("a transaction");
    sqlite_session::rollback(open).expect("it is undone");
}

#[tokio::test]
async fn a_connection_without_memory_is_not_used_again() {
    let fixture = Fixture::new().await;
    let SqlTransaction::Sqlite(mut transaction) = fixture.begin().await else { panic!("SQLite's") };
    let full = || Err::<(), _>(super::super::sqlite_error::out_of_memory(0));
    let error = transaction.run(move |_| full()).await.expect_err("it has none");
    assert!(transaction.session.lock().is_none());
    let committed = transaction.commit().await;
    assert!(matches!(committed, Err(CommitError::RolledBack(told)) if told == error));
}

/// Long texts, and what is made of them, are given back.
#[tokio::test]
async fn a_long_statement_is_not_kept() {
    let fixture = Fixture::new().await;
    let before = returner_sqlite_heap::used();
    for number in 0..100 {
        let mut transaction = fixture.begin().await;
        let list = vec!["1"; 50_000].join(",");
        query(&mut transaction, &format!("SELECT {number} FROM t WHERE a + 1 IN ({list}, b)"))
            .await
            .expect("an answer");
        transaction.commit().await.expect("a commit");
    }
    let kept = returner_sqlite_heap::used() - before;
    assert!(kept < 100 << 20, "{kept} bytes");
}
