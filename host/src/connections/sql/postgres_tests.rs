//! What `sql` promises, on a real PostgreSQL.

use returner_servers::{Authority, Cut, Postgres as TestServer, PostgresDatabase, Proxy, Server as _};

use super::*;
use crate::config::TlsSettings;
use crate::connections::Purpose;
use crate::connections::sql::{CommitError, SqlPool, SqlTransaction};

const BOUND: Duration = Duration::from_secs(5);
const BOUNDS: AnswerBounds = AnswerBounds { bytes: 1 << 20, rows: 1000 };

fn settings(database: &PostgresDatabase) -> PostgresSettings {
    let option = |name: &str| {
        let options = database.options();
        let found = options.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone()).expect("one of Salt's options")
    };
    PostgresSettings {
        host: option("host"),
        port: option("port").parse().expect("a port"),
        user: option("user"),
        password: Some(option("pass").as_str().into()),
        database: option("db"),
        tls_mode: PostgresTls::Prefer,
        tls: TlsSettings::default(),
    }
}

fn times(operation: Duration) -> TimeBounds {
    TimeBounds { operation, call: Duration::from_secs(60) }
}

fn open(database: &PostgresDatabase, bound: Duration) -> SqlPool {
    SqlPool::postgres("pgjsonb", &settings(database), times(bound)).expect("good settings")
}

async fn shared() -> (PostgresDatabase, SqlPool) {
    let database = TestServer::shared().await.database().await;
    let pool = open(&database, BOUND);
    (database, pool)
}

async fn begin(pool: &SqlPool) -> SqlTransaction {
    pool.begin(Purpose::Write).await.expect("a transaction")
}

async fn execute(transaction: &mut SqlTransaction, statement: &str) -> Result<u64, SqlError> {
    transaction.execute(statement.to_owned(), Vec::new()).await
}

async fn refused(transaction: &mut SqlTransaction, statement: &str) -> SqlError {
    match execute(transaction, statement).await {
        Err(error) => error,
        Ok(_) => panic!("`{statement}` was not refused"),
    }
}

fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let (database, pool) = shared().await;
    database
        .execute(
            "CREATE TABLE t (a bool, b smallint, c bigint, d float8, e text, f varchar(9), g bytea, h jsonb, \
             i json, j timestamptz, k timestamp, l date, m uuid, n numeric, o text)",
        )
        .await;
    let values = vec![
        SqlValue::Boolean(true),
        SqlValue::Integer(-7),
        SqlValue::Integer(i64::MIN),
        SqlValue::Float(0.1),
        text("😀 '\\"),
        text("ü"),
        SqlValue::Bytes(vec![0, 255, b'?']),
        text(r#"{"b": [1, null], "a": "\u00e9"}"#),
        text(r#"{"b":1}"#),
        text("2026-11-24 04:05:06.000001"),
        text("2026-11-24T04:05:06"),
        text("2026-11-24"),
        text("6f2c0b3e-0000-4000-8000-00000000000f"),
        text("-1200340000.0500"),
        SqlValue::Null,
    ];
    let mut transaction = begin(&pool).await;
    let places = vec!["?"; values.len()].join(", ");
    let inserted = transaction.execute(format!("INSERT INTO t VALUES ({places})"), values.clone()).await;
    assert_eq!(inserted.ok(), Some(1));
    let rows = transaction.query("SELECT * FROM t".to_owned(), Vec::new(), BOUNDS).await.expect("rows");
    transaction.commit().await.expect("a commit");
    let mut expected = values;
    expected[7] = text(r#"{"a": "é", "b": [1, null]}"#);
    expected[9] = text("2026-11-24 04:05:06.000001+00");
    expected[10] = text("2026-11-24 04:05:06");
    assert_eq!(rows.rows, [expected]);
    assert_eq!(rows.columns.first().map(String::as_str), Some("a"));
}

#[tokio::test]
async fn what_the_server_prints_is_what_comes() {
    let (database, pool) = shared().await;
    let numbers =
        "0 7 -7 10000 -120034 1.25 0.00120 -0.00000001 3.000 123456789012345678901234567890.5 1e40 NaN";
    let numbers: Vec<&str> = numbers.split(' ').collect();
    let columns: Vec<String> = numbers
        .iter()
        .flat_map(|number| [format!("'{number}'::numeric"), format!("'{number}'::numeric::text")])
        .collect();
    let mut transaction = begin(&pool).await;
    let statement = format!("SELECT {}", columns.join(", "));
    let rows = transaction.query(statement, Vec::new(), BOUNDS).await.expect("numbers");
    for pair in rows.rows[0].as_chunks::<2>().0 {
        assert_eq!(pair[0], pair[1]);
    }
    let statement =
        "SELECT count(*), NULL::int, 'x' || ?, ?::int + 1, '{\"a\": 1}'::jsonb ?? 'a', 1.5::float4";
    let params = vec![text("y"), SqlValue::Integer(4)];
    let rows = transaction.query(statement.to_owned(), params, BOUNDS).await.expect("one of each");
    let expected = [
        SqlValue::Integer(1),
        SqlValue::Null,
        text("xy"),
        SqlValue::Integer(5),
        SqlValue::Boolean(true),
        SqlValue::Float(1.5),
    ];
    assert_eq!(rows.rows, [expected]);
    let odd = transaction.query("SELECT 1 AS a, ARRAY[1] AS b".to_owned(), Vec::new(), BOUNDS).await;
    assert!(odd.is_err_and(|error| error.message.contains("`b`") && error.message.contains("::text")));
    drop(database);
}

/// As with other servers, though PostgreSQL itself gives up the whole transaction.
#[tokio::test]
async fn a_statement_that_fails_undoes_itself_only() {
    let (database, pool) = shared().await;
    database.execute("CREATE TABLE t (a int PRIMARY KEY, b varchar(3))").await;
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1, 'a')").await.expect("the first");
    for (statement, kind, code, retryable) in [
        ("INSERT INTO t VALUES (2, 'x'), (1, 'y')", SqlErrorKind::Constraint, "23505", false),
        ("INSERT INTO t VALUES (3, 'long')", SqlErrorKind::Data, "22001", false),
        ("INSERT INTO t VALUES (4, E'\\001' || chr(0))", SqlErrorKind::Data, "54000", false),
        ("INSERT INTO nowhere VALUES (1)", SqlErrorKind::Statement, "42P01", true),
        ("INSERT INTO t (c) VALUES (1)", SqlErrorKind::Statement, "42703", true),
        ("INSERT INTO", SqlErrorKind::Statement, "42601", false),
        ("COPY t FROM STDIN", SqlErrorKind::Statement, "42601", false),
        ("INSERT INTO t VALUES (?, ?)", SqlErrorKind::Statement, "42601", false),
    ] {
        let error = refused(&mut transaction, statement).await;
        assert_eq!(
            (error.kind, error.code.as_deref(), error.retryable),
            (kind, Some(code), retryable),
            "{error}"
        );
    }
    let nul = transaction.execute("INSERT INTO t VALUES (9, ?)".to_owned(), vec![text("\0")]).await;
    assert!(nul.is_err_and(|error| error.kind == SqlErrorKind::Data && !error.retryable));
    execute(&mut transaction, "INSERT INTO t VALUES (5, 'b')").await.expect("the last");
    transaction.commit().await.expect("a commit");
    assert_eq!(database.rows("SELECT a FROM t ORDER BY a").await, [["1"], ["5"]]);
}

#[tokio::test]
async fn what_is_not_committed_is_undone_and_a_refused_commit_says_so() {
    let (database, pool) = shared().await;
    database.execute("CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1)").await.expect("a row");
    transaction.rollback().await;
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1)").await.expect("a row");
    drop(transaction);
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1), (1)").await.expect("it is looked at in the end");
    let refused = transaction.commit().await;
    assert!(
        matches!(&refused, Err(CommitError::RolledBack(error)) if error.kind == SqlErrorKind::Constraint),
        "{refused:?}"
    );
    assert_eq!(database.count("t").await, 0);
    for statement in ["COMMIT", "SAVEPOINT x", "rollback to statement"] {
        assert_eq!(refused_by_host(&pool, statement).await, SqlErrorKind::Statement, "{statement}");
    }
}

