//! How deep a statement is, told by its signs.
//!
//! SQLite goes down the levels of a statement on the stack of its thread, and has no bound
//! of its own on brackets in FROM, on tables that WITH names one after the other, on views of
//! views and on triggers that run triggers: what overflows the stack ends the host.

use rusqlite::Connection;

use super::placeholders::quoted;
use super::{SqlError, SqlErrorKind};

/// The most open brackets; SQLite took no more than a hundred before version 3.46.
const BRACKETS: usize = 100;

/// The most SELECTs of one statement: UNION ALL takes half of that.
const SELECTS: usize = 1_000;

/// The most tables, views and triggers of a database to which a guest may add some.
const OBJECTS: u32 = 2_000;

/// Claims that neither a statement is too deep, nor what it may add to.
pub(super) fn check(connection: &Connection, statement: &str) -> Result<(), SqlError> {
    let refused = |what: String| {
        Err(SqlError::new(SqlErrorKind::Statement, format!("the statement has {what}"), false))
    };
    let Depth { brackets, selects, creates, odd } = Depth::of(statement);
    if odd {
        return refused("a parameter's name with brackets".to_owned());
    }
    if brackets > BRACKETS {
        return refused(format!("more than {BRACKETS} open brackets"));
    }
    if selects > SELECTS {
        return refused(format!("more than {SELECTS} times SELECT"));
    }
    if creates {
        let counted =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0));
        if counted.is_ok_and(|objects| objects >= OBJECTS) {
            return refused(format!(
                "a CREATE, and the database has {OBJECTS} tables, views, indexes and triggers"
            ));
        }
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct Depth {
    brackets: usize,
    selects: usize,
    creates: bool,
    /// `$name(...)`, of which the brackets are a part of the name.
    odd: bool,
}

impl Depth {
    /// Of texts, names and comments nothing is counted
    /// (<https://sqlite.org/lang_expr.html#literal_values_constants_>, `tokenize.c`).
    fn of(statement: &str) -> Self {
        let (mut depth, mut open) = (Self::default(), 0_usize);
        let mut rest = statement;
        while let Some(sign) = rest.chars().next() {
            let length = match sign {
                '\'' | '"' | '`' => quoted(rest, sign, false),
                '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
                '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => {
                    rest[2..].find("*/").map_or(rest.len(), |end| end + "/**/".len())
                }
                '$' | '@' | '#' | ':' => {
                    let end = rest[1..].find(|c: char| !is_of_word(c) && c != ':').map(|end| end + 1);
                    depth.odd |= end.is_some_and(|end| rest[end..].starts_with('('));
                    end.unwrap_or(rest.len())
                }
                sign if is_of_word(sign) => {
                    let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
                    depth.selects += usize::from(rest[..end].eq_ignore_ascii_case("select"));
                    depth.creates |= rest[..end].eq_ignore_ascii_case("create");
                    end
                }
                sign => {
                    open = match sign {
                        '(' => open + 1,
                        ')' => open.saturating_sub(1),
                        _ => open,
                    };
                    sign.len_utf8()
                }
            };
            depth.brackets = depth.brackets.max(open);
            rest = &rest[length..];
        }
        depth
    }
}

fn is_of_word(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == '$' || !sign.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(statement: &str) -> Option<String> {
        let connection = Connection::open_in_memory().expect("a database");
        check(&connection, statement).err().map(|error| error.message)
    }

    #[test]
    fn what_is_deep_is_refused() {
        let nested = |count: usize| format!("{}t{}", "SELECT * FROM (".repeat(count), ")".repeat(count));
        assert_eq!(refusal(&nested(90)), None);
        assert!(refusal(&nested(101)).is_some_and(|told| told.contains("open brackets")));
        let chain: Vec<String> = (0..1_001).map(|n| format!("a{n} AS (SELECT * FROM a{})", n + 1)).collect();
        assert!(
            refusal(&format!("WITH {} SELECT 1", chain.join(",")))
                .is_some_and(|told| told.contains("SELECT"))
        );
        for hidden in ["$a(')", "@a((", ":a::b(", "#a("] {
            let statement = format!("SELECT {hidden} {}", "(".repeat(50));
            assert!(refusal(&statement).is_some_and(|told| told.contains("parameter")), "{statement}");
        }
        let hidden = ["'('", "\"((\"", "[((]", "`((`", "-- ((\n", "/* (( */", "x'28'", "'it''s (('"];
        for text in hidden {
            let statement = format!("SELECT {text}{}", "(1)".repeat(3));
            assert_eq!(Depth::of(&statement).brackets, 1, "{statement}");
        }
        let rows = vec!["(?, ?)"; 20_000].join(", ");
        assert_eq!(refusal(&format!("INSERT INTO t VALUES {rows}")), None);
    }

    #[test]
    fn a_database_has_room_for_so_many_things() {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch("CREATE VIEW v0 AS SELECT 1").expect("a view");
        for number in 1..OBJECTS {
            let view = format!("CREATE VIEW v{number} AS SELECT * FROM v{}", number - 1);
            assert!(check(&connection, &view).is_ok(), "{view}");
            connection.execute_batch(&view).expect("a view");
        }
        let error = check(&connection, "CREATE TABLE t (a)").expect_err("there is no room");
        assert!(error.message.contains("2000 tables"), "{error}");
        assert!(check(&connection, "SELECT * FROM v1").is_ok());
    }
}
