//! Statements in which a word is a name to the parser and none to a server, and honest ones with
//! such words.

use super::super::{Dialect, SqlRules, reserved};
use crate::config::{Actions, VERBS};

const ALL: [Dialect; 3] = [Dialect::Mysql, Dialect::Postgres, Dialect::Sqlite];

fn rules(dialect: Dialect, table: &str) -> SqlRules {
    let verbs = VERBS.iter().map(|verb| (*verb).to_owned()).collect();
    SqlRules::new(dialect, Actions::from([(table.to_owned(), verbs)]))
}

/// Most of these were run: a server reads the table behind FROM.
#[test]
fn from_is_no_column() {
    let operators =
        "OR AND LIKE ILIKE XOR REGEXP RLIKE COLLATE OVERLAPS DIV MATCH GLOB IS NOT BINARY INTERVAL - + || ->";
    let with_operators = operators.split(' ').flat_map(|operator| {
        [
            format!("SELECT v {operator} FROM secrets"),
            format!("SELECT {operator} FROM secrets"),
            format!("SELECT count(*) {operator} FROM secrets"),
            format!("SELECT *, 1 {operator} FROM secrets"),
            format!("SELECT v {operator} FROM secrets FOR UPDATE"),
            format!("SELECT x {operator} FROM audit, secrets"),
            format!("SELECT (SELECT v {operator} FROM secrets) FROM audit"),
            format!("INSERT INTO audit (item) SELECT v {operator} FROM secrets"),
            format!("SELECT x FROM audit UNION SELECT v {operator} FROM secrets"),
        ]
    });
    let others = [
        "SELECT UNIQUE * FROM secrets",
        "SELECT SQL_CACHE * FROM secrets",
        "SELECT DISTINCTROW * FROM secrets",
        "SELECT UNIQUE * FROM audit, mysql.global_priv",
        "SELECT sql ILIKE FROM sqlite_master",
        "SELECT concat(rolname) OR FROM pg_authid",
        "SELECT v FROM FROM secrets",
        "SELECT a FROM audit JOIN JOIN secrets",
        "SELECT a FROM audit x, audit JOIN, secrets",
        "INSERT INTO INTO secrets VALUES (1)",
        "UPDATE UPDATE secrets SET a = 1",
        "UPDATE audit SET a = 1, FROM = 2",
    ];
    let statements: Vec<String> = with_operators.chain(others.map(str::to_owned)).collect();
    for dialect in ALL {
        let rules = rules(dialect, "audit");
        for statement in &statements {
            assert!(rules.allows(statement).is_err(), "{dialect:?}: {statement}");
        }
    }
}

/// Each word of the lists, at each place of a name.
#[test]
fn a_reserved_word_is_a_name_only_in_quotes() {
    const PLACES: [&str; 16] = [
        "SELECT a AS {} FROM audit",
        "SELECT x.a FROM audit AS {}",
        "SELECT x.a FROM audit AS x ({})",
        "SELECT {}.a FROM audit AS {}",
        "SELECT * FROM audit JOIN audit AS b USING ({})",
        "SELECT * FROM {}",
        "SELECT * FROM audit, {}",
        "INSERT INTO audit ({}) VALUES (1)",
        "INSERT INTO audit (a, {}) VALUES (1, 2)",
        "INSERT INTO {} (a) VALUES (1)",
        "UPDATE audit SET {} = 1",
        "DELETE FROM {}",
        "CREATE TABLE audit ({} INT)",
        "CREATE TABLE {} (a INT)",
        "CREATE TABLE audit (a INT, b INT, CONSTRAINT audit_i FOREIGN KEY ({}) REFERENCES audit (a))",
        "ALTER TABLE audit ADD COLUMN {} INT",
    ];
    for dialect in ALL {
        let rules = rules(dialect, "*");
        let quote = if dialect == Dialect::Mysql { '`' } else { '"' };
        for word in reserved::words(dialect).split(' ') {
            for place in PLACES {
                let plain = place.replace("{}", word);
                assert!(rules.allows(&plain).is_err(), "{dialect:?}: {plain}");
                let quoted = place.replace("{}", &format!("{quote}{word}{quote}"));
                assert_eq!(rules.allows(&quoted), Ok(()), "{dialect:?}: {quoted}");
            }
        }
    }
}