async fn refused_by_host(pool: &SqlPool, statement: &str) -> SqlErrorKind {
    refused(&mut begin(pool).await, statement).await.kind
}

/// Each waits for the other: the server ends one of them, and nothing of that one is committed.
#[tokio::test]
async fn a_deadlock_ends_the_transaction() {
    let (database, pool) = shared().await;
    database.execute("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 0), (2, 0)").await;
    let (mut one, mut other) = (begin(&pool).await, begin(&pool).await);
    execute(&mut one, "UPDATE t SET b = b + 1 WHERE a = 1").await.expect("the first row");
    execute(&mut other, "UPDATE t SET b = b + 1 WHERE a = 2").await.expect("the second row");
    let (first, second) = tokio::join!(
        execute(&mut one, "UPDATE t SET b = b + 1 WHERE a = 2"),
        execute(&mut other, "UPDATE t SET b = b + 1 WHERE a = 1")
    );
    let (winner, mut loser, error) = match (first, second) {
        (Ok(_), Err(error)) => (one, other, error),
        (Err(error), Ok(_)) => (other, one, error),
        both => panic!("one of them is ended: {both:?}"),
    };
    assert_eq!(
        (error.kind, error.code.as_deref(), error.retryable),
        (SqlErrorKind::Timeout, Some("40P01"), true)
    );
    assert_eq!(refused(&mut loser, "UPDATE t SET b = 9").await, error, "nothing more of it goes through");
    assert!(matches!(loser.commit().await, Err(CommitError::RolledBack(_))));
    winner.commit().await.expect("a commit");
    assert_eq!(database.rows("SELECT b FROM t ORDER BY a").await, [["1"], ["1"]]);
}

#[tokio::test]
async fn an_answer_and_a_statement_have_bounds() {
    let (database, _) = shared().await;
    let pool = open(&database, Duration::from_secs(1));
    let mut transaction = begin(&pool).await;
    let rows = transaction.query("SELECT generate_series(1, 2000)".to_owned(), Vec::new(), BOUNDS).await;
    assert!(
        rows.is_err_and(|error| error.kind == SqlErrorKind::Data && error.message.contains("limits.rows"))
    );
    let error = refused(&mut begin(&pool).await, "SELECT pg_sleep(100)").await;
    assert_eq!((error.kind, error.retryable), (SqlErrorKind::Timeout, true), "{error}");
    let many = transaction_with(&pool, 70_000).await;
    assert!(many.is_err_and(|error| error.message.contains("65535")));
    begin(&pool).await.commit().await.expect("the pool is well");
}

async fn transaction_with(pool: &SqlPool, params: usize) -> Result<u64, SqlError> {
    let places = vec!["?"; params].join(", ");
    let params = vec![SqlValue::Integer(1); params];
    begin(pool).await.execute(format!("SELECT 1 WHERE 1 IN ({places})"), params).await
}

/// A table that is made again has other columns than the prepared statement knows.
#[tokio::test]
async fn a_table_that_changes_is_read_anew() {
    let (database, pool) = shared().await;
    database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
    let read = async || {
        let mut transaction = begin(&pool).await;
        let rows = transaction.query("SELECT * FROM t".to_owned(), Vec::new(), BOUNDS).await;
        transaction.commit().await.expect("a commit");
        rows
    };
    assert_eq!(read().await.expect("a row").rows, [[SqlValue::Integer(1)]]);
    database.execute("ALTER TABLE t ADD COLUMN b text DEFAULT 'new'").await;
    assert!(read().await.is_err_and(|error| error.retryable), "the plan is not right any more");
    assert_eq!(read().await.expect("a row").rows, [[SqlValue::Integer(1), text("new")]]);
}

