//! Statements that are nearly allowed: nothing panics or takes time beyond measure, and of what
//! is let through SQLite itself says that it reaches the granted table only.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use returner_fuzz::Nearly;
use returner_fuzz::bolero::check;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, Authorization};
use rustix::time::{ClockId, clock_gettime};
use sqlparser::keywords::ALL_KEYWORDS;

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

/// The gates of all servers, with one table granted, and SQLite, which has another one.
struct Servers {
    gates: [(Dialect, SqlRules); 3],
    database: Connection,
    /// What SQLite says that the statement it was given last reaches.
    reached: Arc<Mutex<Vec<String>>>,
}

impl Servers {
    fn new() -> Self {
        let database = Connection::open_in_memory().expect("a database");
        database.execute_batch("CREATE TABLE audit (a, b); CREATE TABLE secrets (a, b)").expect("tables");
        let reached = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&reached);
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
        let gates = [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite];
        Self { gates: gates.map(|dialect| (dialect, SqlRules::new(dialect, granted()))), database, reached }
    }

    /// `is_table` says that it names the other table for sure.
    fn check(&self, statement: &str, is_table: bool) {
        for (dialect, rules) in &self.gates {
            if timed(statement, || rules.allows(statement)).is_err() {
                continue;
            }
            assert!(!is_table, "{dialect:?}: {statement}");
            // None, if it is no statement to SQLite.
            self.reached.lock().expect("no panic").clear();
            if *dialect == Dialect::Sqlite && self.database.prepare(statement).is_ok() {
                let reached = self.reached.lock().expect("no panic");
                let is_granted = reached.iter().all(|table| table.eq_ignore_ascii_case("audit"));
                assert!(is_granted, "{statement}: {reached:?}");
            }
        }
    }
}

/// Whether `secrets` stands as a plain word where every server reads a table: straight behind
/// FROM, JOIN, INTO or UPDATE. Told by the words between spaces alone, as simply as can be. Behind
/// the FROM of `trim(a FROM b)` and of `IS DISTINCT FROM` stands none, and `a.from` is a column.
fn names_secrets(words: &[&str]) -> bool {
    const WITH_FROM: [&str; 5] = ["extract", "overlay", "substr", "substring", "trim"];
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let is_call = |before: &[&str]| {
        let mut closed = 0;
        let open = before.iter().rposition(|word| {
            closed += i32::from(*word == ")") - i32::from(*word == "(");
            closed < 0
        });
        open.is_some_and(|open| open > 0 && WITH_FROM.contains(&before[open - 1]))
    };
    lower.windows(2).enumerate().any(|(place, pair)| match pair {
        ["from", "secrets"] => !matches!(lower[..place], [.., "distinct" | "."]) && !is_call(&lower[..place]),
        ["join" | "into" | "update", "secrets"] => true,
        _ => false,
    })
}

/// Statements in which a table stands that is not granted, and words with spaces between them.
const NAMING_SECRETS: [&str; 16] = [
    "SELECT a FROM secrets",
    "SELECT a , 1 FROM secrets",
    "SELECT count(*) FROM secrets",
    "SELECT * FROM secrets",
    "SELECT a FROM audit , secrets",
    "SELECT a FROM audit JOIN secrets",
    "SELECT a FROM audit UNION SELECT b FROM secrets",
    "SELECT ( SELECT b FROM secrets ) FROM audit",
    "SELECT a FROM audit WHERE a IN ( SELECT b FROM secrets )",
    "INSERT INTO audit ( a ) SELECT b FROM secrets",
    "INSERT INTO secrets ( a ) VALUES ( 1 )",
    "INSERT INTO secrets SELECT a FROM audit",
    "UPDATE secrets SET a = 1",
    "UPDATE audit SET a = 1 FROM secrets",
    "DELETE FROM secrets",
    "SELECT a FROM audit ORDER BY b LIMIT 1 , secrets",
];

/// What is put between the words of a statement: signs, and the words that a server reserves.
fn pieces() -> Vec<&'static str> {
    const SIGNS: [&str; 20] = [
        "(", ")", ",", ".", "*", "=", "<>", "-", "||", "->", "::", "?", "1", "'x'", "x", "audit", "secrets",
        "`x`", "\"x\"", "count(*)",
    ];
    let reserved = [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite].map(reserved::words);
    let mut pieces: Vec<&str> = reserved.iter().flat_map(|words| words.split(' ')).chain(SIGNS).collect();
    pieces.sort_unstable();
    pieces.dedup();
    pieces
}

/// Each word that a server reserves, at each place of a statement.
#[test]
fn no_word_hides_a_table() {
    let (servers, pieces) = (Servers::new(), pieces());
    for statement in NAMING_SECRETS {
        let words: Vec<&str> = statement.split(' ').collect();
        for place in 1..=words.len() {
            for piece in &pieces {
                let changed = [&words[..place], &[piece], &words[place..]].concat();
                servers.check(&changed.join(" "), names_secrets(&changed));
            }
        }
    }
}

#[test]
fn words() {
    let servers = std::panic::AssertUnwindSafe(Servers::new());
    // Those of the parser's, too.
    let pieces = [pieces().as_slice(), ALL_KEYWORDS].concat();
    check!().with_type::<(u8, Vec<(u8, u16)>)>().for_each(|(seed, changes)| {
        let seed = NAMING_SECRETS[usize::from(*seed) % NAMING_SECRETS.len()];
        let mut words: Vec<&str> = seed.split(' ').collect();
        for (place, piece) in changes.iter().take(5) {
            let place = 1 + usize::from(*place) % words.len();
            words.insert(place, pieces[usize::from(*piece) % pieces.len()]);
        }
        servers.check(&words.join(" "), names_secrets(&words));
    });
}

#[test]
fn statements() {
    let servers = std::panic::AssertUnwindSafe(Servers::new());
    check!().with_type::<Nearly>().for_each(|nearly| {
        let Ok(statement) = String::from_utf8(nearly.of(&SEEDS)) else { return };
        // It may stand in a text.
        servers.check(&statement, false);
    });
}
