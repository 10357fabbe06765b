//! What `sql` promises where MySQL commits by itself.

use returner_servers::{Authority, Cut, Mariadb, MysqlDatabase, Proxy};

use super::*;
use crate::config::TlsSettings;
use crate::connections::Purpose;
use crate::connections::sql::{Hazards, SqlPool, SqlTransaction};

const BOUND: Duration = Duration::from_secs(5);
const TIMES: TimeBounds = TimeBounds { operation: BOUND, call: Duration::from_secs(60) };
const BOUNDS: AnswerBounds = AnswerBounds { bytes: 1 << 20, rows: 1000 };

fn open(database: &MysqlDatabase) -> SqlPool {
    SqlPool::mysql("mysql", &settings(database), TIMES).expect("good settings")
}

fn settings(database: &MysqlDatabase) -> MysqlSettings {
    let options = database.options();
    let option = |name: &str| {
        let found = options.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone()).expect("one of Salt's options")
    };
    MysqlSettings {
        address: Address::Tcp { host: option("host"), port: option("port").parse().expect("a port") },
        user: option("user"),
        password: Some(option("pass").as_str().into()),
        database: option("db"),
        tls: MysqlTls::Preferred,
    }
}

async fn execute(transaction: &mut SqlTransaction, statement: &str) -> Result<u64, SqlError> {
    transaction.execute(statement.to_owned(), Vec::new()).await
}

async fn run(transaction: &mut SqlTransaction, statements: &[&str]) {
    for statement in statements {
        execute(transaction, statement).await.expect("it is done");
    }
}

/// Which connection it is.
async fn id(transaction: &mut SqlTransaction) -> i64 {
    let found = transaction.query("SELECT CONNECTION_ID()".to_owned(), Vec::new(), BOUNDS).await;
    match found.expect("an answer").rows[0][0] {
        SqlValue::Integer(id) => id,
        ref other => panic!("a number: {other:?}"),
    }
}

#[tokio::test]
async fn a_table_is_made_before_anything_is_written_and_the_rest_is_one_transaction() {
    let database = Mariadb::shared().await.database().await;
    let pool = open(&database);
    let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
    run(&mut transaction, &["CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"]).await;
    let refused = execute(&mut transaction, "CREATE TABLE IF NOT EXISTS u (a INT)").await;
    let refused = refused.expect_err("it would commit").to_string();
    assert!(refused.contains("`CREATE` would commit what this call has written"), "{refused}");
    run(&mut transaction, &["CREATE TEMPORARY TABLE v (a INT)", "INSERT INTO t VALUES (2)"]).await;
    transaction.rollback().await;
    assert_eq!(database.count("t").await, 0);

    // One that fails has committed, too.
    let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
    execute(&mut transaction, "CREATE TABLE t (a INT)").await.expect_err("it is there");
    run(&mut transaction, &["INSERT INTO t VALUES (1)"]).await;
    transaction.rollback().await;
    assert_eq!(database.count("t").await, 0);

    let mut transaction = pool.begin(Purpose::SetUp).await.expect("a transaction");
    run(&mut transaction, &["INSERT INTO t VALUES (1)", "ALTER TABLE t ADD b INT"]).await;
    transaction.commit().await.expect("it is committed");
    assert_eq!(database.count("t").await, 1);
}

#[tokio::test]
async fn tables_that_are_not_undone_are_known() {
    let database = Mariadb::shared().await.database().await;
    database.execute("CREATE TABLE kept_by_myisam (a INT) ENGINE=MyISAM").await;
    database.execute("CREATE TABLE undone (a INT) ENGINE=InnoDB").await;
    database.execute("CREATE VIEW as_a_view AS SELECT a FROM kept_by_myisam").await;
    database.execute("CREATE TABLE by_a_trigger (a INT) ENGINE=InnoDB").await;
    let trigger = "CREATE TRIGGER leads BEFORE INSERT ON by_a_trigger FOR EACH ROW INSERT INTO kept_by_myisam VALUES (1)";
    database.execute(trigger).await;
    let mut transaction = open(&database).begin(Purpose::Write).await.expect("a transaction");
    let Hazards { changing, reading, .. } = transaction.hazards().await.expect("an answer");
    for kept in ["kept_by_myisam", "as_a_view", "by_a_trigger"] {
        assert!(changing.iter().any(|table| table == kept), "{kept}: {changing:?}");
        assert_eq!(reading.iter().any(|table| table == kept), kept == "as_a_view", "{kept}: {reading:?}");
    }
    assert!(!changing.iter().any(|table| table == "undone"), "{changing:?}");
}