#[tokio::test]
async fn a_server_that_hangs_or_goes_is_an_error_and_found_again() {
    let mut server = TestServer::start().await;
    let database = server.database().await;
    database.execute("CREATE TABLE t (a int)").await;
    let pool = open(&database, Duration::from_secs(1));
    begin(&pool).await.commit().await.expect("it is there");
    let mut transaction = begin(&pool).await;
    server.kill();
    // The process of the connection outlives its parent for a moment.
    let gone = async {
        loop {
            if let Err(error) = execute(&mut transaction, "INSERT INTO t VALUES (1)").await {
                break error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(30), gone).await.expect("nobody is there");
    assert_eq!((error.kind, error.retryable), (SqlErrorKind::Unavailable, true), "{error}");
    assert!(matches!(transaction.commit().await, Err(CommitError::RolledBack(_))));
    let error = pool.begin(Purpose::Write).await.err().expect("nobody is there");
    assert_eq!((error.kind, error.retryable), (SqlErrorKind::Unavailable, true), "{error}");
    assert!(error.message.starts_with("cannot connect to 127.0.0.1:"), "{error}");
    server.restart().await;
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1)").await.expect("it is back");
    transaction.commit().await.expect("a commit");
    assert_eq!(database.count("t").await, 1);
    assert!(pool.check().await.is_ok_and(|version| version.starts_with("PostgreSQL ")));
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_not_shown() {
    let (database, _) = shared().await;
    let wrong = PostgresSettings { password: Some("geheim".into()), ..settings(&database) };
    let pool = SqlPool::postgres("pgjsonb", &wrong, times(BOUND)).expect("good settings");
    let error = pool.begin(Purpose::Write).await.err().expect("it is wrong");
    assert_eq!((error.kind, error.retryable), (SqlErrorKind::Denied, true));
    assert!(!error.message.contains("geheim"), "{error}");
}

/// Who vouches for the server, and whether it has the name that is asked for.
#[tokio::test]
async fn certificates_are_looked_at_as_the_mode_says() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = TestServer::start_with_tls(&authority.issue("server")).await;
    let database = server.database().await;
    let try_out = async |mode: PostgresTls, host: &str, ca: Option<&Authority>| {
        let ca = ca.map(Authority::ca);
        let tls = TlsSettings { ca, ..TlsSettings::default() };
        let settings = PostgresSettings { host: host.to_owned(), tls_mode: mode, tls, ..settings(&database) };
        let pool = SqlPool::postgres("pgjsonb", &settings, times(BOUND)).expect("good settings");
        let mut transaction = pool.begin(Purpose::Read).await?;
        let statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()".to_owned();
        Ok::<_, SqlError>(transaction.query(statement, Vec::new(), BOUNDS).await?.rows[0][0].clone())
    };
    let encrypted = Ok(SqlValue::Boolean(true));
    assert_eq!(try_out(PostgresTls::Disable, "127.0.0.1", None).await, Ok(SqlValue::Boolean(false)));
    assert_eq!(try_out(PostgresTls::Prefer, "127.0.0.1", None).await, encrypted);
    assert_eq!(try_out(PostgresTls::Require, "127.0.0.1", Some(&stranger)).await, encrypted);
    assert_eq!(try_out(PostgresTls::VerifyCa, "127.0.0.1", Some(&authority)).await, encrypted);
    assert_eq!(try_out(PostgresTls::VerifyFull, "localhost", Some(&authority)).await, encrypted);
    // Another way to the same machine, which the certificate does not name.
    assert_eq!(try_out(PostgresTls::VerifyCa, "127.0.0.2", Some(&authority)).await, encrypted);
    for (mode, host, ca) in [
        (PostgresTls::VerifyFull, "127.0.0.2", Some(&authority)),
        (PostgresTls::VerifyFull, "localhost", Some(&stranger)),
        (PostgresTls::VerifyCa, "localhost", Some(&stranger)),
        (PostgresTls::VerifyCa, "localhost", None),
    ] {
        let refused = try_out(mode, host, ca).await;
        assert!(refused.is_err_and(|error| error.message.contains("certificate")), "{mode:?} {host}");
    }
}

#[tokio::test]
async fn what_leads_elsewhere_is_known() {
    let (database, pool) = shared().await;
    for statement in [
        "CREATE TABLE undone (a INT PRIMARY KEY)",
        "CREATE TABLE refers (a INT REFERENCES undone)",
        "CREATE VIEW as_a_view AS SELECT a FROM undone",
        "CREATE TABLE whole (a INT PRIMARY KEY)",
        "CREATE TABLE by_a_trigger (a INT REFERENCES whole ON DELETE CASCADE)",
        "CREATE FUNCTION leads() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER leads BEFORE DELETE ON by_a_trigger FOR EACH ROW EXECUTE FUNCTION leads()",
        "CREATE TABLE by_a_rule (a INT)",
        "CREATE RULE leads AS ON INSERT TO by_a_rule DO ALSO SELECT 1",
    ] {
        database.execute(statement).await;
    }
    let mut transaction = begin(&pool).await;
    let mut hazards = transaction.hazards().await.expect("an answer");
    hazards.changing.sort();
    assert_eq!(hazards.changing, ["as_a_view", "by_a_rule", "by_a_trigger", "whole"]);
    assert_eq!((hazards.reading, hazards.calling), (vec!["as_a_view".to_owned()], vec!["leads".to_owned()]));
    assert_eq!(hazards.any, Vec::<String>::new());
}

/// Whatever runs a function that somebody has written, at a write or at a read.
#[tokio::test]
async fn what_runs_functions_of_the_databases_own_is_known() {
    let (database, pool) = shared().await;
    let pure = "LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN";
    for statement in [
        &format!("CREATE FUNCTION f(a INT) RETURNS BOOLEAN {pure} true; END'"),
        &format!("CREATE FUNCTION one() RETURNS INT {pure} 1; END'"),
        "CREATE DOMAIN checked AS INT CHECK (f(VALUE))",
        "CREATE DOMAIN harmless AS INT CHECK (VALUE > 0)",
        "CREATE TABLE plain (a SERIAL PRIMARY KEY, b INT DEFAULT 1 + 1 CHECK (b > abs(0)), c harmless)",
        "CREATE INDEX ON plain (abs(b))",
        "CREATE TABLE refers (a INT REFERENCES plain)",
        "CREATE TABLE by_default (a INT DEFAULT one())",
        "CREATE TABLE by_check (a INT CHECK (f(a)))",
        "CREATE TABLE by_generated (a INT, b BOOLEAN GENERATED ALWAYS AS (f(a)) STORED)",
        "CREATE TABLE by_domain (a checked)",
        "CREATE TABLE by_domains (a checked[])",
        "CREATE TABLE by_policy (a INT)",
        "CREATE POLICY p ON by_policy USING (f(a))",
        "CREATE TABLE by_index (a INT)",
        "CREATE INDEX ON by_index (f(a))",
        "CREATE TABLE by_partition (a INT) PARTITION BY RANGE (a)",
        "CREATE TABLE part PARTITION OF by_partition FOR VALUES FROM (0) TO (9)",
        "ALTER TABLE part ADD CHECK (f(a))",
        "CREATE VIEW by_view AS SELECT 1 AS a",
    ] {
        database.execute(statement).await;
    }
    let mut transaction = begin(&pool).await;
    let mut found = transaction.hazards().await.expect("an answer");
    found.reading.sort();
    let tables = [
        "by_check",
        "by_default",
        "by_domain",
        "by_domains",
        "by_generated",
        "by_index",
        "by_partition",
        "by_policy",
        "by_view",
        "part",
    ];
    assert_eq!(found.reading, tables);
    found.calling.sort();
    assert_eq!(found.calling, ["f", "one"]);
    assert_eq!(found.any, Vec::<String>::new());
    transaction.rollback().await;

    let same = format!("CREATE FUNCTION same(TEXT, INT) RETURNS BOOLEAN {pure} true; END'");
    database.execute(&same).await;
    database.execute("CREATE OPERATOR = (FUNCTION = same, LEFTARG = TEXT, RIGHTARG = INT)").await;
    let mut transaction = begin(&pool).await;
    assert_eq!(transaction.hazards().await.expect("an answer").any, ["the operator `=`"]);
}

/// Also where it has put the server's own bound aside.
#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_ended() {
    let (database, pool) = shared().await;
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "SET statement_timeout = 0").await.expect("it is set");
    let mut endless = Box::pin(execute(&mut transaction, "SELECT pg_sleep(1000) AS nobody_waits"));
    let running = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                   AND pid <> pg_backend_pid() AND query LIKE '%nobody_waits%'";
    let is_running = async || !database.rows(running).await.is_empty();
    let begun = async { while !is_running().await {} };
    tokio::select! {
        _ = &mut endless => panic!("it sleeps"),
        () = begun => {}
    }
    drop(endless);
    drop(transaction);
    let ended = async { while is_running().await {} };
    timeout(Duration::from_secs(60), ended).await.expect("the server hears of it");
}

