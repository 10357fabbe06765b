//! What `sql` promises where MySQL commits by itself.

use returner_servers::{Mariadb, MysqlDatabase};

use super::*;
use crate::connections::Purpose;
use crate::connections::sql::{Hazards, SqlPool, SqlTransaction};

fn open(database: &MysqlDatabase) -> SqlPool {
    let options = database.options();
    let option = |name: &str| {
        let found = options.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone()).expect("one of Salt's options")
    };
    let settings = MysqlSettings {
        address: Address::Tcp { host: option("host"), port: option("port").parse().expect("a port") },
        user: option("user"),
        password: Some(option("pass").as_str().into()),
        database: option("db"),
        tls: None,
    };
    SqlPool::mysql("mysql", &settings, Duration::from_secs(5)).expect("good settings")
}

async fn execute(transaction: &mut SqlTransaction, statement: &str) -> Result<u64, SqlError> {
    transaction.execute(statement.to_owned(), Vec::new()).await
}

async fn run(transaction: &mut SqlTransaction, statements: &[&str]) {
    for statement in statements {
        execute(transaction, statement).await.expect("it is done");
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