#[tokio::test]
async fn the_server_ends_statements_too() {
    let database = Mariadb::shared().await.database().await;
    let mut transaction = open(&database).begin(Purpose::Read).await.expect("a transaction");
    let variables = "SHOW SESSION VARIABLES WHERE variable_name IN ('max_statement_time', 'max_execution_time', \
         'idle_transaction_timeout')";
    let found = transaction.query(variables.to_owned(), Vec::new(), BOUNDS).await.expect("an answer");
    let is_set = |row: &Vec<SqlValue>| match &row[1] {
        SqlValue::Text(text) => text == "6.000000" || text == "6000",
        _ => false,
    };
    assert!(found.rows.iter().any(is_set), "{found:?}");
    // MySQL has no such bound.
    let name = SqlValue::Text("idle_transaction_timeout".to_owned());
    for row in found.rows.iter().filter(|row| row[0] == name) {
        assert_eq!(row[1], SqlValue::Text("66".to_owned()), "later than a call may take");
    }
}

/// Also where it has put the server's own bound aside.
#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_ended() {
    let database = Mariadb::shared().await.database().await;
    let pool = open(&database);
    let mut transaction = pool.begin(Purpose::Read).await.expect("a transaction");
    run(&mut transaction, &["SET @@max_statement_time = 0"]).await;
    let id = id(&mut transaction).await;
    let mut endless = Box::pin(execute(&mut transaction, "SELECT SLEEP(1000)"));
    let running = format!(
        "SELECT info FROM information_schema.processlist WHERE id = {id} AND info LIKE '%SLEEP(1000)%'"
    );
    let is_running = async || !database.rows::<(String,)>(&running).await.is_empty();
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
    let database = Mariadb::shared().await.database().await;
    let server = Mysql::new("mysql", &settings(&database), TIMES).expect("good settings");
    let mut session = server.connect().await.expect("a connection");
    let ask = |length: usize| format!("SELECT 1 FROM DUAL WHERE '{}' = 'x'", "y".repeat(length));
    let none = Mysql::query(&mut session, ask(10), Vec::new(), BOUNDS).await.unwrap_or_default();
    assert_eq!((none.columns.len(), session.connection.cached_statements_size()), (1, 1));
    let none = Mysql::query(&mut session, ask(KEPT), Vec::new(), BOUNDS).await.unwrap_or_default();
    assert_eq!((none.columns.len(), session.connection.cached_statements_size()), (1, 0));
    Mysql::execute(&mut session, ask(KEPT), Vec::new()).await.expect("it is done");
    assert_eq!(session.connection.cached_statements_size(), 0);
}

#[tokio::test]
async fn hashes_of_passwords_are_not_told() {
    let database = Mariadb::shared().await.database().await;
    let mut transaction = open(&database).begin(Purpose::Read).await.expect("a transaction");
    for (statement, kind) in [
        ("SHOW GRANTS", SqlErrorKind::Denied),
        ("SHOW CREATE USER", SqlErrorKind::Denied),
        ("SHOW /*! CREATE */ USER", SqlErrorKind::Statement),
        ("IF 1 THEN EXECUTE IMMEDIATE CONCAT('SHOW GR','ANTS'); END IF", SqlErrorKind::Statement),
    ] {
        let refused = transaction.query(statement.to_owned(), Vec::new(), BOUNDS).await.expect_err("refused");
        assert_eq!((refused.kind, refused.retryable), (kind, false), "{refused}");
        execute(&mut transaction, statement).await.expect_err("refused, too");
    }
}

#[tokio::test]
async fn a_guest_commits_by_no_statement() {
    let database = Mariadb::shared().await.database().await;
    database.execute("CREATE TABLE t (a INT)").await;
    let pool = open(&database);
    for statement in
        ["IF 1 THEN COMMIT; END IF", "/*!99999 x*/ COMMIT", "SET STATEMENT sql_log_bin = 1 FOR COMMIT"]
    {
        let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
        run(&mut transaction, &["INSERT INTO t VALUES (1)"]).await;
        let refused = execute(&mut transaction, statement).await.expect_err("it is refused");
        assert_eq!((refused.kind, refused.retryable), (SqlErrorKind::Statement, false), "{refused}");
        transaction.rollback().await;
        assert_eq!(database.count("t").await, 0, "{statement}");
    }
}