#[tokio::test]
async fn a_long_statement_is_not_kept() {
    let database = TestServer::shared().await.database().await;
    let server = Postgres::new("pgjsonb", &settings(&database), times(BOUND)).expect("good settings");
    let mut session = server.connect().await.expect("a connection");
    for (length, kept) in [(10, 1), (KEPT, 1)] {
        let ask = format!("SELECT 1 WHERE '{}' = 'x'", "y".repeat(length));
        session.execute(&ask, Vec::new()).await.expect("it is done");
        assert_eq!(session.statements.len(), kept);
    }
}

async fn one(transaction: &mut SqlTransaction, statement: &str) -> SqlValue {
    let found = transaction.query(statement.to_owned(), Vec::new(), BOUNDS).await.expect("an answer");
    found.rows[0][0].clone()
}

/// However it was said: the next user has the same connection, and finds it as a new one.
#[tokio::test]
async fn what_statements_leave_is_put_away() {
    let (database, pool) = shared().await;
    database.execute("CREATE TABLE audit (a int)").await;
    database.execute("CREATE VIEW settings AS SELECT * FROM pg_settings").await;
    let mut transaction = begin(&pool).await;
    let process = one(&mut transaction, "SELECT pg_backend_pid()").await;
    transaction.commit().await.expect("a commit");
    let left = "SELECT concat_ws(' ', \
                (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
                (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
                (SELECT count(*) FROM pg_listening_channels()), \
                to_regclass('pg_temp.audit'), current_user = session_user, \
                current_setting('search_path'), current_setting('statement_timeout'), \
                current_setting('lock_timeout'), current_setting('TimeZone'), \
                current_setting('idle_in_transaction_session_timeout'))";
    for statement in [
        "INSERT INTO audit VALUES (1)",
        "SELECT query_to_xml(concat('select pg_adv','isory_lock(77)'), true, true, '')",
        "SELECT query_to_xml(concat('select set_co','nfig(''search_path'', ''x'', false)'), true, true, '')",
        "UPDATE pg_settings SET setting = '0' WHERE name IN ('statement_timeout', 'lock_timeout')",
        "UPDATE settings SET setting = '0' WHERE name = 'statement_timeout'",
        "EXPLAIN ANALYZE CREATE TEMP TABLE audit AS SELECT 1 AS a",
        "CREATE TEMP TABLE audit (a int)",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET ROLE pg_monitor",
        "LISTEN leak",
        "DECLARE leak CURSOR WITH HOLD FOR SELECT 1",
    ] {
        let mut transaction = begin(&pool).await;
        execute(&mut transaction, statement).await.unwrap_or_else(|error| panic!("`{statement}`: {error}"));
        transaction.commit().await.expect("a commit");
        let mut transaction = begin(&pool).await;
        assert_eq!(one(&mut transaction, "SELECT pg_backend_pid()").await, process, "{statement}");
        let expected = text("0 0 0 t \"$user\", public 5s 4s UTC 65s");
        assert_eq!(one(&mut transaction, left).await, expected, "{statement}");
        transaction.rollback().await;
    }
}

