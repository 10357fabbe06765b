//! SQLite as the second judge: what is let through here goes through there, and what reaches
//! another table does not, though nobody has read it before.

use super::*;
use crate::config::{Bundled, ConnectionSettings, Narrowing};
use crate::connections::{AnswerBounds, Connection, Purpose, SqlError, SqlPool, SqlRows, TimeBounds};

use std::sync::Arc;
use std::time::Duration;

fn database() -> SqlPool {
    let settings = ConnectionSettings::of_url("sqlite::memory:").expect("a URL");
    let bound = Duration::from_secs(60);
    let bounds = TimeBounds { operation: bound, call: bound };
    match Connection::open("db", &settings, bounds).expect("it needs no server") {
        Connection::Sql(pool) => pool,
        _ => panic!("SQL"),
    }
}

fn granted(tables: &[(&str, &[&str])]) -> Arc<SqlRules> {
    let set = |verbs: &[&str]| verbs.iter().map(|verb| (*verb).to_owned()).collect();
    let granted = tables.iter().map(|(table, verbs)| ((*table).to_owned(), set(verbs))).collect();
    Arc::new(SqlRules::new(Dialect::Sqlite, granted))
}

/// What SQLite says of a statement under these grants, or none.
async fn judged(pool: &SqlPool, rules: Option<&Arc<SqlRules>>, statement: &str) -> Result<SqlRows, SqlError> {
    let bounds = AnswerBounds { bytes: 1 << 20, rows: 1000 };
    let grants = rules.map(|rules| Arc::clone(rules) as Arc<dyn TableGrants>);
    let mut transaction = pool.begin_within(Purpose::Write, grants).await.expect("a transaction");
    let answer = transaction.query(statement.to_owned(), Vec::new(), bounds).await;
    match answer {
        Ok(_) => transaction.commit().await.expect("a commit"),
        Err(_) => transaction.rollback().await,
    }
    answer
}