#[test]
fn the_lists_are_in_order() {
    for dialect in ALL {
        let words: Vec<&str> = reserved::words(dialect).split(' ').collect();
        assert!(words.is_sorted(), "{dialect:?}");
        for word in ["from", "into", "join", "select", "table", "union", "where"] {
            assert!(words.contains(&word), "{dialect:?}: {word}");
        }
    }
}

#[test]
fn reserved_words_that_are_no_names_go_on() {
    let mysql = [
        "SELECT LEFT(a, 1), RIGHT(a, 2), REPLACE(a, 'x', 'y'), IF(a, 1, 2), MOD(a, 2) FROM audit",
        "INSERT INTO audit (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a) + 1",
        "INSERT INTO audit (a, b) VALUES (DEFAULT, UTC_TIMESTAMP), (2, UTC_TIMESTAMP())",
        "SELECT DATABASE(), CURRENT_DATE, NOW(6), CURRENT_TIMESTAMP(3)",
        "SELECT a FROM audit WHERE BINARY a = 'x' AND b BETWEEN 1 AND 2 AND c IS NOT NULL",
        "SELECT a FROM audit WHERE at > NOW() - INTERVAL 1 DAY ORDER BY a LIMIT 5, 10",
        "SELECT STRAIGHT_JOIN HIGH_PRIORITY a FROM audit USE INDEX (b) WHERE c = 'x' 'y'",
        "CREATE TABLE audit (a DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))",
        "REPLACE INTO audit SET a = DEFAULT",
    ];
    let postgres = [
        "SELECT LEFT(a, 1), RIGHT(a, 2), trim(LEADING 'x' FROM a) FROM audit",
        "INSERT INTO audit (a) VALUES (DEFAULT) ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.a",
        "UPDATE audit SET a = DEFAULT, b = current_timestamp WHERE c IS DISTINCT FROM d",
        "SELECT extract(EPOCH FROM a), substring(a FROM 1 FOR 2) FROM audit WHERE a NOTNULL",
        "SELECT CASE WHEN a THEN true ELSE NULL END AS c FROM audit LEFT OUTER JOIN audit b ON true",
    ];
    let sqlite = [
        "REPLACE INTO audit (a) VALUES (replace('a', 'b', 'c'))",
        "INSERT OR REPLACE INTO audit (a) VALUES (if(1, 2, 3))",
        "SELECT a FROM audit WHERE a GLOB 'x*' AND b NOT LIKE 'y' AND c NOTNULL AND key IS 1",
        "SELECT count(*) FILTER (WHERE a > 1) FROM audit NATURAL JOIN audit b CROSS JOIN audit c",
    ];
    for (dialect, statements) in
        [(Dialect::Mysql, &mysql[..]), (Dialect::Postgres, &postgres), (Dialect::Sqlite, &sqlite)]
    {
        for statement in statements {
            assert_eq!(rules(dialect, "audit").allows(statement), Ok(()), "{dialect:?}: {statement}");
        }
    }
}

/// Behind a period it is a name to PostgreSQL, and to MySQL, where nothing is between.
#[test]
fn a_reserved_word_behind_a_period_is_a_column() {
    for dialect in ALL {
        let rules = rules(dialect, "audit");
        for statement in ["SELECT audit.from FROM audit", "SELECT x.order, audit.select FROM audit AS x"] {
            assert_eq!(
                rules.allows(statement).is_ok(),
                dialect != Dialect::Sqlite,
                "{dialect:?}: {statement}"
            );
        }
        for statement in
            ["SELECT audit. FROM secrets", "SELECT audit .\nFROM secrets", "SELECT * FROM audit.FROM secrets"]
        {
            assert!(rules.allows(statement).is_err(), "{dialect:?}: {statement}");
        }
    }
}

/// The server takes the word that the parser has put elsewhere for a table.
#[test]
fn no_word_is_left_out() {
    for dialect in ALL {
        let refused = rules(dialect, "audit").allows("UPDATE REPLACE audit SET a = 1");
        let refused = refused.expect_err("a table of that name").to_string();
        assert!(refused.contains("`or` in this place"), "{dialect:?}: {refused}");
    }
}

#[test]
fn it_is_said_which_name_is_to_be_quoted() {
    let refused = rules(Dialect::Mysql, "audit").allows("SELECT a AS Rank FROM audit");
    let refused = refused.expect_err("it is reserved").to_string();
    assert_eq!(refused, "the name `Rank`, which may be a keyword to the server: quote it");
}