/// What cannot be put away costs the connection: it has the host's own statements, prepared.
#[tokio::test]
async fn what_cannot_be_put_away_is_not_on_the_next_connection() {
    let (database, pool) = shared().await;
    let hidden = "CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql AS \
                  $$ BEGIN EXECUTE 'PREPARE leak AS SELECT 1'; END $$";
    database.execute(hidden).await;
    for statement in
        ["PREPARE leak AS SELECT 1", "SELECT 1 FROM hidden()", "DO $$ BEGIN END $$", "DEALLOCATE ALL"]
    {
        let mut transaction = begin(&pool).await;
        let process = one(&mut transaction, "SELECT pg_backend_pid()").await;
        execute(&mut transaction, statement).await.unwrap_or_else(|error| panic!("`{statement}`: {error}"));
        transaction.commit().await.expect("a commit");
        let mut transaction = begin(&pool).await;
        assert_ne!(one(&mut transaction, "SELECT pg_backend_pid()").await, process, "{statement}");
        let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql";
        assert_eq!(one(&mut transaction, prepared).await, SqlValue::Integer(0), "{statement}");
        transaction.commit().await.expect("a commit");
    }
}

/// The network resets the host's side of a connection and leaves the server's open, as a firewall
/// may: the server would keep the locks of the transaction for as long as it waits itself.
#[tokio::test]
async fn a_transaction_whose_connection_broke_is_ended_at_the_server() {
    let (database, _) = shared().await;
    database.execute("CREATE TABLE t (a int PRIMARY KEY)").await;
    let proxy = Proxy::start(settings(&database).port).await;
    let behind = PostgresSettings { port: proxy.port(), ..settings(&database) };
    let pool = SqlPool::postgres("pgjsonb", &behind, times(BOUND)).expect("good settings");
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1)").await.expect("a row");
    proxy.arm(Cut::HalfOpen);
    assert!(matches!(transaction.commit().await, Err(CommitError::Unknown(_))));
    assert!(!proxy.is_armed());
    let mut transaction = begin(&pool).await;
    execute(&mut transaction, "INSERT INTO t VALUES (1)").await.expect("nobody has a lock");
    transaction.commit().await.expect("a commit");
    assert_eq!(database.count("t").await, 1);
}

/// A statement that was prepared knows the column as it was: an operator widens it, and what fits now
/// is no item's fault.
#[tokio::test]
async fn a_column_that_was_widened_is_seen() {
    let (database, pool) = shared().await;
    database.execute("CREATE TABLE t (a smallint)").await;
    let insert = async |value: i64| {
        let mut transaction = begin(&pool).await;
        let done =
            transaction.execute("INSERT INTO t VALUES (?)".to_owned(), vec![SqlValue::Integer(value)]).await;
        done.map(drop)?;
        transaction.commit().await.map_err(|_| SqlError::new(SqlErrorKind::Other, "not committed", false))
    };
    insert(1).await.expect("it fits");
    let too_large = insert(70_000).await.expect_err("it does not");
    assert!(too_large.retryable, "a prepared one says so: {too_large:?}");
    let too_large = insert(70_000).await.expect_err("it does not");
    assert!(!too_large.retryable, "{too_large:?}");
    insert(2).await.expect("it fits");
    database.execute("ALTER TABLE t ALTER a TYPE bigint").await;
    let before = insert(70_000).await;
    assert!(before.as_ref().is_ok() || before.as_ref().is_err_and(|error| error.retryable), "{before:?}");
    insert(70_001).await.expect("it fits now");
}
