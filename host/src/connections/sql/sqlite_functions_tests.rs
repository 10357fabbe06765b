//! They answer as SQLite's own do, and end when they are told to.

use proptest::prelude::*;
use rusqlite::params;

use super::*;

/// SQLite as it is, and with these in its place.
fn both() -> [Connection; 2] {
    let [own, ours] = [(); 2].map(|()| Connection::open_in_memory().expect("a database"));
    define(&ours, &Arc::default()).expect("functions");
    [own, ours]
}

fn answers(databases: &[Connection; 2], expression: &str, values: &[Value]) -> [Result<Value, String>; 2] {
    let question = format!("SELECT {expression}");
    databases.each_ref().map(|database| {
        let values = rusqlite::params_from_iter(values);
        database.query_row(&question, values, |row| row.get(0)).map_err(|error| error.to_string())
    })
}

const EXPRESSIONS: [&str; 9] = [
    "instr(?1, ?2)",
    "replace(?1, ?2, ?3)",
    "trim(?1, ?2)",
    "ltrim(?1, ?2)",
    "rtrim(?1, ?2)",
    "?1 LIKE ?2",
    "?1 LIKE ?2 ESCAPE 'b'",
    "?1 GLOB ?2",
    "?1 NOT LIKE ?2",
];

fn value() -> impl Strategy<Value = Value> {
    let texts = "[abAB%_*?\\[\\]^é-]{0,8}";
    prop_oneof![
        8 => texts.prop_map(Value::Text),
        1 => texts.prop_map(|text| Value::Blob(text.into_bytes())),
        1 => Just(Value::Null),
        1 => (-200_i64..200).prop_map(Value::Integer),
        1 => prop_oneof![
            Just(0.0), Just(-0.5), Just(1e15), Just(1e14), Just(-1.5e300), Just(1e-5), Just(0.0001),
            Just(123_456.789), Just(1.0 / 3.0), Just(f64::INFINITY), Just(2_f64.powi(60))
        ].prop_map(Value::Real),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn they_answer_as_sqlites_own(values in prop::array::uniform3(value())) {
        thread_local!(static BOTH: [Connection; 2] = both());
        BOTH.with(|databases| {
            for expression in EXPRESSIONS {
                // As many as it has places for.
                let count = if expression.contains("?3") { 3 } else { 2 };
                let [own, ours] = answers(databases, expression, &values[..count]);
                prop_assert_eq!(own, ours, "{} of {:?}", expression, &values);
            }
            Ok(())
        })?;
    }
}

#[test]
fn two_long_texts_take_no_hours() {
    let [_, ours] = both();
    let long = |count: usize| "a".repeat(count);
    let (text, part) = (long(4_000_000), long(2_000_000) + "b");
    let found: i64 =
        ours.query_row("SELECT instr(?, ?)", params![text, part], |row| row.get(0)).expect("a number");
    assert_eq!(found, 0);
    let replaced: String =
        ours.query_row("SELECT replace(?, ?, 'x')", params![text, part], |row| row.get(0)).expect("a text");
    assert_eq!(replaced.len(), text.len());
    let all: Vec<char> = ('\u{100}'..'\u{d000}').collect();
    let signs = all.iter().collect::<String>() + "a";
    let trimmed: String =
        ours.query_row("SELECT trim(?, ?)", params![text, signs], |row| row.get(0)).expect("a text");
    assert_eq!(trimmed, "");
}

#[test]
fn a_comparison_ends_when_it_is_told_to() {
    let database = Connection::open_in_memory().expect("a database");
    let cancelled = Arc::new(AtomicBool::new(true));
    define(&database, &cancelled).expect("functions");
    let pattern = "%".to_owned() + &"a".repeat(5_000) + "b";
    let compare = || {
        let text = "a".repeat(1_000_000);
        database.query_row("SELECT ? LIKE ?", params![text, pattern], |row| row.get::<_, bool>(0))
    };
    assert!(compare().is_err_and(|error| error.to_string().contains("interrupted")));
    assert!(!database.query_row("SELECT 'a' LIKE 'b'", [], |row| row.get(0)).unwrap_or(true));
}

#[test]
fn what_would_be_too_long_is_an_error() {
    let [_, ours] = both();
    let (text, with) = ("a".repeat(20_000), "b".repeat(20_000));
    let replaced = ours.query_row("SELECT replace(?, 'a', ?)", params![text, with], |_| Ok(()));
    assert!(replaced.is_err_and(|error| error.to_string().contains("too big")));
}

#[test]
fn a_pattern_is_as_long_as_sqlites_own_may_be() {
    for database in both() {
        for (length, error) in [(50_000, None), (50_001, Some("LIKE or GLOB pattern too complex"))] {
            for compare in ["SELECT 'a' LIKE ?", "SELECT 'a' GLOB ?"] {
                let compared = database.query_row(compare, ["_".repeat(length)], |row| row.get::<_, bool>(0));
                let told = compared.err().map(|error| error.to_string());
                assert_eq!(told.as_deref(), error, "{compare} {length}");
            }
        }
    }
}

/// Each sign of a set is a comparison, also where the text has few.
#[test]
fn a_comparison_with_a_large_set_ends_when_it_is_told_to() {
    let set = "[".to_owned() + &"b".repeat(SIGNS) + "]";
    let parts = parts_of_glob(&set, &mut Work::new(&AtomicBool::new(false))).expect("it is made");
    let cancelled = AtomicBool::new(true);
    let compared = matches(&parts, "a", |sign| sign, &mut Work::new(&cancelled));
    assert!(compared.is_err_and(|error| error.to_string().contains("interrupted")));
    let made = parts_of_glob(&"?".repeat(SIGNS), &mut Work::new(&cancelled));
    assert!(made.is_err_and(|error| error.to_string().contains("interrupted")));
}

/// What is not closed is looked for once.
#[test]
fn brackets_that_are_not_closed_take_no_time() {
    let parts = parts_of_glob(&"[".repeat(PATTERN), &mut Work::new(&AtomicBool::new(false)));
    assert_eq!(parts.expect("it is made"), [Part::OneOf(Vec::new(), false)]);
}
