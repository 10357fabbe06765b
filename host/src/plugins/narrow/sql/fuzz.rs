//! Statements that are nearly allowed: nothing panics or takes time beyond measure, and of what
//! is let through SQLite itself says that it reaches the granted table only.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use returner_fuzz::Nearly;
use returner_fuzz::bolero::check;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, Authorization};
use rustix::time::{ClockId, clock_gettime};

use super::*;

const SEEDS: [&[u8]; 18] = [
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
    b"SELECT audit.trim(audit.trim(audit.floor(audit.ceil(audit.trim(audit.trim(audit.trim(a))))))) FROM audit",
    b"SELECT trim(floor(substring(position(cast(case when a in ((a)) then 1 end AS INT) in 'a') from 1))) FROM audit",
];

/// The processor's time that a short statement may take: a thousand times what it takes.
const TIME: Duration = Duration::from_millis(200);

/// What a reading takes of this thread's.
fn timed<T>(statement: &str, read: impl FnOnce() -> T) -> T {
    let begun = clock_gettime(ClockId::ThreadCPUTime);
    let read = read();
    let taken = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - begun).unwrap_or_default();
    assert!(taken < TIME, "it took {taken:?} to read {statement}");
    read
}

/// What an expression can stand in; the parser tries some of these in several ways.
const AROUND: [(&str, &str); 40] = [
    ("(", ")"),
    ("(SELECT ", ")"),
    ("a.trim(", ")"),
    ("a.floor(", ")"),
    ("a.b(", ")"),
    ("a.", ""),
    ("a.(", ")"),
    ("trim(", ")"),
    ("trim(BOTH 'a' FROM ", ")"),
    ("floor(", ")"),
    ("ceil(", " TO DAY)"),
    ("abs(", ")"),
    ("CASE WHEN ", " THEN 1 END"),
    ("CASE ", " WHEN 1 THEN 1 END"),
    ("case-", ""),
    ("CAST(", " AS INT)"),
    ("CONVERT(", ", CHAR)"),
    ("position(", " IN 'a')"),
    ("position(", ")"),
    ("substring(", " FROM 1)"),
    ("extract(DAY FROM ", ")"),
    ("overlay(", " PLACING 'a' FROM 1)"),
    ("NOT ", ""),
    ("EXISTS(SELECT ", ")"),
    ("INTERVAL ", " DAY"),
    ("interval(", ")"),
    ("a IN (", ")"),
    ("a IN (SELECT ", ")"),
    ("a IN ((", "), 1)"),
    ("a BETWEEN ", " AND 1"),
    ("date(", ")"),
    ("timestamp(", ")"),
    ("binary ", ""),
    ("array(", ")"),
    ("current_time(", ")"),
    ("group_concat(a ORDER BY ", ")"),
    ("sum(a) OVER (ORDER BY ", ")"),
    ("json_object('a' VALUE ", ")"),
    ("a = ANY(", ")"),
    ("SELECT * FROM (", ") AS x"),
];

/// Whatever stands in what, and whether it is closed or not.
#[test]
fn no_form_takes_twice_the_time_for_each_level() {
    for dialect in [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite] {
        for outer in AROUND {
            for inner in AROUND {
                let (before, after) = (format!("{}{}", outer.0, inner.0), format!("{}{}", inner.1, outer.1));
                let levels = 16 / before.matches('(').count().max(1);
                for last in ["1", "1 1 )"] {
                    let (begin, end) = (before.repeat(levels), after.repeat(levels));
                    let statement = format!("SELECT {begin}{last}{end} FROM audit");
                    let _ = timed(&statement, || uses(dialect, &statement));
                }
            }
        }
    }
}

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
        let _ = timed(&statement, || mysql.allows(&statement));
        if timed(&statement, || sqlite.allows(&statement)).is_ok()
            && let Some(reached) = reached(database, seen, &statement)
        {
            assert!(
                reached.iter().all(|table| table.eq_ignore_ascii_case("audit")),
                "{statement}: {reached:?}"
            );
        }
    });
}