async fn prepare(pool: &SqlPool, statements: &[&str]) {
    for statement in statements {
        judged(pool, None, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test]
async fn what_is_granted_goes_through_both() {
    let pool = database();
    let every: &[&str] = &["select", "insert", "update", "delete", "create", "alter", "drop"];
    let rules = granted(&[("audit", every), ("audit_log", every), ("json_each", &["select"])]);
    for statement in [
        "CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE, b INT DEFAULT 1)",
        "CREATE TABLE audit_log (audit INTEGER REFERENCES audit (id) ON DELETE CASCADE, at TEXT CHECK (at <> ''))",
        "CREATE UNIQUE INDEX IF NOT EXISTS audit_a ON audit (a, b)",
        "INSERT INTO audit (a) VALUES ('x'), ('y')",
        "INSERT INTO audit (a, b) VALUES ('x', 5) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
        "INSERT OR REPLACE INTO audit (a, b) VALUES ('y', 6)",
        "REPLACE INTO audit (a, b) VALUES ('z', 7)",
        "INSERT INTO audit (a) VALUES ('w') RETURNING id, a",
        "INSERT INTO audit_log SELECT id, a FROM audit WHERE b > 5",
        "UPDATE audit SET b = b + 1 WHERE a IN (SELECT at FROM audit_log) RETURNING b",
        "WITH n AS (SELECT a, b FROM audit) SELECT count(*) FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n, audit",
        "SELECT count(*) FROM audit",
        "SELECT count(*) FROM (SELECT 1 FROM audit) AS x",
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) FROM audit AS c LEFT JOIN audit_log ON audit = id",
        "SELECT a FROM AUDIT UNION ALL SELECT at FROM main.audit_log ORDER BY 1 LIMIT 2",
        "SELECT rowid, CASE WHEN b THEN upper(a) ELSE strftime('%Y', 'now') END FROM audit GROUP BY a HAVING b > 0",
        "DELETE FROM audit WHERE a = 'x'",
        "ALTER TABLE audit ADD COLUMN c TEXT",
        "DROP TABLE audit_log",
        "DROP TABLE IF EXISTS audit",
    ] {
        // WITH and the names of schemas are never let through, and have no second judge to pass.
        let is_read = !statement.starts_with("WITH") && !statement.contains("main.");
        assert_eq!(rules.allows(statement).is_ok(), is_read, "{statement}");
        let answer = judged(&pool, Some(&rules), statement).await;
        assert!(answer.is_ok(), "{statement}: {answer:?}");
    }
}

#[tokio::test]
async fn the_bundled_schema_goes_through() {
    let Narrowing::Tables(granted) = Narrowing::of_bundled(Bundled::Sqlite3) else { panic!("tables") };
    let (pool, rules) = (database(), Arc::new(SqlRules::new(Dialect::Sqlite, granted)));
    let schema = include_str!("../../../../../plugins/sqlite/schema.sql");
    let plain: Vec<&str> = schema.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in plain.join("\n").split(";\n").filter(|statement| !statement.trim().is_empty()) {
        judged(&pool, Some(&rules), statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Nobody reads these before SQLite does.
#[tokio::test]
async fn what_reaches_another_table_is_refused_by_sqlite_alone() {
    let pool = database();
    prepare(
        &pool,
        &[
            "CREATE TABLE secrets (v INTEGER PRIMARY KEY)",
            "INSERT INTO secrets VALUES (42)",
            "CREATE TABLE audit (a, b)",
            "CREATE TABLE child (v REFERENCES secrets (v))",
            "CREATE VIEW open_to_all AS SELECT v FROM secrets",
        ],
    )
    .await;
    let every: &[&str] = &["select", "insert", "update", "delete", "create", "alter", "drop"];
    let rules = granted(&[("audit", every), ("child", &["insert"]), ("open_to_all", &["select"])]);
    for statement in [
        "SELECT v FROM secrets",
        "SELECT 1 FROM audit, secrets WHERE secrets.v = 42",
        "SELECT a FROM audit WHERE EXISTS (SELECT 1 FROM secrets WHERE v = a)",
        "INSERT INTO audit SELECT v, 1 FROM secrets",
        "UPDATE audit SET a = (SELECT max(v) FROM secrets)",
        "INSERT INTO secrets VALUES (1)",
        "UPDATE secrets SET v = 1",
        "DELETE FROM secrets",
        "DROP TABLE secrets",
        "ALTER TABLE secrets ADD COLUMN w",
        "CREATE INDEX audit_x ON secrets (v)",
        "CREATE TABLE audit2 AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON audit BEGIN INSERT INTO secrets VALUES (7); END",
        "CREATE VIEW audit3 AS SELECT * FROM secrets",
        "SELECT name FROM sqlite_master",
        "SELECT name FROM pragma_table_info('secrets')",
        // It would say whether there is such a row.
        "INSERT INTO child VALUES (42)",
    ] {
        let error = judged(&pool, Some(&rules), statement).await.err();
        let error = error.unwrap_or_else(|| panic!("`{statement}` went through"));
        assert!(error.message.contains("SQLite says that") && !error.retryable, "{statement}: {error}");
    }
    // A view is its owner's.
    for statement in ["SELECT v FROM open_to_all", "INSERT INTO audit VALUES (1, 2)"] {
        assert_eq!(judged(&pool, Some(&rules), statement).await.map(|_| ()), Ok(()), "{statement}");
    }
}

#[tokio::test]
async fn what_was_kept_of_a_statement_is_judged_anew_by_other_grants() {
    let pool = database();
    prepare(&pool, &["CREATE TABLE audit (a)"]).await;
    let (wide, narrow) = (granted(&[("audit", &["select"])]), granted(&[("other", &["select"])]));
    for _ in 0..2 {
        assert!(judged(&pool, Some(&wide), "SELECT a FROM audit").await.is_ok());
        assert!(judged(&pool, Some(&narrow), "SELECT a FROM audit").await.is_err());
        assert!(judged(&pool, None, "SELECT a FROM audit").await.is_ok());
    }
}