/// Whatever may have left something costs the connection, and nothing else does.
#[tokio::test]
async fn what_leaves_a_mark_is_not_on_the_next_connection() {
    let database = Mariadb::shared().await.database().await;
    database.execute("CREATE TABLE t (a INT)").await;
    let pool = open(&database);
    for (statement, is_kept) in [
        ("INSERT INTO t VALUES (1)", true),
        ("UPDATE t SET a = 2", true),
        ("SELECT LAST_INSERT_ID()", true),
        ("SHOW TABLES", true),
        ("SET @leak = 42", false),
        ("SELECT @leak := 42", false),
        ("SELECT LAST_INSERT_ID(4242)", false),
        ("SELECT GET_LOCK('leak', 0)", false),
        ("EXPLAIN SELECT 1", false),
        ("CREATE TEMPORARY TABLE u (a INT)", false),
    ] {
        let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
        let first = id(&mut transaction).await;
        run(&mut transaction, &[statement]).await;
        transaction.commit().await.expect("it is committed");
        let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
        assert_eq!(id(&mut transaction).await == first, is_kept, "{statement}");
        transaction.rollback().await;
    }
}

/// The network resets the host's side of a connection and leaves the server's open, as a firewall
/// may: the server would keep the locks of the transaction for as long as it waits itself.
#[tokio::test]
async fn a_transaction_whose_connection_broke_is_ended_at_the_server() {
    let database = Mariadb::shared().await.database().await;
    database.execute("CREATE TABLE t (a INT PRIMARY KEY)").await;
    let mut settings = settings(&database);
    let Address::Tcp { port, .. } = &mut settings.address else { panic!("it has a port") };
    let proxy = Proxy::start(*port).await;
    *port = proxy.port();
    let pool = SqlPool::mysql("mysql", &settings, TIMES).expect("good settings");
    let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
    run(&mut transaction, &["INSERT INTO t VALUES (1)"]).await;
    proxy.arm(Cut::HalfOpen);
    transaction.commit().await.expect_err("nobody answers");
    assert!(!proxy.is_armed());
    let mut transaction = pool.begin(Purpose::Write).await.expect("a transaction");
    run(&mut transaction, &["INSERT INTO t VALUES (1)"]).await;
    transaction.commit().await.expect("it is committed");
    assert_eq!(database.count("t").await, 1);
}

/// Without a word in the settings it is encrypted where the server can, as with MySQL's own
/// clients.
#[tokio::test]
async fn a_connection_is_encrypted_as_the_settings_say() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Mariadb::start_with_tls(&authority.issue("server")).await;
    let database = server.database().await;
    let cipher = async |tls: MysqlTls| {
        let settings = MysqlSettings { tls, ..settings(&database) };
        let pool = SqlPool::mysql("mysql", &settings, TIMES).expect("good settings");
        let mut transaction = pool.begin(Purpose::Read).await?;
        let statement = "SHOW SESSION STATUS LIKE 'Ssl_cipher'".to_owned();
        let found = transaction.query(statement, Vec::new(), BOUNDS).await?;
        Ok::<_, SqlError>(found.rows[0][1].clone())
    };
    let vouched =
        |by: &Authority| MysqlTls::Verified(TlsSettings { ca: Some(by.ca()), ..TlsSettings::default() });
    let plain = SqlValue::Text(String::new());
    assert_eq!(cipher(MysqlTls::Disabled).await, Ok(plain.clone()));
    for tls in [MysqlTls::Preferred, vouched(&authority)] {
        assert_ne!(cipher(tls).await.expect("the server has TLS"), plain);
    }
    cipher(vouched(&stranger)).await.expect_err("nobody vouches for it");
}

/// The bound is a connection's own: what it refuses when the server's has been raised goes through
/// on the next one.
#[tokio::test]
async fn a_packet_that_the_server_takes_by_now_is_tried_again() {
    let server = Mariadb::start().await;
    let database = server.database().await;
    database.execute("CREATE TABLE t (a LONGTEXT)").await;
    database.execute("SET GLOBAL max_allowed_packet = 1048576").await;
    let pool = open(&database);
    let big = vec![SqlValue::Text("x".repeat(2 << 20))];
    let insert = async |pool: &SqlPool| {
        let mut transaction = pool.begin(Purpose::Write).await?;
        transaction.execute("INSERT INTO t VALUES (?)".to_owned(), big.clone()).await?;
        transaction.commit().await.map_err(|_| SqlError::new(SqlErrorKind::Other, "not committed", false))
    };
    let refused = insert(&pool).await.expect_err("it is too large");
    assert!(!refused.retryable && refused.message.contains("max_allowed_packet, 1048576"), "{refused:?}");
    // A connection that has read the bound.
    let mut transaction = pool.begin(Purpose::Read).await.expect("a transaction");
    run(&mut transaction, &["SELECT 1"]).await;
    transaction.rollback().await;
    database.execute("SET GLOBAL max_allowed_packet = 67108864").await;
    let first = insert(&pool).await;
    assert!(first.as_ref().is_err_and(|error| error.retryable), "{first:?}");
    insert(&pool).await.expect("a new connection takes it");
}
