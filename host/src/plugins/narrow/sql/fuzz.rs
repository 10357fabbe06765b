//! Statements that are nearly allowed: nothing panics, and of what is let through SQLite
//! itself says that it reaches the granted table only.

use std::sync::{Arc, Mutex};

use returner_fuzz::Nearly;
use returner_fuzz::bolero::check;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, Authorization};

use super::*;

const SEEDS: [&[u8]; 16] = [
    b"SELECT a, b FROM audit WHERE a = ? AND b IN (?, ?) ORDER BY a DESC LIMIT 10 OFFSET 5",
    b"INSERT INTO audit (a, b) VALUES (?, ?), (?, 'x''y')",
    b"INSERT INTO audit SELECT a, count(*) FROM audit GROUP BY a HAVING count(*) > 1",
    b"UPDATE audit SET a = a + 1, b = (SELECT max(b) FROM audit) WHERE a IS NOT NULL",
    b"DELETE FROM audit WHERE a < 5 OR b LIKE '%x%'",
    b"WITH x AS (SELECT a FROM audit) SELECT * FROM x JOIN audit ON x.a = audit.a LEFT JOIN audit AS c ON 1 = 1",
    b"SELECT * FROM audit UNION ALL SELECT * FROM audit EXCEPT SELECT 1, 2",
    b"SELECT CASE WHEN EXISTS (SELECT 1 FROM audit) THEN 1 ELSE coalesce(a, 'n') END FROM audit",
    b"SELECT * FROM secrets",
    b"INSERT INTO audit SELECT * FROM secrets",
    b"SELECT (SELECT a FROM secrets) FROM audit",
    b"SELECT * FROM \"secrets\", [secrets], `secrets`, main.secrets, sqlite_master",
    // What an earlier run found.
    b"SELECT \xef\xbb\xbf* FROM secrets",
    b"SELECT 1e1FROM secrets",
    b"SELECT 'a' FROM audit WHERE a = 1.5e3 OR b = .5",
    b"SELECT a FROM audit END UNION SELECT a FROM secrets",
];

/// The tables that SQLite says a statement reaches; none if it is no statement to it.
fn reached(database: &Connection, seen: &Arc<Mutex<Vec<String>>>, statement: &str) -> Option<Vec<String>> {
    seen.lock().expect("no panic").clear();
    database.prepare(statement).ok()?;
    Some(seen.lock().expect("no panic").clone())
}

#[test]
fn statements() {
    let database = Connection::open_in_memory().expect("a database");
    database.execute_batch("CREATE TABLE audit (a, b); CREATE TABLE secrets (a, b)").expect("tables");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let note = move |context: rusqlite::hooks::AuthContext<'_>| {
        let table = match context.action {
            AuthAction::Read { table_name, .. }
            | AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => Some(table_name),
            _ => None,
        };
        noted.lock().expect("no panic").extend(table.map(str::to_owned));
        Authorization::Allow
    };
    database.authorizer(Some(note)).expect("an authorizer");
    let verbs = ["select", "insert", "update", "delete"].map(str::to_owned);
    let granted = || Actions::from([("audit".to_owned(), verbs.clone().into())]);
    let (sqlite, mysql) =
        (SqlRules::new(Dialect::Sqlite, granted()), SqlRules::new(Dialect::Mysql, granted()));
    let fixture = std::panic::AssertUnwindSafe((sqlite, mysql, database, seen));
    check!().with_type::<Nearly>().for_each(|nearly| {
        let (sqlite, mysql, database, seen) = &*fixture;
        let Ok(statement) = String::from_utf8(nearly.of(&SEEDS)) else { return };
        let _ = mysql.allows(&statement);
        if sqlite.allows(&statement).is_ok()
            && let Some(reached) = reached(database, seen, &statement)
        {
            assert!(
                reached.iter().all(|table| table.eq_ignore_ascii_case("audit")),
                "{statement}: {reached:?}"
            );
        }
    });
}
