//! The returner on a database in memory, by the library that the host uses.

use std::time::{SystemTime, UNIX_EPOCH};

use returner_sdk::sql::{Error, Kind, Rows, Value};
use returner_sdk::testing::{self, Host};
use returner_sdk::{Event, Events, Returner};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement, StatementStatus, params_from_iter};

use crate::Sqlite;

struct Database {
    connection: Connection,
    statements: usize,
    /// What they cost, in steps of SQLite's machine.
    steps: usize,
}

impl Host for Database {
    fn sql_execute(&mut self, _: &str, text: &str, params: &[Value]) -> Result<u64, Error> {
        self.run(text, params, |statement, params| Ok(statement.execute(params_from_iter(params))? as u64))
    }

    fn sql_query(&mut self, _: &str, text: &str, params: &[Value]) -> Result<Rows, Error> {
        self.run(text, params, |statement, params| {
            let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
            let mut found = statement.query(params_from_iter(params))?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                rows.push((0..columns.len()).map(|at| row.get_ref(at).map(given)).collect::<Result<_, _>>()?);
            }
            Ok(Rows { columns, rows })
        })
    }
}

impl Database {
    fn new() -> Self {
        let connection = Connection::open_in_memory().expect("there is room");
        let (set_up, mut database) = testing::on(Self { connection, statements: 0, steps: 0 }, Sqlite::setup);
        set_up.expect("an empty database takes the schema");
        (database.statements, database.steps) = (0, 0);
        database
    }

    fn run<T>(
        &mut self,
        text: &str,
        params: &[Value],
        run: impl FnOnce(&mut Statement<'_>, Vec<rusqlite::types::Value>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let failed = |error: rusqlite::Error| {
            let message = format!("{error} in: {text}");
            Error { kind: Kind::Other, code: None, message, retryable: false }
        };
        let mut statement = self.connection.prepare(text).map_err(failed)?;
        let done = run(&mut statement, params.iter().map(bound).collect()).map_err(failed);
        self.statements += 1;
        self.steps += usize::try_from(statement.get_status(StatementStatus::VmStep)).unwrap_or_default();
        done
    }

    /// Rows as another delivery, or another host, has written them some time ago.
    fn holds(&self, ago: &str, events: impl IntoIterator<Item = Event>) {
        let text = "INSERT INTO salt_events (tag, data, master_id, alter_time) \
                    VALUES (?, ?, ?, strftime('%Y-%m-%d %H:%M:%f', 'now', ?))";
        let mut insert = self.connection.prepare(text).expect("the table is there");
        self.connection.execute_batch("BEGIN").expect("nothing is begun");
        for event in events {
            insert.execute([&event.tag, &event.data, &event.master, ago]).expect("it takes them");
        }
        self.connection.execute_batch("COMMIT").expect("it has room");
    }

    fn store(self, batch: Vec<Event>) -> Self {
        let (outcome, database) = testing::on(self, || <Sqlite as Events>::store(batch));
        assert!(outcome.expect("the database takes them").is_empty());
        database
    }

    fn count(&self, condition: &str) -> usize {
        let text = format!("SELECT COUNT(*) FROM salt_events WHERE {condition}");
        self.connection.query_row(&text, [], |row| row.get(0)).expect("it can be asked")
    }
}

fn bound(value: &Value) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Boolean(yes) => i64::from(*yes).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.clone().into(),
        Value::Bytes(bytes) => bytes.clone().into(),
    }
}

fn given(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn events(tag: &str, numbers: std::ops::Range<usize>) -> impl Iterator<Item = Event> {
    numbers.map(move |number| testing::event(tag, &format!(r#"{{"number":{number}}}"#)))
}

/// As the host delivers them again that it has just accepted.
fn again(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    events.into_iter().map(|event| Event { accepted: now, redelivered: true, ..event }).collect()
}

/// What it costs hangs on what was written in the last hour, not on how many come again or how
/// many of their tag are kept.
#[test]
fn events_that_come_again_are_found_with_one_look_at_what_is_new() {
    let database = Database::new();
    database.holds("-30 days", events("salt/auth", 0..100_000));
    database.holds("-10 minutes", events("salt/auth", 100_000..120_000));
    database.holds("-1 minute", events("salt/auth", 120_000..120_500));
    let database = database.store(again(events("salt/auth", 120_000..121_000)));
    assert_eq!(database.count("1"), 121_000);
    assert_eq!(database.count(r#"data IN ('{"number":120499}', '{"number":120500}')"#), 2);
    assert!(database.statements < 20, "{} statements", database.statements);
    assert!(database.steps < 1_000_000, "{} steps", database.steps);
}

#[test]
fn of_events_that_are_the_same_each_row_is_one() {
    for written in 0..=3 {
        let same = |count| std::iter::repeat_with(|| events("a", 1..2)).take(count).flatten();
        let database = Database::new();
        database.holds("-1 minute", same(written));
        let database = database.store(again(same(2)));
        assert_eq!(database.count("1"), written.max(2), "{written} were there");
    }
}

/// Neither is another's row, nor what was written long before.
#[test]
fn an_event_is_its_tag_and_data_and_master_and_of_its_time() {
    let database = Database::new();
    let [mut master, tag, data] = ["a", "A", "a"].map(|tag| testing::event(tag, r#"{"a":"b"}"#));
    master.master = "another".to_owned();
    database.holds("-1 minute", [master, tag, Event { data: r#"{"a":"B"}"#.to_owned(), ..data.clone() }]);
    database.holds("-2 hours", [data.clone()]);
    let database = database.store(again([data.clone()]));
    assert_eq!(database.count("1"), 5);
    let database = database.store(again([data]));
    assert_eq!(database.count("1"), 5);
}

/// What is there more often than one answer has room for hides nothing that is behind it.
#[test]
fn an_event_is_found_behind_many_that_are_the_same() {
    let database = Database::new();
    let pulse = |tag| testing::event(tag, "{}");
    // The other tag with the other's data is none of both.
    database.holds("-5 minutes", (0..5000).map(|_| pulse("b")));
    database.holds("-2 minutes", (0..5000).map(|_| pulse("a")));
    database.holds("-1 minute", events("b", 7..8));
    let database = database.store(again([pulse("a")].into_iter().chain(events("b", 7..8))));
    assert_eq!(database.count("1"), 10_001);
    assert!(database.statements < 10, "{} statements", database.statements);
}

/// Some rows that a wrong clock has dated are not where the older ones begin.
#[test]
fn an_event_is_found_before_rows_of_a_wrong_clock() {
    let database = Database::new();
    database.holds("-30 days", events("a", 0..10_000));
    database.holds("-2 minutes", events("a", 10_000..10_010));
    database.holds("-1 year", events("a", 10_010..10_100));
    database.holds("-1 minute", events("a", 10_100..14_106));
    let database = database.store(again(events("a", 10_000..10_010)));
    assert_eq!(database.count("1"), 14_106);
}
